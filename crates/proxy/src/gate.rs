//! Admission and pool behind one lock, so that the limit holds over all workers.
//!
//! The lock is held for a few hundred nanoseconds and never across an await. What is granted is a
//! guard: dropping a [`Waiting`] or a [`Lease`] is always safe and gives back what it stands for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use trace::{DynoId, Event, Micros, PoolSampled, Refusal, SessionId, SqlState};

use crate::admission::{Admission, Rise, Ticket, Verdict};
use crate::answer::Answer;
use crate::backend::{Backend, OpenError};
use crate::budget::Budget;
use crate::call::{Call, Turn};
use crate::journal::Journal;
use trace::numbers::NumberMap;
use crate::pool::{Key, Pool, Take};
use crate::settings::Settings;

mod control;
mod outage;
mod share;

pub(crate) use control::Holding;
pub(crate) use outage::Outage;

/// How long no further connection is tried after PostgreSQL had no room for one.
const REFUSED_FOR: Micros = Micros::from_millis(250);

/// All server connections of `regulate` mode.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    journal: Arc<Journal>,
    /// How long a request may wait, in microseconds.
    patience: AtomicU64,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    pool: Pool<Box<Backend>>,
    waiters: NumberMap<Ticket, Waiter>,
    /// When PostgreSQL last had no room for a connection, and its words.
    refused: Option<(Micros, SqlState, String)>,
    /// While PostgreSQL cannot be reached.
    outage: Option<Outage>,
    /// How much of the limit is ours while another process shares it.
    budget: Budget,
    /// Server connections with lower numbers are closed when they are given back.
    fresh_from: u64,
    /// Fires when, in a pause, the last server connection is closed.
    quiet: Arc<Notify>,
}

/// One that waits.
#[derive(Debug)]
struct Waiter {
    call: Arc<Call>,
    until: Micros,
}

impl State {
    /// Calls who was granted a lease. It may have been told something else already: then its guard
    /// gives the lease back when it is dropped.
    fn wake(&mut self, granted: Option<Ticket>) {
        if let Some(waiter) = granted.and_then(|ticket| self.waiters.remove(&ticket)) {
            waiter.call.tell(Turn::Granted);
        }
    }

    /// PostgreSQL cannot be reached; says when to try again.
    fn is_down(&mut self, error: OpenError, now: Micros) -> Micros {
        match &mut self.outage {
            Some(outage) => {
                outage.goes_on(error, now);
                outage.retry
            }
            None => self.outage.insert(Outage::begin(error, now)).retry,
        }
    }

    fn release(&mut self, dyno: DynoId) {
        let next = self.admission.release(dyno);
        self.wake(next);
        self.note_quiet();
    }

    fn note_quiet(&self) {
        if self.admission.is_paused() && self.pool.open() == 0 {
            self.quiet.notify_waiters();
        }
    }

    /// Whether a connection that is given back may serve again.
    fn is_fresh(&self, backend: &Backend) -> bool {
        !self.admission.is_paused() && !self.pool.is_over() && backend.number() >= self.fresh_from
    }
}

/// The answer to a request for a lease.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Here it is.
    Granted(Lease),
    /// Others come first.
    Queued(Waiting),
}

