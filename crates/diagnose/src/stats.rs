//! The few statistics that a diagnosis stands on: exact where the counts are small, by ranks where
//! the numbers have long tails, and by circular shifts where neighbours in time resemble each
//! other.
//!
//! No random numbers anywhere: a permutation test takes *all* shifts, so the same recording always
//! gives the same p-value.

use std::cmp::Ordering;

/// Two-sided 95 % quantile of the normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Two probabilities closer than this (relatively) count as equal: the sums of logarithms behind
/// them carry rounding errors.
const EQUAL: f64 = 1e-7;

/// ln n!, exact to the last digits: by the product for small n, by Stirling's series above.
pub(crate) fn ln_factorial(n: u64) -> f64 {
    if n < 20 {
        return (2..=n).map(|factor| factor as f64).product::<f64>().ln();
    }
    let x = n as f64 + 1.0;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

/// ln of n over k.
fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// The hypergeometric distribution: `draws` taken without replacement from `population`, of which
/// `marked` are marked; how many marked ones are among them?
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hypergeometric {
    pub(crate) population: u64,
    pub(crate) marked: u64,
    pub(crate) draws: u64,
}

impl Hypergeometric {
    fn support(self) -> std::ops::RangeInclusive<u64> {
        let low = (self.marked + self.draws).saturating_sub(self.population);
        low..=self.marked.min(self.draws)
    }

    fn ln_probability(self, k: u64) -> f64 {
        ln_choose(self.marked, k) + ln_choose(self.population - self.marked, self.draws - k)
            - ln_choose(self.population, self.draws)
    }

    /// P(X ≤ k).
    pub(crate) fn at_most(self, k: u64) -> f64 {
        let sum: f64 =
            self.support().filter(|x| *x <= k).map(|x| self.ln_probability(x).exp()).sum();
        sum.min(1.0)
    }

    /// P of everything at most as likely as k: Fisher's two-sided p-value.
    pub(crate) fn as_unlikely_as(self, k: u64) -> f64 {
        let limit = self.ln_probability(k) + EQUAL;
        let likely = self.support().map(|x| self.ln_probability(x)).filter(|p| *p <= limit);
        likely.map(f64::exp).sum::<f64>().min(1.0)
    }
}

/// Fisher's exact test, two-sided: are failures as frequent among ours as among theirs?
/// Each side is (failed, total).
pub(crate) fn fisher(ours: (u64, u64), theirs: (u64, u64)) -> f64 {
    let table =
        Hypergeometric { population: ours.1 + theirs.1, marked: ours.0 + theirs.0, draws: ours.1 };
    table.as_unlikely_as(ours.0)
}

/// Wilson's 95 % interval of a proportion: low, estimate, high. Without trials nothing is known: 0
/// to 1.
pub(crate) fn wilson(successes: f64, trials: f64) -> [f64; 3] {
    if trials <= 0.0 {
        return [0.0, 0.0, 1.0];
    }
    let rate = (successes / trials).clamp(0.0, 1.0);
    let z2 = Z_95 * Z_95;
    let middle = rate + z2 / (2.0 * trials);
    let spread = Z_95 * (rate * (1.0 - rate) / trials + z2 / (4.0 * trials * trials)).sqrt();
    let scale = 1.0 + z2 / trials;
    [((middle - spread) / scale).max(0.0), rate, ((middle + spread) / scale).min(1.0)]
}

/// One-sided sign test: chance of at least `up` rises among `up + down` changes if rise and fall
/// were equally likely.
pub(crate) fn sign_test(up: u64, down: u64) -> f64 {
    let n = up + down;
    let half = n as f64 * 0.5_f64.ln();
    (up..=n).map(|k| (ln_choose(n, k) + half).exp()).sum::<f64>().min(1.0)
}

/// An AUC with its p-value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Separation {
    /// Probability that a labelled bin has the higher value.
    pub(crate) auc: f64,
    /// Share of all circular shifts (the true position included) whose AUC is as far from 0.5.
    pub(crate) p_value: f64,
}

/// Do the labelled bins have higher values? Mann-Whitney's AUC; its p-value from shifting the
/// labels circularly by every possible distance, which keeps what each series owes to its own past.
///
/// Bins without a value take part in neither group. `None` where one of the groups is empty.
pub(crate) fn separation(labels: &[bool], values: &[Option<f64>]) -> Option<Separation> {
    let ranks = ranks(values);
    let auc = auc_at(labels, &ranks, 0)?;
    let distance = (auc - 0.5).abs() - EQUAL;
    let shifted = (0..labels.len()).filter_map(|shift| auc_at(labels, &ranks, shift));
    let (mut all, mut as_far) = (0_u32, 0_u32);
    for other in shifted {
        all += 1;
        as_far += u32::from((other - 0.5).abs() >= distance);
    }
    Some(Separation { auc, p_value: f64::from(as_far) / f64::from(all) })
}

