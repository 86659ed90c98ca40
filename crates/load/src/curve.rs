//! Failures against load: where does it begin to fail? Pure arithmetic.

use trace::Micros;

use crate::RunResult;

/// What was measured at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Requests per second that were asked for.
    pub rate: f64,
    /// Requests offered.
    pub offered: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Median latency of the completed.
    pub p50: Micros,
    /// 99th percentile of the latency of the completed.
    pub p99: Micros,
    /// Whether the generator kept its schedule; if not, the point says little.
    pub kept_schedule: bool,
}

impl Point {
    /// The point of a run at `rate` requests per second.
    #[must_use]
    pub fn new(rate: f64, result: &RunResult) -> Self {
        Self {
            rate,
            offered: result.offered,
            failed: result.failed,
            p50: result.latency.p50(),
            p99: result.latency.p99(),
            kept_schedule: !result.lagging(),
        }
    }

    /// Share of the offered requests that failed.
    #[must_use]
    pub fn failed_share(&self) -> f64 {
        crate::result::share(self.failed, self.offered)
    }

    /// Whether the true share of failures exceeds `threshold`, at the given confidence: so many
    /// failures would come by chance with probability 1 − `confidence` at most, were the share
    /// `threshold`. Exact (one-sided binomial test; Clopper and Pearson 1934), for any count.
    #[must_use]
    pub fn exceeds(&self, threshold: f64, confidence: f64) -> bool {
        self.failed > 0 && at_least(self.failed, self.offered, threshold) <= 1.0 - confidence
    }
}

/// Points by rising rate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    points: Vec<Point>,
}

/// Where failures begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The first rate at which the share of failures exceeds the threshold.
    pub rate: f64,
    /// The highest lower rate, at which it does not: the knee lies between. `None` if the lowest
    /// rate fails already.
    pub above: Option<f64>,
    /// The share of failures at the knee.
    pub failed_share: f64,
}

impl Curve {
    /// A curve through these points, whatever their order.
    #[must_use]
    pub fn new(mut points: Vec<Point>) -> Self {
        points.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        Self { points }
    }

    /// Its points by rising rate.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The first rate at which the share of failures exceeds `threshold`, at the given confidence;
    /// `None` if there is none. A threshold of 0 asks for the first failure at all.
    #[must_use]
    pub fn knee(&self, threshold: f64, confidence: f64) -> Option<Knee> {
        let first = self.points.iter().position(|point| point.exceeds(threshold, confidence))?;
        let point = self.points[first];
        let above = first.checked_sub(1).map(|before| self.points[before].rate);
        Some(Knee { rate: point.rate, above, failed_share: point.failed_share() })
    }
}

/// P(X ≥ `failed`) for X binomial of `offered` trials with chance `p`.
///
/// Sums the terms below `failed` in logarithms, each from the one before: no gamma function, and
/// nothing underflows that matters.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn at_least(failed: u64, offered: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return if failed == 0 { 1.0 } else { 0.0 };
    }
    if p >= 1.0 {
        return 1.0;
    }
    let (n, odds) = (offered as f64, (p / (1.0 - p)).ln());
    let mut term = n * (1.0 - p).ln();
    let mut below = 0.0;
    for k in 0..failed {
        below += term.exp();
        let k = k as f64;
        term += odds + ((n - k) / (k + 1.0)).ln();
    }
    (1.0 - below).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(rate: f64, offered: u64, failed: u64) -> Point {
        let (p50, p99) = (Micros::ZERO, Micros::ZERO);
        Point { rate, offered, failed, p50, p99, kept_schedule: true }
    }

    #[test]
    fn the_binomial_tail_is_exact() {
        // 1 − 0.99^100 − 100·0.01·0.99^99, and P(X ≥ 8 | 10, ½) = 56/1024.
        assert!((at_least(2, 100, 0.01) - 0.264_238_02).abs() < 1e-8);
        assert!((at_least(8, 10, 0.5) - 56.0 / 1024.0).abs() < 1e-12);
        assert_eq!(at_least(0, 10, 0.5), 1.0);
        // 2 000 of 100 000 at 1 %: thirty standard deviations, without underflow to nonsense.
        assert!(at_least(2_000, 100_000, 0.01) < 1e-9);
        assert!(at_least(900, 100_000, 0.01) > 0.999);
    }

    #[test]
    fn the_knee_is_the_first_rate_that_surely_fails() {
        let knee = |points: &[(f64, u64, u64)], threshold| {
            let points = points.iter().map(|&(rate, n, k)| point(rate, n, k)).collect();
            Curve::new(points).knee(threshold, 0.99).map(|knee| (knee.rate, knee.above))
        };
        let cases = [
            ("no points", vec![], 0.01, None),
            ("nothing fails", vec![(10.0, 100, 0), (20.0, 200, 0)], 0.01, None),
            ("plain", vec![(10.0, 100, 0), (20.0, 200, 20)], 0.01, Some((20.0, Some(10.0)))),
            ("unordered", vec![(20.0, 200, 20), (10.0, 100, 0)], 0.01, Some((20.0, Some(10.0)))),
            ("fails from the start", vec![(10.0, 100, 50)], 0.01, Some((10.0, None))),
            // Two failures in a hundred can be chance at 1 %; at 0 % no failure can.
            ("chance", vec![(10.0, 100, 2), (20.0, 200, 20)], 0.01, Some((20.0, Some(10.0)))),
            ("any failure", vec![(10.0, 100, 1), (20.0, 200, 20)], 0.0, Some((10.0, None))),
            ("nothing offered", vec![(0.0, 0, 0), (20.0, 200, 20)], 0.01, Some((20.0, Some(0.0)))),
        ];
        for (name, points, threshold, expected) in cases {
            assert_eq!(knee(&points, threshold), expected, "{name}");
        }
    }
}