impl Gate {
    pub(crate) fn new(limit: u32, patience: Duration, journal: Arc<Journal>) -> Self {
        let state = State {
            admission: Admission::new(limit),
            pool: Pool::new(limit),
            waiters: NumberMap::default(),
            refused: None,
            outage: None,
            budget: Budget::new(limit),
            fresh_from: 0,
            quiet: Arc::default(),
        };
        let gate = Self { state: Mutex::new(state), journal, patience: AtomicU64::new(0) };
        gate.set_patience(patience);
        gate
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Asks for a lease, for a request that has arrived just now and is called there.
    pub(crate) fn request(
        self: &Arc<Self>,
        dyno: DynoId,
        arrived: Micros,
        call: &Arc<Call>,
    ) -> Asked {
        let mut state = self.lock();
        match state.admission.request(dyno) {
            Verdict::Granted(ticket) => Asked::Granted(self.lease(dyno, ticket)),
            Verdict::Queued(ticket) => {
                Asked::Queued(self.wait(&mut state, (dyno, ticket), arrived, call))
            }
        }
    }

    fn lease(self: &Arc<Self>, dyno: DynoId, ticket: Ticket) -> Lease {
        Lease { gate: Some(Arc::clone(self)), dyno, ticket, claim: Claim::Nothing }
    }

    fn wait(
        self: &Arc<Self>,
        state: &mut State,
        (dyno, ticket): (DynoId, Ticket),
        arrived: Micros,
        call: &Arc<Call>,
    ) -> Waiting {
        call.begin();
        let until = Micros(arrived.0.saturating_add(self.patience.load(Ordering::Relaxed)));
        state.waiters.insert(ticket, Waiter { call: Arc::clone(call), until });
        Waiting { gate: Some(Arc::clone(self)), dyno, ticket, call: Arc::clone(call) }
    }

    /// Ten times a second: lets the ceiling rise, buries the dead, tells those whose deadline has
    /// passed; gives the pool's state.
    pub(crate) fn tick(&self, at: Micros) -> PoolSampled {
        let mut state = self.lock();
        let dead = state.pool.remove_dead(|backend| !backend.check_idle());
        let granted = state.admission.tick(at);
        state.wake(granted);
        // In a pause time does not count.
        if !state.admission.is_paused() {
            for waiter in state.waiters.values().filter(|waiter| waiter.until <= at) {
                waiter.call.tell(Turn::Late);
            }
        }
        let sample = PoolSampled {
            at,
            limit: state.admission.limit(),
            open: state.pool.open(),
            leased: state.admission.leased(),
            waiting: state.admission.waiting(),
        };
        drop(state);
        // Closing tells the journal; not under the lock.
        drop(dead);
        sample
    }

    /// Closes all idle connections, at shutdown.
    pub(crate) fn close_idle(&self) {
        let idle = self.lock().pool.remove_dead(|_| true);
        drop(idle);
    }

    /// The truth for a request that waited until its deadline in vain, recorded as a refusal.
    pub(crate) fn refuse(&self, session: SessionId, dyno: DynoId, waited: Micros) -> Answer {
        let at = self.journal.now();
        let state = self.lock();
        let holders = state.admission.holders();
        let limit = state.admission.limit();
        let since = at - waited;
        let refused = state.refused.clone().filter(|(when, ..)| *when >= since);
        drop(state);

        let patience = self.patience();
        let mut message =
            format!("surgetank: no server connection became free within {patience:?}");
        if let Some((_, _, words)) = &refused {
            message = format!("{message}; PostgreSQL refuses to open more: {words}");
        }
        let named: Vec<String> = holders
            .iter()
            .take(5)
            .enumerate()
            .map(|(index, (dyno, count))| {
                let name = self.journal.dyno_name(*dyno);
                let of = if index == 0 { format!(" of {limit}") } else { String::new() };
                format!("{name} holds {count}{of}")
            })
            .collect();
        let mut answer = Answer::new(SqlState::TOO_MANY_CONNECTIONS, message);
        answer.hint = named.join(", ");
        let refusal = Refusal { at, session, dyno, waited, holders };
        self.journal.record(Event::RequestRefused(Box::new(refusal)));
        answer
    }

    /// Whether PostgreSQL cannot be reached: the last attempt to open a connection has failed.
    pub(crate) fn outage(&self) -> Option<Outage> {
        self.lock().outage.clone()
    }

    /// How PostgreSQL last refused to open a connection, if it did so since then.
    pub(crate) fn refused_since(&self, since: Micros) -> Option<SqlState> {
        self.lock().refused.as_ref().filter(|(when, ..)| *when >= since).map(|(_, code, _)| *code)
    }
}

/// A place in the queue.
#[derive(Debug)]
#[must_use]
pub(crate) struct Waiting {
    /// Gone once the place was exchanged for a lease.
    gate: Option<Arc<Gate>>,
    dyno: DynoId,
    ticket: Ticket,
    call: Arc<Call>,
}

impl Waiting {
    /// Returns when the wait is over, one way or another. Cancellation safe.
    pub(crate) async fn turn(&self) -> Turn {
        self.call.turn().await
    }