/// Mann-Whitney's AUC with the labels moved `shift` bins to the right.
fn auc_at(labels: &[bool], ranks: &[Option<f64>], shift: usize) -> Option<f64> {
    let n = labels.len();
    let (mut labelled, mut others, mut rank_sum) = (0.0, 0.0, 0.0);
    for (i, rank) in ranks.iter().enumerate() {
        let Some(rank) = rank else { continue };
        if labels[(i + n - shift) % n] {
            labelled += 1.0;
            rank_sum += rank;
        } else {
            others += 1.0;
        }
    }
    let pairs = labelled * others;
    (pairs > 0.0).then(|| (rank_sum - labelled * (labelled + 1.0) / 2.0) / pairs)
}

/// Ranks from 1, ties share their mean rank.
fn ranks(values: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(f64, usize)> =
        values.iter().enumerate().filter_map(|(i, value)| value.map(|v| (v, i))).collect();
    order.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    let mut ranks = vec![None; values.len()];
    let mut start = 0;
    while start < order.len() {
        let ties = order[start..].iter().take_while(|(value, _)| *value == order[start].0).count();
        let mean = start as f64 + (ties as f64 + 1.0) / 2.0;
        for (_, i) in &order[start..start + ties] {
            ranks[*i] = Some(mean);
        }
        start += ties;
    }
    ranks
}

/// The value below which `percent` of the values lie (nearest rank); `None` of nothing.
/// Reorders the values.
pub(crate) fn percentile<T: Ord + Copy>(values: &mut [T], percent: usize) -> Option<T> {
    if values.is_empty() {
        return None;
    }
    let rank = (values.len() * percent).div_ceil(100).clamp(1, values.len());
    Some(*values.select_nth_unstable(rank - 1).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "got {got}, want {want}");
    }

    #[test]
    fn factorials_agree_with_the_product() {
        for n in [0_u64, 1, 5, 19, 20, 25, 170] {
            let product: f64 = (1..=n).map(|i| (i as f64).ln()).sum();
            close(ln_factorial(n), product, 1e-9);
        }
    }

    /// Fisher's own example (the lady tasting tea: 3 of 4 against 1 of 4) and R's `fisher.test` for
    /// its manual's table of convicts (2/15 against 10/3).
    #[test]
    fn fisher_agrees_with_known_values() {
        close(fisher((3, 4), (1, 4)), 0.485_714, 1e-6);
        close(fisher((2, 17), (10, 13)), 0.000_536_7, 1e-6);
        close(fisher((0, 10), (0, 10)), 1.0, 1e-12);
        assert!(fisher((400, 10_000), (0, 10_000)) < 1e-100);
    }

    /// Newcombe (1998): 81 of 263 has the Wilson interval 0.2553 to 0.3662; 0 of 20 ends at 0.1611.
    #[test]
    fn wilson_agrees_with_known_values() {
        let [low, rate, high] = wilson(81.0, 263.0);
        close(low, 0.2553, 5e-5);
        close(rate, 0.307_98, 1e-5);
        close(high, 0.3662, 5e-5);
        let [low, _, high] = wilson(0.0, 20.0);
        close(low, 0.0, 1e-12);
        close(high, 0.1611, 5e-5);
        assert_eq!(wilson(0.0, 0.0), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn the_sign_test_is_the_binomial_tail() {
        close(sign_test(5, 0), 1.0 / 32.0, 1e-12);
        close(sign_test(8, 2), 56.0 / 1024.0, 1e-12);
        close(sign_test(0, 0), 1.0, 1e-12);
    }

    #[test]
    fn auc_counts_the_pairs_with_ties_as_half() {
        let values = [1.0, 2.0, 3.0, 3.0].map(Some);
        // Labelled {3, 3} against {1, 2}: all four pairs won.
        close(separation(&[false, false, true, true], &values).unwrap().auc, 1.0, 1e-12);
        // Labelled {2, 3} against {1, 3}: 2>1, 2<3, 3>1, 3=3: 2.5 of 4.
        close(separation(&[false, true, true, false], &values).unwrap().auc, 0.625, 1e-12);
        assert_eq!(separation(&[false; 4], &values), None);
        assert_eq!(separation(&[true, false], &[Some(1.0), None]), None);
    }

    #[test]
    fn shifts_find_a_coincidence_and_no_false_one() {
        let labels: Vec<bool> = (0..100).map(|i| (40..50).contains(&i)).collect();
        let spike: Vec<Option<f64>> =
            (0..100).map(|i| Some(if (40..50).contains(&i) { 50.0 } else { 1.0 })).collect();
        let found = separation(&labels, &spike).unwrap();
        close(found.auc, 1.0, 1e-12);
        close(found.p_value, 0.01, 1e-12);
        let elsewhere: Vec<Option<f64>> =
            (0..100).map(|i| Some(if (45..55).contains(&i) { 50.0 } else { 1.0 })).collect();
        assert!(separation(&labels, &elsewhere).unwrap().p_value > 0.05);
        let flat = vec![Some(1.0); 100];
        close(separation(&labels, &flat).unwrap().p_value, 1.0, 1e-12);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(percentile(&mut [5, 1, 3], 50), Some(3));
        assert_eq!(percentile(&mut (1..=100).collect::<Vec<_>>(), 95), Some(95));
        assert_eq!(percentile(&mut [7], 95), Some(7));
        assert_eq!(percentile::<u8>(&mut [], 95), None);
    }
}
