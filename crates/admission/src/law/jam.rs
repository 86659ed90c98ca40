//! When so much executes that it is in its own way.

use trace::LimitCause;

use super::probe::Sample;
use super::{COLD, Law};
use crate::Window;

/// Waits for locks say something where so many execute, and the pairs say nothing.
const LOCKED_LEAST: f64 = 8.0;
/// A new regime is congested if so many times more execute than there is work done at once, by what
/// statements cost at their best; it begins again with so many times that work, at least.
const CONGESTED: f64 = 16.0;
const CONGESTED_TO: f64 = 2.0;

impl Law {
    /// The part of backends that wait for locks, as far as it counts. What is sure of the
    /// elasticity knows more of locks than a glance at them each second; and of few all but one
    /// may wait in the best of cases.
    pub(super) fn locked(&self, window: &Window, sure: f64) -> f64 {
        let blocked = window.blocked.filter(|_| sure < 1.0 && window.executing >= LOCKED_LEAST);
        blocked.map_or(0.0, |blocked| blocked / window.executing)
    }

    /// In a regime that has just begun far more execute than the database works on: they wait for
    /// each other. From there pairs take long, since everything does, and each goes down a little;
    /// from below they are quick. So it begins again where a database begins that nothing is known
    /// of. If that was wrong, it costs the second that the way up takes.
    pub(super) fn leave_congestion(&mut self, window: &Window, sample: Sample) {
        let worked_on = sample.work.exp();
        let start = COLD.max(CONGESTED_TO * worked_on);
        if window.executing > CONGESTED * worked_on && self.centre > start {
            self.set(start, window.at, LimitCause::Congested);
        }
    }
}
