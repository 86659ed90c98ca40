//! The facade: who may execute, who waits, and who is next.
//!
//! A *transaction* asks for a place, gets it now or later, executes and idles in turns, and ends.
//! A new one is let in if fewer places are taken than the limit, and if a server connection can be
//! had. A short statement that executes takes one, a transaction keeps its own through a short
//! pause, and long statements above their own limit take some, too. Statements of an open
//! transaction never wait: they may hold what the others wait for.

use trace::{DynoId, Fingerprint, Micros};

use crate::book::{Book, Chain, Lane, State, Ticket};
use crate::ceiling::{Ceiling, Rise};
use crate::fair::{Fair, Manner};
use crate::meter::{Counts, Meter};
use crate::pulse::Pulse;
use crate::{Costs, Decision, Governor};

/// While more than so many fifths of the connections are held, a transaction that idles costs.
const SCARCE_FIFTHS: u64 = 4;

/// What idling costs then, beside executing.
const IDLE_COST: f64 = 0.1;

/// An impatient dyno's request waits no longer than this in a queue that stands, nor longer than
/// [`EARLY_PART`] of its time.
const EARLY_MAX: Micros = Micros::from_millis(250);
const EARLY_PART: u64 = 8;
/// But for one of so many, who shows whether they still give up by themselves: those who are
/// refused early, or served before all others, do not.
const SPARED: u64 = 16;

/// What a transaction wants.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Whose it is; introduced before.
    pub dyno: DynoId,
    /// Its first statement, or [`Fingerprint::NONE`].
    pub statement: Fingerprint,
    /// When it came.
    pub arrived: Micros,
    /// How long it may wait, if nothing else is known of its dyno.
    pub until: Micros,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may begin.
    Granted(Ticket),
    /// Others come first.
    Queued(Ticket),
}

/// How an admission stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// How many short statements may execute at once; without a law, as many as connections are
    /// held.
    pub limit: u32,
    /// How many long statements may execute beside them.
    pub long_limit: u32,
    /// How many connections may be held at once just now.
    pub ceiling: u32,
    /// Who does what.
    pub counts: Counts,
    /// How many wait.
    pub waiting: u32,
}

/// The queue in front of one database.
#[derive(Debug)]
pub struct Admission {
    book: Book,
    fair: Fair,
    /// Of which a short statement executes, the oldest first.
    executing: Chain,
    /// Of which nothing executes for so short a time that they keep their place, the first to do so
    /// first.
    pausing: Chain,
    counts: Counts,
    /// Most connections.
    cap: u32,
    /// Most connections that can be had without opening too many at once.
    reach: u32,
    /// Connections that are used for something else.
    aside: u32,
    ceiling: Option<Ceiling>,
    paused: bool,
    law: Option<Box<dyn Governor>>,
    decision: Decision,
    slot_ends: Micros,
    meter: Meter,
    costs: Costs,
    pulse: Pulse,
    blocked: Option<f64>,
}

impl Admission {
    /// At most `cap` transactions hold a connection. With a law fewer may execute; without one
    /// whoever holds a connection executes.
    #[must_use]
    pub fn new(cap: u32, law: Option<Box<dyn Governor>>) -> Self {
        let mut admission = Self {
            book: Book::default(),
            fair: Fair::default(),
            executing: Chain::default(),
            pausing: Chain::default(),
            counts: Counts::default(),
            cap,
            reach: u32::MAX,
            aside: 0,
            ceiling: None,
            paused: false,
            law: None,
            decision: FREE,
            slot_ends: Micros(u64::MAX),
            meter: Meter::default(),
            costs: Costs::new(),
            pulse: Pulse::default(),
            blocked: None,
        };
        admission.set_law(law);
        admission
    }

    /// Another law from now on, or none.
    pub fn set_law(&mut self, law: Option<Box<dyn Governor>>) {
        (self.decision, self.slot_ends) = match &law {
            Some(law) => (law.decision(), Micros::ZERO),
            None => (FREE, Micros(u64::MAX)),
        };
        self.law = law;
    }

    /// Whether a law finds the limit.
    #[must_use]
    pub fn is_adaptive(&self) -> bool {
        self.law.is_some()
    }

    // --- a transaction's life -------------------------------------------------------------------

    /// Whether a dyno was introduced.
    #[must_use]
    pub fn knows(&self, dyno: DynoId) -> bool {
        self.fair.find(dyno).is_some()
    }

    /// A dyno is treated like this from now on.
    pub fn introduce(&mut self, dyno: DynoId, manner: Manner) {
        self.fair.introduce(dyno, manner);
    }

    /// A transaction wants to begin. Nobody overtakes those of its own lane who wait already.
    pub fn request(&mut self, ask: Ask, now: Micros) -> Verdict {
        self.advance(now);
        let tenant = match self.fair.find(ask.dyno) {
            Some(tenant) => tenant,
            None => self.fair.introduce(ask.dyno, Manner::default()),
        };
        let known = self.costs.known(ask.statement);
        let (cost, lane) = (known.unwrap_or_else(|| self.costs.usual()), self.lane(known));
        let ticket = self.book.open(tenant, lane, ask.arrived);
        let entry = self.book.at_mut(ticket.index());
        let patience = self.fair.tenant(tenant).manner.patience;
        entry.until = patience.map_or(ask.until, |patience| ask.arrived + patience);
        entry.charged = cost;
        if self.fair.waiting(lane) == 0 && self.has_room(lane) {
            self.grant(ticket.index(), now);
            return Verdict::Granted(ticket);
        }
        self.fair.wait(&mut self.book, ticket.index(), now, false);
        Verdict::Queued(ticket)
    }

