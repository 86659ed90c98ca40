//! Long statements: the limit beside them.

use trace::LimitCause;

use super::{Law, MOST};
use crate::Window;

/// Long statements run, if there are so many as a mean.
const LONG: f64 = 0.25;
/// While they run, the limit is at most so many times what was found without them: a quarter more
/// for each of them, up to three times.
const LONG_EACH: f64 = 0.25;
const LONG_TIMES: f64 = 3.0;
/// A pair that is sure that the limit is too low there raises that bound a little: if reports run
/// all day, the load beside them may still change.
pub(super) const LONG_RISE: f64 = 1.01;
/// Once it was raised so far, what was found without them is no longer believed.
const LONG_OTHER: f64 = 2.0;

impl Law {
    /// While long statements run the limit is theirs too, and what the pairs show is about both:
    /// it stays near what was found without them, and returns to it after.
    pub(super) fn note_long(&mut self, window: &Window) {
        let before = std::mem::replace(
            &mut self.long,
            if window.long > 0.0 { window.long.min(MOST) } else { 0.0 },
        );
        if self.is_long() {
            self.set(self.centre, window.at, LimitCause::Long);
        } else if before >= LONG
            && let Some(clean) = self.clean
        {
            if self.raised < LONG_OTHER {
                self.set(clean, window.at, LimitCause::Long);
            }
            self.raised = 1.0;
            self.evidence.fade(0.05);
            self.regime.forget();
            self.probe_anew();
        }
    }

    pub(super) fn is_long(&self) -> bool {
        self.long >= LONG
    }

    /// The most the limit may be because of long statements.
    pub(super) fn long_bound(&self) -> Option<f64> {
        let times = (1.0 + LONG_EACH * self.long).min(LONG_TIMES) * self.raised;
        self.clean.filter(|_| self.is_long()).map(|clean| clean * times)
    }

    /// A pair was sure that the limit is too low; it is raised where it lies at the bound.
    pub(super) fn raise_long(&mut self) {
        if self.long_bound() <= Some(self.centre) {
            self.raised *= LONG_RISE;
        }
    }
}
