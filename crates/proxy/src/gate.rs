//! Admission and pool behind one lock, so that the limit holds over all workers.
//!
//! The lock is held for a few hundred nanoseconds and never across an await. What is granted is a
//! guard: dropping a [`Waiting`] or a [`Lease`] is always safe and gives back what it stands for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use admission::{Admission, Ask, Governor, Law, Levels, Ticket, Verdict};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use trace::numbers::NumberMap;
use trace::{DynoId, Event, Fingerprint, LimitChanged, Micros, PoolSampled, SqlState};

use crate::Dynos;
use crate::backend::{Backend, OpenError};
use crate::budget::Budget;
use crate::call::{Call, Turn};
use crate::journal::Journal;
use crate::pool::Pool;

mod allies;
mod borrowed;
mod control;
mod lease;
mod opening;
mod outage;
mod places;
mod refusal;
mod share;
mod warm;

use allies::Allies;
pub(crate) use allies::Seen;
pub(crate) use borrowed::Borrowed;
pub(crate) use control::{Holding, Said};
pub(crate) use lease::{Last, Lease, Waiting};
use opening::Opening;
pub(crate) use outage::Outage;
use warm::Warm;

/// After a long statement was seen, requests are looked at for others for so long.
const CURIOUS: Micros = Micros::from_secs(60);

/// What a gate is made for.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Most server connections; without it, as many as the server has room for.
    pub(crate) cap: Option<u32>,
    /// Whether a law finds how many may execute.
    pub(crate) adaptive: bool,
    /// What an earlier run had found.
    pub(crate) remembered: Option<u32>,
    /// How long a request may wait.
    pub(crate) patience: Duration,
    /// How dynos are treated.
    pub(crate) dynos: Arc<Dynos>,
}

impl Terms {
    /// Whether the limits are agreed on with other proxies of the database.
    fn confers(&self) -> bool {
        self.adaptive && self.cap.is_none_or(|cap| cap >= allies::LIMIT_LEAST)
    }

    fn law(&self) -> Option<Box<dyn Governor>> {
        let seed = rand::random();
        let law = || match self.remembered {
            Some(knee) => Law::remembering(seed, knee),
            None => Law::new(seed),
        };
        self.adaptive.then(|| -> Box<dyn Governor> { Box::new(law()) })
    }
}

/// All server connections of `regulate` mode.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    journal: Arc<Journal>,
    /// The name of its database.
    label: Box<str>,
    /// How long a request may wait, in microseconds.
    patience: AtomicU64,
    /// Whether it matters now which statement a request begins with.
    curious: AtomicBool,
    /// Fires when somebody waits for a place that is kept.
    kept: Notify,
    /// Server connections that sessions in no transaction keep, for what they have left there.
    pinned: AtomicU32,
}

#[derive(Debug)]
struct State {
    admission: Admission,
    pool: Pool<Box<Backend>>,
    opening: Opening,
    warm: Warm,
    waiters: NumberMap<Ticket, Arc<Call>>,
    dynos: Arc<Dynos>,
    /// Until when requests are looked at for long statements.
    curious_until: Micros,
    /// When PostgreSQL last had no room for a connection, and its words.
    refused: Option<(Micros, SqlState, String)>,
    /// While PostgreSQL cannot be reached.
    outage: Option<Outage>,
    /// How much of the cap is ours while another process shares it.
    budget: Budget,
    /// For how many connections of ours the server has room, if that is known.
    room: Option<u32>,
    allies: Allies,
    /// Whether it is watched when the next kept place becomes free.
    watched: bool,
    /// Somebody wants to borrow the next connection that is free.
    borrower: Option<borrowed::Borrower>,
    /// Server connections with lower numbers are closed when they are given back.
    fresh_from: u64,
    /// Fires when, in a pause, the last server connection is closed.
    quiet: Arc<Notify>,
    /// Paused for good: the proxy ends when no server connection is left.
    is_draining: bool,
}

