//! How long a slot is.
//!
//! Long enough that what runs was admitted under its limit, and that there is something to count.
//! A slot shorter than a few times the time a connection is held shows the quick classes gain and
//! the slow ones not yet pay. As long as nothing is decided slots grow; when something is, they
//! shrink.

use trace::Micros;

use crate::Window;

/// A slot is at least so long, in seconds.
const LEAST: f64 = 0.04;
/// And so many times the time for which a connection is held.
const HELD_TIMES: f64 = 3.0;
/// And long enough for so many transactions.
const TRANSACTIONS: f64 = 60.0;
/// Beyond what those ask for, patience makes it at most so many times longer, and so long.
const PATIENCE_MOST: f64 = 8.0;
const PATIENT_MOST: f64 = 2.0;
/// Less of it where something looks odd: enough to count what is below the regime test's bounds.
const HURRIED: f64 = 3.0;
/// Whatever is held for however long: a law that hears less often does not follow anything.
const MOST: f64 = 10.0;
const SETTLE_MOST: f64 = 3.0;
/// Weight of a new slot in what is believed of the load.
const NEW: f64 = 0.3;

/// The length of slots.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Transactions a second.
    rate: f64,
    /// Means of the time held, and of its square: seconds, seconds².
    held: f64,
    held_squares: f64,
    patience: f64,
    /// Until a first slot was seen: how long those who were let in before hold their connections,
    /// in seconds.
    drain: f64,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { rate: 0.0, held: 0.0, held_squares: 0.0, patience: 1.0, drain: 0.0 }
    }

    /// Of a load of which nothing is known, after a crowd that has to leave first: by Little's law
    /// it takes as long as the crowd is large by the number that leave in a second, if nobody
    /// enters.
    pub(super) fn after_crowd(crowd: &Window) -> Self {
        let rate = f64::from(crowd.done) / crowd.length.as_secs_f64();
        Self { drain: crowd.executing / rate, ..Self::new() }
    }

    /// A slot in which transactions ended.
    pub(super) fn observe(&mut self, window: &Window, seconds: f64) {
        let done = f64::from(window.done);
        let (held, squares) = (window.held / done, window.held_squares / done);
        self.drain = 0.0;
        if self.rate > 0.0 {
            self.rate += NEW * (done / seconds - self.rate);
            self.held += NEW * (held - self.held);
            self.held_squares += NEW * (squares - self.held_squares);
        } else {
            (self.rate, self.held, self.held_squares) = (done / seconds, held, squares);
        }
    }

    /// The pool's relaxation time, in seconds: the mean time held, as seen by who looks at a moment
    /// (long ones are met more often).
    fn relaxation(&self) -> f64 {
        if self.held > 0.0 { self.held_squares / self.held } else { 0.0 }
    }

    fn base(&self) -> f64 {
        let count = if self.rate > 0.0 { TRANSACTIONS / self.rate } else { 0.0 };
        LEAST.max(HELD_TIMES * self.relaxation()).max(count.min(PATIENT_MOST))
    }

    /// What is measured of a slot, and what passes before.
    pub(super) fn slot(&self) -> (Micros, Micros) {
        let base = self.base();
        let measured = (base * self.patience).min(PATIENT_MOST.max(base)).min(MOST);
        let settle = self.relaxation().max(self.drain).min(SETTLE_MOST);
        (micros(measured), micros(settle))
    }

    /// Nothing was decided.
    pub(super) fn lengthen(&mut self, by: f64) {
        self.patience = (self.patience * by).min(PATIENCE_MOST);
    }

    /// Something was.
    pub(super) fn shorten(&mut self) {
        self.patience = (self.patience * 0.7).max(1.0);
    }

    /// Something looks odd: the next slot is to tell soon.
    pub(super) fn hurry(&mut self) {
        self.patience = self.patience.min(HURRIED);
    }

    /// The load is another; this is the first slot of it.
    pub(super) fn restart(&mut self, window: &Window, seconds: f64) {
        *self = Self::new();
        self.observe(window, seconds);
    }
}

fn micros(seconds: f64) -> Micros {
    Micros::from_duration(std::time::Duration::from_secs_f64(seconds))
}
