//! How many did what for how long: time integrals, from which windows are made.

use trace::{Fingerprint, Micros};

use crate::{Cost, Mix, Window};

/// How many do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions of which a short statement executes.
    pub executing: u32,
    /// Transactions of which a long statement executes.
    pub long: u32,
    /// Transactions that are open, and nothing executes.
    pub idle: u32,
    /// Of those: that do so only for so short a time that they keep their place.
    pub pausing: u32,
}

impl Counts {
    /// Transactions that hold a server connection.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.executing + self.long + self.idle
    }
}

/// The integrals of one slot.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Up to when all is counted.
    now: Micros,
    /// From when on it is measured.
    from: Micros,
    /// Number times microseconds.
    executing: u64,
    long: u64,
    idle: u64,
    saturated: u64,
    done: u32,
    work: Cost,
    mix: Mix,
    held: f64,
    held_squares: f64,
}

impl Meter {
    /// A slot begins; what happens before `from` is not measured.
    pub(crate) fn begin(&mut self, from: Micros) {
        *self = Self { now: self.now, from, ..Self::default() };
    }

    /// It was like this until now. Clocks of two threads may be read in one order and told in the
    /// other: then no time has passed.
    pub(crate) fn advance(&mut self, now: Micros, counts: Counts, is_saturated: bool) {
        let span = now.since(self.now.max(self.from)).0;
        self.now = self.now.max(now);
        self.executing += span * u64::from(counts.executing + counts.pausing);
        self.long += span * u64::from(counts.long);
        self.idle += span * u64::from(counts.idle);
        if is_saturated {
            self.saturated += span;
        }
    }

    /// A statement has ended.
    pub(crate) fn executed(&mut self, statement: Fingerprint) {
        if self.now >= self.from {
            self.mix.add(statement);
        }
    }

    /// A short transaction has ended.
    pub(crate) fn ended(&mut self, work: Cost, held: f64) {
        if self.now < self.from {
            return;
        }
        self.done += 1;
        self.work += work;
        self.held += held;
        self.held_squares += held * held;
    }

    /// What was measured.
    pub(crate) fn window(&self, limit: u32, ceiling: u32, blocked: Option<f64>) -> Window {
        let length = self.now.since(self.from);
        let mean = |area: u64| Micros(area).as_secs_f64() / length.as_secs_f64().max(1e-6);
        Window {
            at: self.now,
            length,
            limit,
            done: self.done,
            work: self.work.base,
            quick: self.work.quick,
            mix: self.mix,
            executing: mean(self.executing),
            long: mean(self.long),
            idle: mean(self.idle),
            blocked,
            held: self.held,
            held_squares: self.held_squares,
            saturated: mean(self.saturated),
            ceiling,
        }
    }
}