impl State {
    /// Calls all who may begin now. Some may have been told something else already: then their
    /// guards give the leases back when they are dropped.
    fn wake(&mut self, now: Micros) {
        let reach = self.opening.reach(self.pool.open()).min(self.allies.hold());
        self.admission.set_reach(reach);
        while let Some(ticket) = self.admission.next(now) {
            if let Some(call) = self.waiters.remove(&ticket) {
                call.tell(Turn::Granted);
            }
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

    fn note_quiet(&self) {
        if self.admission.is_paused() && self.pool.open() + self.allies.aside() == 0 {
            self.quiet.notify_waiters();
        }
    }

    /// Whether a connection that is given back may serve again.
    fn is_fresh(&self, backend: &Backend) -> bool {
        !self.admission.is_paused()
            && !self.pool.is_over()
            && backend.number() >= self.fresh_from
            && !backend.outdated.is_set()
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

/// How the limit of a database stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) levels: Levels,
    pub(crate) adaptive: bool,
    pub(crate) room: Option<u32>,
    pub(crate) change: Option<LimitChanged>,
    pub(crate) knee: Option<u32>,
    /// The limit of all who share the database.
    pub(crate) total: Option<u32>,
    /// What was agreed with them.
    pub(crate) seen: Option<Seen>,
}

impl Gate {
    pub(crate) fn new(label: &str, terms: &Terms, journal: Arc<Journal>) -> Self {
        let budget = Budget::new(terms.cap.unwrap_or(UNBOUNDED));
        let cap = budget.own().min(if terms.cap.is_some() { u32::MAX } else { UNKNOWN });
        let state = State {
            admission: Admission::new(cap, terms.law()),
            pool: Pool::new(cap),
            opening: Opening::default(),
            warm: Warm::default(),
            waiters: NumberMap::default(),
            dynos: Arc::clone(&terms.dynos),
            curious_until: Micros::ZERO,
            refused: None,
            outage: None,
            budget,
            room: None,
            allies: Allies::new(terms.confers()),
            watched: false,
            borrower: None,
            fresh_from: 0,
            quiet: Arc::default(),
            is_draining: false,
        };
        let gate = Self {
            state: Mutex::new(state),
            journal,
            label: label.into(),
            patience: AtomicU64::new(0),
            curious: AtomicBool::new(false),
            kept: Notify::new(),
            pinned: AtomicU32::new(0),
        };
        gate.set_patience(terms.patience);
        gate.lock().keep_to_budget(Micros::ZERO);
        gate
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether it matters now which statement a request begins with: somebody waits, so that it
    /// must be charged what it will cost, or some statements are long.
    pub(crate) fn is_curious(&self) -> bool {
        self.curious.load(Ordering::Relaxed)
    }

    /// Asks for a lease, for a request that has arrived just now and is called there.
    pub(crate) fn request(
        self: &Arc<Self>,
        (dyno, statement): (DynoId, Fingerprint),
        arrived: Micros,
        call: &Arc<Call>,
    ) -> Asked {
        let mut state = self.lock();
        if !state.admission.knows(dyno) {
            let manner = state.dynos.manner(&self.journal.dyno_name(dyno));
            state.admission.introduce(dyno, manner);
        }
        let until = arrived + Micros(self.patience.load(Ordering::Relaxed));
        match state.admission.request(Ask { dyno, statement, arrived, until }, arrived) {
            Verdict::Granted(ticket) => Asked::Granted(Lease::new(self, ticket)),
            Verdict::Queued(ticket) => {
                let waiting = self.wait(&mut state, ticket, call);
                // A slot of the law may have ended just now, and the limit be higher.
                state.wake(arrived);
                self.keep_places(&mut state);
                Asked::Queued(waiting)
            }
        }
    }

    fn wait(self: &Arc<Self>, state: &mut State, ticket: Ticket, call: &Arc<Call>) -> Waiting {
        call.begin();
        if state.is_draining {
            call.tell(Turn::ShuttingDown);
        }
        state.waiters.insert(ticket, Arc::clone(call));
        Waiting::new(self, ticket, call)
    }

    /// Ten times a second: lets the ceiling rise, buries the dead, tells those who have waited too
    /// long, records changes of the limit; gives the pool's state.
    pub(crate) fn tick(&self, at: Micros) -> PoolSampled {
        let mut state = self.lock();
        let dead = state.pool.remove_dead(|backend| !backend.check_idle());
        state.opening.rest(at);
        state.note_needs(at);
        state.admission.tick(at);
        state.wake(at);
        for ticket in state.admission.late(at) {
            if let Some(call) = state.waiters.get(&ticket) {
                call.tell(Turn::Late);
            }
        }
        let levels = state.admission.levels();
        if levels.counts.long > 0 {
            state.curious_until = at + CURIOUS;
        }
        let curious = levels.waiting > 0 || state.curious_until > at;
        self.curious.store(curious, Ordering::Relaxed);
        let change = state.admission.untold();
        let open = state.pool.open();
        drop(state);
        // Closing tells the journal; not under the lock.
        drop(dead);
        if let Some(change) = change {
            // The first has no time: nothing was measured.
            let at = if change.at == Micros::ZERO { at } else { change.at };
            self.journal.record(Event::LimitChanged(LimitChanged { at, ..change }));
        }
        sample(&levels, open, at)
    }

    /// How the limit stands.
    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        let (change, knee) = state.admission.found();
        Standing {
            levels: state.admission.levels(),
            adaptive: state.admission.is_adaptive(),
            room: state.room,
            change,
            knee,
            total: state.admission.total(),
            seen: state.allies.seen(),
        }
    }

    /// Closes all idle connections, at shutdown.
    pub(crate) fn close_idle(&self) {
        let idle = self.lock().pool.remove_dead(|_| true);
        drop(idle);
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

/// Most connections where nobody has set a cap: as many as the server has room for, and before that
/// is known, so many.
pub(crate) const UNKNOWN: u32 = 20;

/// No cap of ours.
const UNBOUNDED: u32 = 100_000;

/// A sample of the pool. Its limit is how many leases there may be just now: as many as there are
/// places, beside those whose transactions idle without one and the long ones in their lane.
fn sample(levels: &Levels, open: u32, at: Micros) -> PoolSampled {
    let counts = levels.counts;
    let idle = counts.idle.saturating_sub(counts.pausing);
    let beside = idle.saturating_add(counts.long.min(levels.long_limit));
    PoolSampled {
        at,
        limit: levels.limit.saturating_add(beside).min(levels.ceiling),
        open,
        leased: counts.held(),
        waiting: levels.waiting,
    }
}
