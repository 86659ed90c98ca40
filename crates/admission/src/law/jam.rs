//! When so much executes that it is in its own way.

use trace::LimitCause;

use super::pace::Pace;
use super::probe::Probe;
use super::{COLD, Law, TARGET, UNBOUND};
use crate::Window;

/// Waits for locks say something where so many execute, and the pairs say nothing.
const LOCKED_LEAST: f64 = 8.0;
/// A new regime is congested if so many times more execute than there is work done at once, by what
/// statements cost at their quickest, and so many at least: from fewer pairs lead down as quickly.
/// It begins again with so many times that work, at least.
const CONGESTED: f64 = 24.0;
const CONGESTED_LEAST: f64 = 16.0;
const CONGESTED_TO: f64 = 2.0;
/// So many times more is a crowd: fewer may do as much.
const CROWD: f64 = 4.0;
/// Unless more do more, by so many standard errors.
const SURE: f64 = 2.0;

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
    pub(super) fn leave_congestion(&mut self, window: &Window) {
        let worked_on = worked_on(window);
        let start = COLD.max(CONGESTED_TO * worked_on);
        let most = CONGESTED_LEAST.max(CONGESTED * worked_on);
        if window.executing > most && self.centre > start {
            self.set(start, window.at, LimitCause::Congested);
            // The limit does not return to what was found for another load when statements that
            // the crowd made long have ended.
            self.clean = None;
            // How long things took in the crowd, and how many were done, says nothing of now.
            self.know_nothing();
            self.pace = Pace::after_crowd(window);
        }
    }

    /// What to do after a slot in which all that was asked for was let in.
    ///
    /// To go on with pairs would be to take away half of the time what is asked for: where the
    /// larger limit binds nothing, the smaller one does. So the law rests. But demand that is all
    /// let in may be a crowd by itself, and nobody would ever know that fewer do more; so if it
    /// looks like one, and it is not known that more is better, a pair goes below it.
    pub(super) fn watch_demand(&mut self, window: &Window) -> Probe {
        let executing = window.executing.min(self.centre);
        let is_crowd = executing >= COLD && executing > CROWD * worked_on(window);
        let is_more_better = self.elasticity() - SURE * self.error() > TARGET;
        if is_crowd && !is_more_better {
            return Probe::below(executing, self.centre, self.error(), self.random.coin());
        }
        Probe::rest(UNBOUND)
    }
}

/// How many statements the database works on at a time: as many as would execute if none was in
/// another's way.
fn worked_on(window: &Window) -> f64 {
    window.quick / window.length.as_secs_f64()
}
