//! What an operator does to the gate: pause, resume, renew, another limit; and what he sees of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trace::{DynoId, Micros};

use super::{Gate, Terms, UNBOUNDED, Warm, sample};
use crate::backend::Backend;
use crate::call::Turn;

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

/// What the server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// For how many connections of ours it has room.
    pub(crate) room: u32,
    /// How many backends of the database wait for a lock.
    pub(crate) blocked: u32,
}

impl Gate {
    /// How long a request may wait from now on.
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.patience.store(Micros::from_duration(patience).0, Ordering::Relaxed);
    }

    /// All at one moment.
    pub(crate) fn holding(&self) -> Holding {
        let state = self.lock();
        let levels = state.admission.levels();
        Holding {
            limit: levels.ceiling,
            open: state.pool.open(),
            idle: state.pool.idle(),
            leased: levels.counts.held(),
            waiting: levels.waiting,
            paused: state.admission.is_paused(),
        }
    }

    /// From now on no request gets a server connection; idle ones are closed, the others when they
    /// are given back. [`Self::quiet`] tells when.
    pub(crate) async fn pause(self: &Arc<Self>) {
        let idle = {
            let mut state = self.lock();
            state.admission.pause();
            state.tell_speaker();
            state.pool.withdraw(|_| true)
        };
        self.close(idle).await;
    }

    /// As [`Self::pause`], for good: whoever waits now or later is told that the proxy ends.
    pub(crate) async fn drain(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            state.is_draining = true;
            state.waiters.values().for_each(|call| call.tell(Turn::ShuttingDown));
        }
        self.pause().await;
    }

    /// Whether [`Self::drain`] was called.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().is_draining
    }

    /// Returns when, in a pause, no server connection is left, or when the pause has ended.
    /// Cancellation safe.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = {
                let state = self.lock();
                if !state.admission.is_paused() || state.pool.open() + state.allies.aside() == 0 {
                    return;
                }
                // Created under the lock: a connection that is closed now is not missed.
                Arc::clone(&state.quiet).notified_owned()
            };
            quiet.await;
        }
    }

    /// The end of a pause. `false` if there was none, or the proxy ends.
    pub(crate) fn resume(&self) -> bool {
        let mut state = self.lock();
        if !state.admission.is_paused() || state.is_draining {
            return false;
        }
        let now = self.journal.now();
        state.admission.resume();
        state.wake(now);
        // Who waited has all its time again.
        state.admission.be_patient(now + Micros(self.patience.load(Ordering::Relaxed)));
        state.quiet.notify_waiters();
        true
    }

    /// Server connections with numbers below `from` serve no further transaction.
    pub(crate) async fn renew(self: &Arc<Self>, from: u64) {
        let stale = {
            let mut state = self.lock();
            state.fresh_from = state.fresh_from.max(from);
            state.tell_speaker();
            state.pool.withdraw(|backend| backend.number() < from)
        };
        self.close(stale).await;
    }

    /// Closes the idle connections that serve no further transaction by now.
    pub(crate) async fn close_outdated(self: &Arc<Self>) {
        let outdated = self.lock().pool.withdraw(|backend| backend.outdated.is_set());
        self.close(outdated).await;
    }

    /// Whether a request would get a connection at once, as far as can be foreseen.
    pub(crate) fn would_grant(&self) -> bool {
        let state = self.lock();
        if state.admission.is_paused() || state.outage.is_some() {
            return false;
        }
        let sample = sample(&state.admission.levels(), state.pool.open(), Micros::ZERO);
        sample.waiting == 0 && sample.leased < sample.limit
    }

    pub(crate) fn fresh_from(&self) -> u64 {
        self.lock().fresh_from
    }

    /// Other terms from now on. Leases above a lower cap end by themselves.
    pub(crate) async fn set_terms(self: &Arc<Self>, terms: &Terms) {
        self.set_patience(terms.patience);
        let now = self.journal.now();
        let surplus = {
            let mut state = self.lock();
            state.budget.set_limit(terms.cap.unwrap_or(UNBOUNDED));
            if !Arc::ptr_eq(&state.dynos, &terms.dynos) {
                state.dynos = Arc::clone(&terms.dynos);
                let known: Vec<DynoId> = state.admission.dynos().collect();
                for dyno in known {
                    let manner = terms.dynos.manner(&self.journal.dyno_name(dyno));
                    state.admission.introduce(dyno, manner);
                }
            }
            if state.admission.is_adaptive() != terms.adaptive {
                state.admission.set_law(terms.law());
            }
            if !terms.adaptive {
                state.room = None;
            }
            state.set_confers(terms.confers());
            state.keep_to_budget(now);
            state.pool.surplus()
        };
        self.close(surplus).await;
    }

    /// What the server says, if it was asked.
    pub(crate) fn heed(&self, said: Option<Said>) {
        let mut state = self.lock();
        state.admission.set_blocked(said.map(|said| f64::from(said.blocked)));
        if let Some(Said { room, .. }) = said
            && state.room != Some(room)
        {
            state.room = Some(room);
            state.keep_to_budget(self.journal.now());
        }
    }

    /// Once a second: idle connections that nobody will miss are closed.
    pub(crate) async fn tend(self: &Arc<Self>) {
        let now = self.journal.now();
        let closing = {
            let mut state = self.lock();
            let held = state.admission.held();
            let mut closing = state.pool.surplus();
            if state.warm.look(held, now) {
                let reserve = state.warm.reserve();
                closing.extend(state.pool.expired(reserve, |backend| {
                    now - backend.rested > Warm::patience(backend.number())
                }));
            }
            closing
        };
        self.close(closing).await;
    }

    /// Closes connections that were taken out of the pool. They are counted until they are gone,
    /// also if this is cancelled.
    #[expect(clippy::vec_box, reason = "they come out of the pool in their boxes")]
    pub(crate) async fn close(self: &Arc<Self>, backends: Vec<Box<Backend>>) {
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
