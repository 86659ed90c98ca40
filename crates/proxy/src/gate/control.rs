//! What an operator does to the gate: pause, resume, renew, another limit; and what he sees of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trace::Micros;

use super::Gate;
use crate::backend::Backend;

/// What a gate holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) limit: u32,
    pub(crate) open: u32,
    pub(crate) idle: u32,
    pub(crate) leased: u32,
    pub(crate) waiting: u32,
    pub(crate) paused: bool,
}

impl Gate {
    /// How long a request may wait.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_micros(self.patience.load(Ordering::Relaxed))
    }

    /// How long a request may wait from now on.
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.patience.store(Micros::from_duration(patience).0, Ordering::Relaxed);
    }

    /// All at one moment.
    pub(crate) fn holding(&self) -> Holding {
        let state = self.lock();
        Holding {
            limit: state.admission.limit(),
            open: state.pool.open(),
            idle: state.pool.idle(),
            leased: state.admission.leased(),
            waiting: state.admission.waiting(),
            paused: state.admission.is_paused(),
        }
    }

    /// From now on no request gets a server connection; idle ones are closed, the others when they
    /// are given back. [`Self::quiet`] tells when.
    pub(crate) async fn pause(self: &Arc<Self>) {
        let idle = {
            let mut state = self.lock();
            state.admission.pause();
            state.pool.withdraw(|_| true)
        };
        self.close(idle).await;
    }

    /// Returns when, in a pause, no server connection is left, or when the pause has ended.
    /// Cancellation safe.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = {
                let state = self.lock();
                if !state.admission.is_paused() || state.pool.open() == 0 {
                    return;
                }
                // Created under the lock: a connection that is closed now is not missed.
                Arc::clone(&state.quiet).notified_owned()
            };
            quiet.await;
        }
    }

    /// The end of a pause. `false` if there was none.
    pub(crate) fn resume(&self) -> bool {
        let mut state = self.lock();
        if !state.admission.is_paused() {
            return false;
        }
        for ticket in state.admission.resume() {
            state.wake(Some(ticket));
        }
        // Who waited has all its time again.
        let until = self.journal.now() + Micros(self.patience.load(Ordering::Relaxed));
        for waiter in state.waiters.values_mut() {
            waiter.until = waiter.until.max(until);
        }
        state.quiet.notify_waiters();
        true
    }

    /// Server connections with numbers below `from` serve no further transaction.
    pub(crate) async fn renew(self: &Arc<Self>, from: u64) {
        let stale = {
            let mut state = self.lock();
            state.fresh_from = state.fresh_from.max(from);
            state.pool.withdraw(|backend| backend.number() < from)
        };
        self.close(stale).await;
    }

    pub(crate) fn fresh_from(&self) -> u64 {
        self.lock().fresh_from
    }

    /// Another limit from now on. Leases above a lower one end by themselves.
    pub(crate) async fn set_limit(self: &Arc<Self>, limit: u32) {
        let surplus = {
            let mut state = self.lock();
            state.budget.set_limit(limit);
            state.keep_to_budget();
            state.pool.surplus()
        };
        self.close(surplus).await;
    }

    /// Closes connections that were taken out of the pool. They are counted until they are gone,
    /// also if this is cancelled.
    #[expect(clippy::vec_box, reason = "they come out of the pool in their boxes")]
    pub(super) async fn close(self: &Arc<Self>, backends: Vec<Box<Backend>>) {
        let parting: Vec<Parting> = backends
            .into_iter()
            .map(|backend| Parting { gate: Arc::clone(self), backend: Some(backend) })
            .collect();
        for one in parting {
            one.close().await;
        }
    }
}

/// A connection on its way out.
struct Parting {
    gate: Arc<Gate>,
    backend: Option<Box<Backend>>,
}

impl Parting {
    async fn close(mut self) {
        if let Some(backend) = self.backend.take() {
            backend.close().await;
        }
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        drop(self.backend.take());
        let mut state = self.gate.lock();
        state.pool.closed();
        state.note_quiet();
    }
}