    /// The lease, after [`Turn::Granted`].
    pub(crate) fn into_lease(mut self) -> Option<Lease> {
        let gate = self.gate.take()?;
        Some(gate.lease(self.dyno, self.ticket))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let mut state = gate.lock();
        state.waiters.remove(&self.ticket);
        if !state.admission.withdraw(self.ticket) {
            state.release(self.dyno);
        }
    }
}

/// Whether one of the open connections is this lease's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Nothing,
    Connection,
}

/// The right to hold one server connection. Dropped, it counts its connection as closed: it must be
/// by then.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lease {
    /// Gone once the lease was given back in an orderly way.
    gate: Option<Arc<Gate>>,
    dyno: DynoId,
    ticket: Ticket,
    claim: Claim,
}

impl Lease {
    /// Takes a connection out of the pool, or says how to get one.
    pub(crate) fn take(
        &mut self,
        key: &Key,
        settings: &Arc<Settings>,
        worker: usize,
    ) -> Take<Box<Backend>> {
        self.claim = Claim::Connection;
        match &self.gate {
            Some(gate) => gate.lock().pool.take(key, settings, worker),
            None => Take::Open,
        }
    }

    /// The connection is gone, or could not be opened.
    pub(crate) fn lost(&mut self) {
        if let (Some(gate), Claim::Connection) = (&self.gate, self.claim) {
            gate.lock().pool.closed();
        }
        self.claim = Claim::Nothing;
    }

    /// Gives the connection to the pool and the lease to whoever is next. One that must not serve
    /// again (`PAUSE`, `RECONNECT`, a lower limit) is closed first.
    pub(crate) async fn give_back(self, mut backend: Box<Backend>) {
        backend.inbox.rest();
        if let Some(stale) = self.put(backend) {
            let (lease, backend) = stale;
            backend.close().await;
            drop(lease);
        }
    }

    fn put(mut self, backend: Box<Backend>) -> Option<(Self, Box<Backend>)> {
        let gate = self.gate.take()?;
        let mut state = gate.lock();
        if state.is_fresh(&backend) {
            state.pool.put(backend);
            state.release(self.dyno);
            return None;
        }
        drop(state);
        self.gate = Some(gate);
        Some((self, backend))
    }

    /// The connection is open: if PostgreSQL could not be reached before, it can be now.
    pub(crate) fn opened(&self) {
        let Some(gate) = &self.gate else { return };
        let mut state = gate.lock();
        if state.outage.take().is_some() {
            for next in state.admission.lift() {
                state.wake(Some(next));
            }
        }
    }

    /// PostgreSQL had no room for the connection, or cannot be reached: back into the queue, in the
    /// old place.
    pub(crate) fn refused(
        mut self,
        error: OpenError,
        arrived: Micros,
        call: &Arc<Call>,
    ) -> Option<Waiting> {
        self.lost();
        let gate = self.gate.take()?;
        let now = gate.journal.now();
        let mut state = gate.lock();
        let (until, rise) = match error {
            OpenError::Refused(code @ SqlState::TOO_MANY_CONNECTIONS, words) => {
                state.refused = Some((now, code, words));
                (now + REFUSED_FOR, Rise::Steadily)
            }
            error => (state.is_down(error, now), Rise::Once),
        };
        let open = state.pool.open();
        let waiting = gate.wait(&mut state, (self.dyno, self.ticket), arrived, call);
        let next = state.admission.refused((self.ticket, self.dyno), open, until, rise);
        state.wake(next);
        drop(state);
        Some(waiting)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let mut state = gate.lock();
        if self.claim == Claim::Connection {
            state.pool.closed();
        }
        state.release(self.dyno);
    }
}
