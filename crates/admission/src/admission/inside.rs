//! How transactions pass from one state to the next, and what is counted of it.

use trace::{Fingerprint, Micros};

use super::{Admission, IDLE_COST, SCARCE_FIFTHS};
use crate::book::{Lane, State};
use crate::meter::Counts;

impl Admission {
    /// Most connections that may be held just now.
    pub(super) fn most(&self) -> u32 {
        let ceiling = self.ceiling.map_or(u32::MAX, |ceiling| ceiling.held);
        ceiling.min(self.cap)
    }

    pub(super) fn has_connection(&self) -> bool {
        !self.paused && self.counts.held() + self.aside < self.most().min(self.reach)
    }

    /// Whether a new transaction may begin in this lane.
    pub(super) fn has_room(&self, lane: Lane) -> bool {
        let Counts { executing, long, pausing, .. } = self.counts;
        let may_execute = match lane {
            Lane::Short => {
                let surplus = long.saturating_sub(self.decision.long);
                executing + pausing + surplus < self.decision.limit
            }
            Lane::Long => long < self.decision.long,
        };
        may_execute && self.has_connection()
    }

    /// Where a statement belongs, as far as one can tell. A stranger is short until it proves not
    /// to be.
    pub(super) fn lane(&self, known: Option<f64>) -> Lane {
        let is_long = known.is_some_and(|cost| cost > self.pulse.tau().as_secs_f64());
        if is_long && self.law.is_some() { Lane::Long } else { Lane::Short }
    }

    /// Brings all up to date.
    pub(super) fn advance(&mut self, now: Micros) {
        let is_saturated = self.fair.waiting(Lane::Short) > 0 && self.has_connection();
        self.meter.advance(now, self.counts, is_saturated);
        let tau = self.pulse.tau();
        while let Some(oldest) = self.executing.first()
            && self.book.at(oldest).since + tau <= now
        {
            self.becomes_long(oldest);
        }
        let pause = self.pulse.pause();
        while let Some(oldest) = self.pausing.first()
            && self.book.at(oldest).since + pause <= now
        {
            self.pause_ended(oldest);
        }
        if now >= self.slot_ends {
            self.slot_ended(now);
        }
    }

    /// A transaction that holds a connection does nothing just now. It keeps the place of a short
    /// statement; a long one had none.
    pub(super) fn idle(&mut self, index: u32, was_long: bool, now: Micros) {
        let entry = self.book.at_mut(index);
        entry.state = if was_long { State::Idle } else { State::Pausing };
        entry.since = now;
        self.counts.idle += 1;
        if !was_long {
            self.counts.pausing += 1;
            self.pausing.push(&mut self.book, index);
        }
    }

    /// It does nothing for longer than a pause: others may have its place.
    fn pause_ended(&mut self, index: u32) {
        self.pausing.remove(&mut self.book, index);
        self.counts.pausing -= 1;
        self.book.at_mut(index).state = State::Idle;
    }

    pub(super) fn becomes_long(&mut self, index: u32) {
        self.executing.remove(&mut self.book, index);
        self.counts.executing -= 1;
        self.counts.long += 1;
        let entry = self.book.at_mut(index);
        (entry.state, entry.was_long) = (State::Long, true);
    }

    #[cold]
    pub(super) fn slot_ended(&mut self, now: Micros) {
        // Not the ceiling of the moment: an outage says nothing of what the database can do.
        let window = self.meter.window(self.decision.limit, self.cap, self.blocked);
        let Some(law) = &mut self.law else { return };
        if self.slot_ends > Micros::ZERO {
            self.decision = law.slot_ended(&window);
        }
        self.slot_ends = now + self.decision.slot;
        self.meter.begin(now + self.decision.settle);
    }

    pub(super) fn grant(&mut self, index: u32, now: Micros) {
        let entry = self.book.at_mut(index);
        entry.granted = now;
        let (tenant, lane, cost) = (entry.tenant, entry.lane, entry.charged);
        self.fair.serve(tenant, lane, cost, now);
        if lane == Lane::Long {
            let entry = self.book.at_mut(index);
            (entry.state, entry.since) = (State::Long, now);
            self.counts.long += 1;
        } else {
            self.execute(index, now);
        }
    }

    pub(super) fn execute(&mut self, index: u32, now: Micros) {
        let entry = self.book.at_mut(index);
        (entry.state, entry.since) = (State::Executing, now);
        self.counts.executing += 1;
        self.executing.push(&mut self.book, index);
    }

    /// A transaction that holds a connection does nothing any more.
    pub(super) fn leave_state(&mut self, index: u32, statement: Option<Fingerprint>, now: Micros) {
        if self.book.at(index).state.idles() {
            self.idle_ended(index, now);
        } else {
            self.statement_ended(index, statement, now);
        }
    }

    pub(super) fn idle_ended(&mut self, index: u32, now: Micros) {
        self.counts.idle -= 1;
        if self.book.at(index).state == State::Pausing {
            self.pause_ended(index);
        }
        let held = u64::from(self.counts.held());
        if held * 5 > u64::from(self.most()) * SCARCE_FIFTHS {
            let entry = self.book.at_mut(index);
            entry.used[Lane::Short as usize] += (now - entry.since).as_secs_f64() * IDLE_COST;
        }
    }

    pub(super) fn statement_ended(
        &mut self,
        index: u32,
        statement: Option<Fingerprint>,
        now: Micros,
    ) {
        let entry = self.book.at_mut(index);
        let took = (now - entry.since).as_secs_f64();
        let lane = if entry.state == State::Long { Lane::Long } else { Lane::Short };
        if statement.is_some() {
            entry.used[lane as usize] += took;
        }
        match entry.state {
            State::Executing => {
                self.executing.remove(&mut self.book, index);
                self.counts.executing -= 1;
            }
            State::Long => self.counts.long -= 1,
            State::Free | State::Waiting | State::Pausing | State::Idle => {}
        }
        if let Some(statement) = statement {
            if lane == Lane::Short {
                self.pulse.executed(took);
                self.meter.executed(statement);
            }
            self.book.at_mut(index).work += self.costs.observe(statement, took);
        }
    }

    /// The transaction's dyno pays for what was really used.
    pub(super) fn pay(&mut self, index: u32) {
        let entry = self.book.at(index);
        let (tenant, lane, charged, used) = (entry.tenant, entry.lane, entry.charged, entry.used);
        self.fair.tenant_mut(tenant).leased -= 1;
        for one in Lane::ALL {
            let paid = if one == lane { charged } else { 0.0 };
            let due = used[one as usize] - paid;
            if due != 0.0 {
                self.fair.correct(tenant, one, due);
            }
        }
    }
}
