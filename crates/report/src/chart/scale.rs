//! From values to pixels, and the round numbers to write beside an axis.

/// How a value finds its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// In proportion.
    Linear {
        /// At the start of the axis.
        from: f64,
        /// At its end.
        to: f64,
    },
    /// By powers of ten; both ends above zero. What is smaller sits at the start.
    Log {
        /// At the start of the axis.
        from: f64,
        /// At its end.
        to: f64,
    },
}

impl Scale {
    /// From 0 to a round number at or above `most`, in about `steps` steps; to 1 if all is zero.
    pub(super) fn from_zero(most: f64, steps: f64) -> Self {
        if most <= 0.0 || !most.is_finite() {
            return Self::Linear { from: 0.0, to: 1.0 };
        }
        let step = round_step(most / steps);
        Self::Linear { from: 0.0, to: (most / step - 1e-9).ceil() * step }
    }

    /// Whole decades around the values from `least` to `most`.
    pub(super) fn decades(least: f64, most: f64) -> Self {
        let from = 10_f64.powf((least.max(1e-12).log10() + 1e-9).floor());
        let to = 10_f64.powf((most.max(1e-12).log10() - 1e-9).ceil());
        Self::Log { from, to: to.max(from * 10.0) }
    }

    /// The place of `value`: 0 at the start of the axis, 1 at its end, never beyond.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Log { from, to } => (value.max(from) / from).log10() / (to / from).log10(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round values to write, about `about` of them.
    pub(super) fn ticks(self, about: f64) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                let step = round_step((to - from) / about.max(1.0));
                let first = (from / step - 1e-9).ceil();
                (0..200_u32)
                    .map(|n| (first + f64::from(n)) * step)
                    .take_while(|value| *value <= to + step * 1e-6)
                    .collect()
            }
            Self::Log { from, to } => {
                let decades = (to / from).log10().round();
                let every = (decades / about.max(1.0)).ceil().max(1.0);
                (0..40_u32)
                    .map(|n| from * 10_f64.powf(f64::from(n) * every))
                    .take_while(|value| *value <= to * 1.000_001)
                    .collect()
            }
        }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    if rough <= 0.0 || !rough.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= rough * 0.999_999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::from_zero(37.0, 4.0);
        assert_eq!(scale, Scale::Linear { from: 0.0, to: 40.0 });
        assert_eq!(scale.ticks(4.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(Scale::from_zero(0.0, 4.0), Scale::Linear { from: 0.0, to: 1.0 });
        let scale = Scale::decades(0.4, 2_300.0);
        assert_eq!(scale.ticks(6.0).len(), 6);
        assert!((scale.place(0.1) - 0.0).abs() < 1e-9 && (scale.place(1e9) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_finite_escapes_the_axis() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -5.0, 1e300] {
            let place = Scale::from_zero(10.0, 5.0).place(value);
            assert!((0.0..=1.0).contains(&place), "{value} at {place}");
        }
    }
}
