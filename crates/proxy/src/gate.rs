//! Admission and pool behind one lock, so that the limit holds over all workers.
//!
//! The lock is held for a few hundred nanoseconds and never across an await. What is granted is a
//! guard: dropping a [`Waiting`] or a [`Lease`] is always safe and gives back what it stands for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use trace::{DynoId, Event, Micros, PoolSampled, Refusal, SessionId, SqlState};

use crate::admission::{Admission, Ticket, Verdict};
use crate::answer::Answer;
use crate::backend::Backend;
use crate::budget::Budget;
use crate::call::{Call, Turn};
use crate::journal::Journal;
use crate::numbers::NumberMap;
use crate::pool::{Key, Pool, Take};

/// All server connections of `regulate` mode.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    journal: Arc<Journal>,
    /// How long a request may wait.
    pub(crate) patience: Duration,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    pool: Pool<Box<Backend>>,
    waiters: NumberMap<Ticket, Waiter>,
    /// When PostgreSQL last refused to open a connection, and its words.
    refused: Option<(Micros, SqlState, String)>,
    /// How much of the limit is ours while another process shares it.
    budget: Budget,
}

/// One that waits.
#[derive(Debug)]
struct Waiter {
    call: Arc<Call>,
    until: Micros,
}

impl State {
    /// Holds on to what the budget allows.
    fn keep_to_budget(&mut self) {
        let limit = self.budget.own();
        self.pool.set_limit(limit);
        for ticket in self.admission.set_limit(limit) {
            self.wake(Some(ticket));
        }
    }

    /// Calls who was granted a lease. It may have been told something else already: then its guard
    /// gives the lease back when it is dropped.
    fn wake(&mut self, granted: Option<Ticket>) {
        if let Some(waiter) = granted.and_then(|ticket| self.waiters.remove(&ticket)) {
            waiter.call.tell(Turn::Granted);
        }
    }

    fn release(&mut self, dyno: DynoId) {
        let next = self.admission.release(dyno);
        self.wake(next);
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
            budget: Budget::new(limit),
        };
        Self { state: Mutex::new(state), journal, patience }
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
        let patience = u64::try_from(self.patience.as_micros()).unwrap_or(u64::MAX);
        call.begin();
        let until = Micros(arrived.0.saturating_add(patience));
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
        for waiter in state.waiters.values().filter(|waiter| waiter.until <= at) {
            waiter.call.tell(Turn::Late);
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

    /// Another process shares the limit and holds so many connections.
    pub(crate) fn held_elsewhere(&self, connections: u32) {
        let mut state = self.lock();
        state.budget.held_elsewhere(connections);
        state.keep_to_budget();
    }

    /// Gives what is not needed for the `sessions` of this process to a successor, more with each
    /// call as sessions end. Says how many connections are held here and elsewhere: at most so
    /// many from now on. Cancellation safe.
    pub(crate) async fn give_way(self: &Arc<Self>, sessions: usize) -> u32 {
        let surplus: Vec<Surplus> = {
            let mut state = self.lock();
            state.budget.give_way(u32::try_from(sessions).unwrap_or(u32::MAX));
            state.keep_to_budget();
            let surplus = state.pool.surplus().into_iter();
            surplus
                .map(|backend| Surplus { gate: Arc::clone(self), backend: Some(backend) })
                .collect()
        };
        for one in surplus {
            one.close().await;
        }
        let mut state = self.lock();
        let open = state.pool.open();
        state.budget.report(open)
    }

    /// No successor came after all: the limit is ours again.
    pub(crate) fn stay(&self) {
        let mut state = self.lock();
        state.budget.stay();
        state.keep_to_budget();
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

        let patience = self.patience;
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

    /// How PostgreSQL last refused to open a connection, if it did so since then.
    pub(crate) fn refused_since(&self, since: Micros) -> Option<SqlState> {
        self.lock().refused.as_ref().filter(|(when, ..)| *when >= since).map(|(_, code, _)| *code)
    }
}

/// An idle connection above the limit: counted until the server knows that it is closed.
struct Surplus {
    gate: Arc<Gate>,
    backend: Option<Box<Backend>>,
}

impl Surplus {
    async fn close(mut self) {
        if let Some(backend) = self.backend.take() {
            backend.close().await;
        }
    }
}

impl Drop for Surplus {
    fn drop(&mut self) {
        drop(self.backend.take());
        self.gate.lock().pool.closed();
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
    pub(crate) fn take(&mut self, key: &Key, worker: usize) -> Take<Box<Backend>> {
        self.claim = Claim::Connection;
        match &self.gate {
            Some(gate) => gate.lock().pool.take(key, worker),
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

    /// Gives the connection to the pool and the lease to whoever is next.
    pub(crate) fn give_back(mut self, backend: Box<Backend>) {
        let Some(gate) = self.gate.take() else { return };
        let mut state = gate.lock();
        state.pool.put(backend);
        state.release(self.dyno);
    }

    /// PostgreSQL had no room for the connection: back into the queue, in the old place.
    pub(crate) fn refused(
        mut self,
        (code, words): (SqlState, String),
        arrived: Micros,
        call: &Arc<Call>,
    ) -> Option<Waiting> {
        self.lost();
        let gate = self.gate.take()?;
        let now = gate.journal.now();
        let mut state = gate.lock();
        state.refused = Some((now, code, words));
        let open = state.pool.open();
        let waiting = gate.wait(&mut state, (self.dyno, self.ticket), arrived, call);
        let next = state.admission.refused(self.ticket, self.dyno, open, now);
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
