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
        if let Some(sample) = sample.map(|sample| Sample { limit: asked, ..sample })
            && !self.is_as_before(window, sample, Regime::look_at_time)
        {
            return;
        }
        self.probe = self.watch_demand(window);
    }

    /// Whether a slot belongs to the regime that holds, by this look at it; if not, begins anew.
    pub(super) fn is_as_before(
        &mut self,
        window: &Window,
        sample: Sample,
        look: fn(&mut Regime, Levels, f64, f64) -> Look,
    ) -> bool {
        let e = self.evidence.elasticity();
        let shift = self.centre.ln() - sample.limit.ln();
        let Sample { rate, held, work, .. } = sample;
        let levels = Levels { rate, held, work, mix: window.mix.spot() };
        let (noise, doubt) = ((1.0 / sample.done).sqrt(), Levels::doubt(e, shift));
        let look = look(&mut self.regime, levels.shifted(e, shift), noise, doubt);
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
