//! Whether the load is still the one of which something is known.

use super::probe::{Probe, Sample};
use super::regime::{Levels, Look, Regime};
use super::{Law, MOST};
use crate::Window;

impl Law {
    /// A slot that was not saturated shows what was asked for, and nothing of the limit. But if
    /// transactions take far longer for it, or less, what is known is of another load.
    pub(super) fn watch(&mut self, window: &Window, sample: Option<Sample>) {
        self.evidence.fade(0.97);
        // What is no number is less than one, too.
        let asked = if window.executing >= 1.0 { window.executing.min(MOST) } else { 1.0 };
        if let Some(sample) = sample.map(|sample| Sample { limit: asked, ..sample }) {
            let look = self.look(sample, Regime::look_at_time);
            if !self.is_as_before(look, window, sample) {
                return;
            }
        }
        self.probe = self.watch_demand(window);
    }

    /// A slot beside the regime that holds.
    pub(super) fn look(
        &mut self,
        sample: Sample,
        look: fn(&mut Regime, Levels, f64, f64) -> Look,
    ) -> Look {
        let e = self.evidence.elasticity();
        let shift = self.centre.ln() - sample.limit.ln();
        let levels = Levels { rate: sample.rate, held: sample.held, work: sample.work };
        let (noise, doubt) = ((1.0 / sample.done).sqrt(), Levels::doubt(e, shift));
        look(&mut self.regime, levels.shifted(e, shift), noise, doubt)
    }

    /// Whether the regime still holds; if not, begins anew.
    pub(super) fn is_as_before(&mut self, look: Look, window: &Window, sample: Sample) -> bool {
        match look {
            Look::Same => {}
            Look::Odd => {
                // Half of a pair in one regime and half in another would show anything at all. And
                // whether it is one is seen in a slot as short as those before: if it is a jam,
                // one at its pace would take seconds.
                self.pace.hurry();
                self.probe = Probe::rest(1);
            }
            Look::Another => {
                self.evidence.fade(0.05);
                self.pace.restart(window, sample.seconds);
                self.steady = 0;
                self.leave_congestion(window);
                self.probe_anew();
            }
        }
        look == Look::Same
    }
}
