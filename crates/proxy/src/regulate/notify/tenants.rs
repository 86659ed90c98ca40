//! Which session holds which backend, or held it last: so a notification, which names the backend,
//! can name the session instead. A client compares that with its own number to recognise what it
//! notified itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use trace::BackendPid;

/// Backends that are remembered; those that were closed meanwhile count until all are forgotten.
const TENANTS_MAX: usize = 10_000;

/// All backends that were used since somebody listens.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    /// Listeners there are: without any, nothing is noted.
    listeners: AtomicUsize,
    sessions: Mutex<HashMap<i32, i32>>,
}

impl Tenants {
    /// Whether anybody listens. Costs next to nothing, since every lease asks.
    pub(super) fn matter(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    pub(super) fn listener_began(&self) {
        self.listeners.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn listener_ended(&self) {
        if self.listeners.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.sessions.lock().clear();
        }
    }

    /// Who holds the backend, or held it last.
    pub(super) fn of(&self, backend: i32) -> Option<i32> {
        self.sessions.lock().get(&backend).copied()
    }

    /// The session, by the number that its client was given, holds the backend from now on.
    pub(super) fn moves_in(&self, backend: BackendPid, session: i32) {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= TENANTS_MAX {
            sessions.clear();
        }
        sessions.insert(backend.0, session);
    }

    /// The backend is gone: its number may be somebody else's soon.
    pub(super) fn gone(&self, backend: BackendPid) {
        if self.matter() {
            self.sessions.lock().remove(&backend.0);
        }
    }
}
