//! What the slot in force is for: one half of a pair, or rest.

use super::evidence::Pair;
use super::round;
use crate::Window;

/// How far above and below the centre a pair probes, as ln,
const DITHER: f64 = 0.15;
/// and how far as long as hardly anything is known: while the error is above this.
const COARSE: f64 = 1.6 * DITHER;
const UNSURE: f64 = 0.12;
/// Below this error something is known.
const VAGUE: f64 = 0.3;

/// The halves of a pair differ by more than this, or chance is all that it shows.
const APART: f64 = 1.08;

/// Means beyond these are no measurements: of nothing is there so little or so much.
const LEAST: f64 = 1e-12;
const MOST: f64 = 1e12;

/// What a slot showed, as the law calculates with it: all but `seconds`, `done` and `limit` as ln.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    pub(super) limit: f64,
    pub(super) done: f64,
    /// The variance that ln of a count like `done` has by chance.
    pub(super) noise: f64,
    /// Transactions a second.
    pub(super) rate: f64,
    /// Seconds that each held its connection.
    pub(super) held: f64,
    /// Work a second.
    pub(super) work: f64,
}

impl Sample {
    /// None if nothing was done, or the numbers are none.
    pub(super) fn of(window: &Window) -> Option<Self> {
        let (seconds, done) = (window.length.as_secs_f64(), f64::from(window.done));
        let means = [done / seconds, window.held / done, window.work / seconds];
        let squares = window.held_squares / window.held;
        // A comparison with what is not a number is false.
        let sound = means.iter().chain([&squares]).all(|mean| *mean > LEAST && *mean < MOST);
        let [rate, held, work] = means.map(f64::ln);
        let limit = f64::from(window.limit);
        // The more unlike the transactions, the more their number wanders.
        let unlike = squares * window.held.recip() * done - 1.0;
        let noise = 0.5 * unlike.clamp(0.5, 10.0) / done;
        let sample = Self { seconds, limit, done, noise, rate, held, work };
        (sound && window.limit > 0).then_some(sample)
    }
}

/// The plan for the slot in force and the next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Probe {
    /// At the centre: watch, do not disturb.
    Rest {
        /// Slots that are left.
        left: u32,
    },
    /// A pair of limits, of which the first may be done.
    Pair { first: u32, second: u32, seen: Option<Sample> },
}

/// What the end of a slot means for the plan.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It is not complete.
    Open,
    /// The rest is over.
    Rested,
    /// Here is a pair.
    Pair(Pair),
}

impl Probe {
    pub(super) const fn rest(slots: u32) -> Self {
        Self::Rest { left: slots }
    }

    /// A pair around the centre, at least one up and, if there is room, one down.
    ///
    /// Where one statement more or less is a larger step than a pair needs, the pair are the two
    /// numbers next to the centre, as soon as a little is known: around 4.4 are 4 and 5. To try 3
    /// and 5 would cost more than it shows.
    pub(super) fn pair(centre: f64, error: f64, ceiling: f64, up_first: bool) -> Self {
        let (middle, most) = (round(centre), round(ceiling));
        let (up, down) = if centre * DITHER < 1.0 && error <= VAGUE {
            let down = round(centre.floor());
            (down.saturating_add(1), down)
        } else {
            let reach = reach(error);
            let up = round(centre * reach.exp()).max(middle.saturating_add(1));
            (up, round(centre * (-reach).exp()).min(middle.saturating_sub(1)).max(1))
        };
        Self::of(up.min(most), down, up_first)
    }

    /// A pair of the centre, of which only so many are asked for, and a little less than those.
    pub(super) fn below(executing: f64, centre: f64, error: f64, up_first: bool) -> Self {
        let reach = reach(error);
        let asked = round(executing);
        let down = round(executing * (-reach).exp()).min(asked.saturating_sub(1)).max(1);
        Self::of(round(centre).max(asked), down, up_first)
    }

    fn of(up: u32, down: u32, up_first: bool) -> Self {
        let (first, second) = if up_first { (up, down) } else { (down, up) };
        Self::Pair { first, second, seen: None }
    }

    /// The limit of the slot in force.
    pub(super) fn limit(&self, centre: f64) -> u32 {
        match *self {
            Self::Rest { .. } => round(centre),
            Self::Pair { first, seen: None, .. } => first,
            Self::Pair { second, seen: Some(_), .. } => second,
        }
    }

    /// Whether a slot in which not all that was let in was asked for is the larger half of the
    /// pair all the same: as many executed as the pair needs to be one, which are more than the
    /// smaller half lets in, and, if that is around the centre, than the centre does.
    pub(super) fn is_shown_by(&self, executing: f64, centre: f64) -> bool {
        let Self::Pair { first, second, .. } = *self else { return false };
        let (up, down) = (first.max(second), first.min(second));
        let is_upper = self.limit(centre) == up;
        let least = if up > round(centre) { centre } else { f64::from(down) * APART };
        is_upper && executing > least
    }

    /// A slot has ended with this.
    pub(super) fn ended(&mut self, sample: Sample) -> Outcome {
        match self {
            // Rest => Rest | over
            Self::Rest { left } => {
                *left = left.saturating_sub(1);
                if *left == 0 { Outcome::Rested } else { Outcome::Open }
            }
            // first half => second half
            Self::Pair { seen: seen @ None, .. } => {
                *seen = Some(sample);
                Outcome::Open
            }
            // second half => a measurement, unless both were the same limit
            Self::Pair { seen: Some(first), .. } => {
                let limits = (sample.limit / first.limit).ln();
                if limits.abs() < 1e-6 {
                    return Outcome::Rested;
                }
                Outcome::Pair(Pair {
                    limits,
                    upper: first.limit.max(sample.limit),
                    throughputs: sample.work - first.work,
                    noise: first.noise + sample.noise,
                })
            }
        }
    }
}

/// How far above and below a pair is.
fn reach(error: f64) -> f64 {
    if error > UNSURE { COARSE } else { DITHER }
}
