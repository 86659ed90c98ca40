//! How long each act may take, as shares of what the user gives.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What the story takes if nobody says otherwise; with setting up it stays under four minutes.
pub(crate) const SECONDS_DEFAULT: u32 = 150;
/// From the shortest story that can still show each act to the longest that is of use.
pub(crate) const SECONDS_BOUNDS: RangeInclusive<i64> = 60..=3600;

/// Spans of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Act 1: the incident.
    pub(crate) incident: Duration,
    /// Act 3: low rate.
    pub(crate) low: Duration,
    /// Act 5: each point of the curve.
    pub(crate) point: Duration,
    /// Act 7: each arm.
    pub(crate) arm: Duration,
    /// Act 8: from one restart to the next.
    pub(crate) cycle: Duration,
    /// How long a restarted dyno is away until the platform has placed and started it again: some
    /// seconds on Heroku, where a slug is fetched first. Our own dynos would be back at once.
    pub(crate) away: Duration,
}

impl Timing {
    /// Divides `seconds` among the acts: 25 + 10 + 3 × 9 + 4 × 14 + 7 × 4.6 parts of 150.
    pub(crate) fn within(seconds: u32) -> Self {
        let part = |of_150: f64| Duration::from_secs_f64(f64::from(seconds) * of_150 / 150.0);
        Self {
            incident: part(25.0),
            low: part(10.0),
            point: part(9.0),
            arm: part(14.0),
            cycle: part(4.6),
            away: part(2.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_whole() {
        let timing = Timing::within(150);
        let whole =
            timing.incident + timing.low + 3 * timing.point + 4 * timing.arm + 7 * timing.cycle;
        assert!((145.0..=151.0).contains(&whole.as_secs_f64()), "{whole:?}");
    }
}
