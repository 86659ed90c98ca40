//! What a session holds of the gate: a place in the queue, then a lease.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use admission::{Rise, Ticket};
use parking_lot::Mutex;
use trace::{Fingerprint, Micros, SqlState};

use super::{Gate, State};
use crate::backend::{Backend, OpenError};
use crate::call::{Call, Turn};
use crate::pool::{Asker, Take};

/// How long no further connection is tried after PostgreSQL had no room for one.
const REFUSED_FOR: Micros = Micros::from_millis(250);

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Gone once the place was exchanged for a lease.
    gate: Option<Arc<Gate>>,
    ticket: Ticket,
    call: Arc<Call>,
}

impl Waiting {
    pub(super) fn new(gate: &Arc<Gate>, ticket: Ticket, call: &Arc<Call>) -> Self {
        Self { gate: Some(Arc::clone(gate)), ticket, call: Arc::clone(call) }
    }

    /// Returns when the wait is over, one way or another. Cancellation safe.
    pub(crate) async fn turn(&self) -> Turn {
        self.call.turn().await
    }

    /// The lease, after [`Turn::Granted`].
    pub(crate) fn into_lease(mut self) -> Option<Lease> {
        let gate = self.gate.take()?;
        Some(Lease::new(&gate, self.ticket))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let now = gate.journal.now();
        let mut state = gate.lock();
        state.waiters.remove(&self.ticket);
        if !state.admission.withdraw(self.ticket, now) {
            state.end(self.ticket, None, now);
        }
    }
}

/// Whether one of the open connections is this lease's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Nothing,
    /// One that is being opened.
    Opening,
    Connection,
}

/// What a session did last with its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// The statement that has executed; [`Fingerprint::NONE`] if none has.
    pub(crate) statement: Fingerprint,
    /// When its answer was complete.
    pub(crate) at: Micros,
}

/// The right to hold one server connection. Dropped, it counts its connection as closed: it must be
/// by then.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lease {
    /// Gone once the lease was given back in an orderly way.
    gate: Option<Arc<Gate>>,
    ticket: Ticket,
    claim: Claim,
    /// Whether it rests in no transaction.
    pinned: Pinned,
}

/// Counts a lease that rests in no transaction, as long as it does.
#[derive(Debug, Default)]
struct Pinned(Mutex<Option<Arc<Gate>>>);

impl Pinned {
    fn begin(&self, gate: &Arc<Gate>) {
        let mut counted = self.0.lock();
        if counted.is_none() {
            gate.pinned.fetch_add(1, Ordering::Relaxed);
            *counted = Some(Arc::clone(gate));
        }
    }

    fn end(&self) {
        if let Some(gate) = self.0.lock().take() {
            gate.pinned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    /// A lease has ended; its connection is in the pool or gone.
    fn end(&mut self, ticket: Ticket, statement: Option<Fingerprint>, now: Micros) {
        self.admission.end(ticket, statement, now);
        self.wake(now);
        self.note_quiet();
    }
}

impl Lease {
    pub(super) fn new(gate: &Arc<Gate>, ticket: Ticket) -> Self {
        Self {
            gate: Some(Arc::clone(gate)),
            ticket,
            claim: Claim::Nothing,
            pinned: Pinned::default(),
        }
    }

    /// Takes a connection out of the pool, or says how to get one.
    pub(crate) fn take(&mut self, asker: Asker<'_>) -> Take<Box<Backend>> {
        let Some(gate) = &self.gate else { return Take::Open };
        let mut state = gate.lock();
        let taken = state.pool.take(asker);
        self.claim = match taken {
            Take::Idle(_) => Claim::Connection,
            Take::Open | Take::Replace(_) => {
                state.opening.begins();
                Claim::Opening
            }
        };
        taken
    }

    /// The connection is gone, or could not be opened.
    pub(crate) fn lost(&mut self) {
        if let Some(gate) = &self.gate {
            gate.lock().close(self.claim);
        }
        self.claim = Claim::Nothing;
    }

    /// Nothing executes, in an open transaction or between two of a pinned session.
    pub(crate) fn rests(&self, last: Last, in_transaction: bool) {
        if let Some(gate) = &self.gate {
            if !in_transaction {
                self.pinned.begin(gate);
            }
            let mut state = gate.lock();
            state.admission.rests(self.ticket, last.statement, last.at);
            state.wake(last.at);
            gate.keep_places(&mut state);
        }
    }

    /// Something executes again.
    pub(crate) fn works(&self, now: Micros) {
        if let Some(gate) = &self.gate {
            self.pinned.end();
            gate.lock().admission.works(self.ticket, now);
        }
    }

    /// Gives the connection to the pool and the lease to whoever is next. One that must not serve
    /// again (`PAUSE`, `RECONNECT`, a lower cap) is closed first.
    pub(crate) async fn give_back(self, mut backend: Box<Backend>, last: Last) {
        backend.inbox.rest();
        backend.rested = last.at;
        if let Some(stale) = self.put(backend, last) {
            let (lease, backend) = stale;
            // Rare: not a part of every session.
            Box::pin(backend.close()).await;
            drop(lease);
        }
    }

    fn put(mut self, backend: Box<Backend>, last: Last) -> Option<(Self, Box<Backend>)> {
        let gate = self.gate.take()?;
        let mut state = gate.lock();
        if state.is_fresh(&backend) {
            state.put(backend);
            let statement = Some(last.statement).filter(|one| *one != Fingerprint::NONE);
            state.end(self.ticket, statement, last.at);
            return None;
        }
        drop(state);
        self.gate = Some(gate);
        Some((self, backend))
    }

    /// The connection is open: if PostgreSQL could not be reached before, it can be now.
    pub(crate) fn opened(&mut self) {
        let Some(gate) = &self.gate else { return };
        let now = gate.journal.now();
        let mut state = gate.lock();
        self.claim = Claim::Connection;
        state.opening.succeeds(now);
        state.admission.connected(self.ticket, now);
        if state.outage.take().is_some() {
            state.admission.lift(now);
        }
        if state.pool.open() == 1 {
            state.tell_speaker();
        }
        state.wake(now);
    }

    /// PostgreSQL had no room for the connection, or cannot be reached: back into the queue, in the
    /// old place.
    pub(crate) fn refused(mut self, error: OpenError, call: &Arc<Call>) -> Option<Waiting> {
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
        let waiting = gate.wait(&mut state, self.ticket, call);
        state.admission.refused(self.ticket, (open, until, rise), now);
        state.wake(now);
        drop(state);
        Some(waiting)
    }
}

impl State {
    fn close(&mut self, claim: Claim) {
        if claim == Claim::Opening {
            self.opening.fails();
        }
        if claim != Claim::Nothing {
            self.pool.closed();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let now = gate.journal.now();
        let mut state = gate.lock();
        state.close(self.claim);
        state.end(self.ticket, None, now);
    }
}
