//! Integrals over a slot, from which its window is made.

use admission::{Cost, Mix, Window};
use trace::Micros;

use crate::gate::Count;

/// Everything the law is told, as it adds up.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    began: f64,
    at: f64,
    executing: f64,
    long: f64,
    idle: f64,
    blocked: f64,
    saturated: f64,
    done: u32,
    work: Cost,
    held: f64,
    held_squares: f64,
}

impl Meter {
    pub(crate) fn begin(now: f64) -> Self {
        Self { began: now, at: now, ..Self::default() }
    }

    /// This was so since the last call.
    pub(crate) fn advance(&mut self, now: f64, count: Count, blocked: u32, saturated: bool) {
        let span = now - self.at;
        self.at = now;
        self.executing += span * f64::from(count.executing);
        self.long += span * f64::from(count.long);
        self.idle += span * f64::from(count.idle);
        self.blocked += span * f64::from(blocked);
        self.saturated += if saturated { span } else { 0.0 };
    }

    pub(crate) fn done(&mut self, work: Cost, held: f64) {
        self.done += 1;
        self.work += work;
        self.held += held;
        self.held_squares += held * held;
    }

    pub(crate) fn window(&self, limit: u32, ceiling: u32) -> Window {
        let length = self.at - self.began;
        let mean = |integral: f64| if length > 0.0 { integral / length } else { 0.0 };
        Window {
            at: micros(self.at),
            length: micros(length),
            limit,
            done: self.done,
            work: self.work.base,
            quick: self.work.quick,
            // Other laws do not look at it.
            mix: Mix::default(),
            executing: mean(self.executing),
            long: mean(self.long),
            idle: mean(self.idle),
            blocked: Some(mean(self.blocked)),
            held: self.held,
            held_squares: self.held_squares,
            saturated: mean(self.saturated),
            ceiling,
        }
    }
}

pub(crate) fn micros(seconds: f64) -> Micros {
    Micros::from_duration(std::time::Duration::from_secs_f64(seconds.max(0.0)))
}
