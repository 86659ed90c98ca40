//! Comparison of arms under the same arrivals, and the uptime proof.

use trace::Micros;

use crate::stats::Hypergeometric;

/// What one arm of an experiment measured, from the load generator's own results.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// `baseline`, `index`, `pool`, `index+pool`.
    pub name: String,
    /// Requests offered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Latency from the intended start, median.
    pub p50: Micros,
    /// Latency from the intended start, 99th percentile.
    pub p99: Micros,
    /// Restarts of a dyno under load, each a trial that could have failed.
    pub trials: Trials,
}

/// Restarts under load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trials {
    /// How many.
    pub total: u32,
    /// In how many of them requests failed.
    pub failed: u32,
}

/// The uptime proof.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proof {
    /// Restarts before the fix.
    pub before: Trials,
    /// Restarts after it.
    pub after: Trials,
    /// Chance that so few failures fell after the fix if it had changed nothing.
    pub p_value: f64,
    /// 1 − p.
    pub confidence: f64,
    /// Failure-free trials needed for the asked confidence, given the trials before the fix.
    pub needed: Option<u32>,
}

/// Judges whether the fix, and not chance, ended the failures.
///
/// An exact permutation test: had the fix changed nothing, every order of the same trials would be
/// equally likely, so the number of failing ones that fall after the fix is hypergeometric. With no
/// failure after it, p = C(n_before, m) / C(n_before + n_after, m) for m failures; else the lower
/// tail, which is Fisher's one-sided test.
///
/// `needed` is the smallest number of failure-free trials after the fix with 1 − p ≥ `confidence`:
/// `None` if nothing failed before (then no silence can prove anything), or if `confidence` is not
/// below 1. A `failed` above `total` counts as `total`.
#[must_use]
pub fn prove(before: Trials, after: Trials, confidence: f64) -> Proof {
    let p_value = chance(before, after);
    let needed = needed(before, confidence);
    Proof { before, after, p_value, confidence: 1.0 - p_value, needed }
}

/// P(at most `after.failed` of all failures fall after the fix | it changed nothing).
fn chance(before: Trials, after: Trials) -> f64 {
    let failed = |trials: Trials| u64::from(trials.failed.min(trials.total));
    let orders = Hypergeometric {
        population: u64::from(before.total) + u64::from(after.total),
        marked: failed(before) + failed(after),
        draws: u64::from(after.total),
    };
    orders.at_most(failed(after))
}

/// The chance falls with every further silent trial, so the smallest number is found by bisection.
fn needed(before: Trials, confidence: f64) -> Option<u32> {
    let enough = |total: u32| {
        // The tolerance keeps a p of exactly 1 − confidence on the good side of rounding.
        chance(before, Trials { total, failed: 0 }) <= (1.0 - confidence) * (1.0 + 1e-9)
    };
    if before.failed == 0 || confidence.is_nan() || confidence >= 1.0 || !enough(u32::MAX) {
        return None;
    }
    let (mut low, mut high) = (0, u32::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(total: u32, failed: u32) -> Trials {
        Trials { total, failed }
    }

    #[track_caller]
    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
    }

    #[test]
    fn silence_after_the_fix_is_the_ratio_of_binomials() {
        // C(4,4)/C(8,4) = 1/70; C(5,3)/C(15,3) = 10/455.
        close(prove(trials(4, 4), trials(4, 0), 0.99).p_value, 1.0 / 70.0);
        close(prove(trials(5, 3), trials(10, 0), 0.99).p_value, 10.0 / 455.0);
    }

    #[test]
    fn failures_after_the_fix_count_against_it() {
        // P(X ≤ 1), X ~ hypergeometric(10, 4, 5): (C(6,5) + 4·C(6,4)) / C(10,5) = 66/252.
        close(prove(trials(5, 3), trials(5, 1), 0.99).p_value, 66.0 / 252.0);
        close(prove(trials(5, 0), trials(5, 5), 0.99).p_value, 1.0);
    }

    #[test]
    fn the_needed_number_is_the_smallest_that_suffices() {
        for (total, failed) in [(3, 3), (4, 3), (6, 2), (5, 1), (8, 8)] {
            let before = trials(total, failed);
            let needed = prove(before, trials(0, 0), 0.99).needed.unwrap();
            assert!(prove(before, trials(needed, 0), 0.99).confidence >= 0.99 - 1e-9);
            assert!(prove(before, trials(needed - 1, 0), 0.99).confidence < 0.99);
        }
        // One failure in one trial: 1/(1 + n) ≤ 0.01.
        assert_eq!(prove(trials(1, 1), trials(0, 0), 0.99).needed, Some(99));
    }

    #[test]
    fn nothing_is_proven_without_a_failure_before() {
        let proof = prove(trials(10, 0), trials(1000, 0), 0.99);
        close(proof.confidence, 0.0);
        assert_eq!(proof.needed, None);
        assert_eq!(prove(trials(3, 3), trials(3, 0), 1.0).needed, None);
    }
}