    /// Who may begin now of those who wait. To be asked, until it is nobody, after everything else
    /// that happened.
    #[must_use]
    pub fn next(&mut self, now: Micros) -> Option<Ticket> {
        if self.waiting() == 0 {
            return None;
        }
        let first = |lane| {
            let waits = self.fair.waiting(lane) > 0 && self.has_room(lane);
            waits.then(|| self.fair.next(&self.book, lane, now, || self.pulse.standing())).flatten()
        };
        let (short, long) = (first(Lane::Short), first(Lane::Long));
        let index = match (short, long) {
            // Connections are what both lack: whoever waits longer.
            (Some(short), Some(long)) => {
                let is_before = self.book.at(long).order < self.book.at(short).order;
                if is_before { long } else { short }
            }
            (one, other) => one.or(other)?,
        };
        let entry = self.book.at(index);
        let (tenant, waited) = (entry.tenant, now - entry.arrived);
        let in_turn = !self.fair.tenant(tenant).is_hurried(now, || self.pulse.standing());
        if in_turn && waited <= EARLY_MAX {
            self.fair.note_leaving(tenant, false);
        }
        self.fair.leave(&mut self.book, index);
        self.grant(index, now);
        Some(self.book.ticket(index))
    }

    /// The transaction is open, and nothing executes. The statement is the one that did.
    pub fn rests(&mut self, ticket: Ticket, statement: Fingerprint, now: Micros) {
        if !self.book.has(ticket) {
            return;
        }
        self.advance(now);
        let was_long = self.book.at(ticket.index()).state == State::Long;
        self.statement_ended(ticket.index(), Some(statement), now);
        self.idle(ticket.index(), was_long, now);
    }

    /// After [`Self::rests`]: something executes again.
    pub fn works(&mut self, ticket: Ticket, now: Micros) {
        if !self.book.has(ticket) || !self.book.at(ticket.index()).state.idles() {
            return;
        }
        self.advance(now);
        self.idle_ended(ticket.index(), now);
        self.execute(ticket.index(), now);
    }

    /// The transaction got its connection only now: what it waited for was no statement.
    pub fn connected(&mut self, ticket: Ticket, now: Micros) {
        if !self.book.has(ticket) {
            return;
        }
        self.advance(now);
        let index = ticket.index();
        if self.book.at(index).lane == Lane::Long {
            self.book.at_mut(index).since = now;
            return;
        }
        self.statement_ended(index, None, now);
        self.book.at_mut(index).was_long = false;
        self.execute(index, now);
    }

    /// The transaction is over. The statement is the one that executed last; without one nothing
    /// was learnt.
    pub fn end(&mut self, ticket: Ticket, statement: Option<Fingerprint>, now: Micros) {
        if !self.book.has(ticket) {
            return;
        }
        self.advance(now);
        let index = ticket.index();
        self.leave_state(index, statement, now);
        let entry = self.book.at(index).clone();
        self.pay(index);
        if statement.is_some() && !entry.was_long {
            let held = (now - entry.granted).as_secs_f64();
            self.pulse.beat(held);
            self.meter.ended(entry.work, held);
        }
        self.fair.ended(entry.tenant, entry.lane);
        self.book.close(ticket);
    }

    /// A session waits no longer: its deadline has passed or its client is gone. `false` if it was
    /// granted a place meanwhile, which must then be ended.
    #[must_use]
    pub fn withdraw(&mut self, ticket: Ticket, now: Micros) -> bool {
        if !self.book.has(ticket) || self.book.at(ticket.index()).state != State::Waiting {
            return false;
        }
        self.advance(now);
        let entry = self.book.at(ticket.index());
        let (tenant, is_told) = (entry.tenant, entry.is_told);
        if !is_told {
            self.fair.note_leaving(tenant, true);
        }
        self.fair.leave(&mut self.book, ticket.index());
        self.book.close(ticket);
        true
    }

    /// No connection could be opened: the transaction waits again in its old place. `open` is how
    /// many connections there are; more are not tried before `until`.
    pub fn refused(
        &mut self,
        ticket: Ticket,
        (open, until, rise): (u32, Micros, Rise),
        now: Micros,
    ) {
        self.ceiling = Some(Ceiling { held: open, until, rise });
        if !self.book.has(ticket) {
            return;
        }
        self.advance(now);
        if let (Some(law), Rise::Steadily) = (&mut self.law, rise) {
            self.decision = law.refused(now);
        }
        let index = ticket.index();
        self.leave_state(index, None, now);
        self.pay(index);
        let entry = self.book.at_mut(index);
        (entry.state, entry.used) = (State::Waiting, [0.0; 2]);
        self.fair.wait(&mut self.book, index, now, true);
    }
}

/// Without a law all that hold a connection may execute.
const FREE: Decision =
    Decision { limit: u32::MAX, long: u32::MAX, slot: Micros::ZERO, settle: Micros::ZERO };

mod inside;
mod outside;
#[cfg(test)]
mod tests;
