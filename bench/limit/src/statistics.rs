//! Medians and means, and how sure they are.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Times that a sample is drawn anew.
const DRAWS: usize = 2_000;

/// A number with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// The same in another unit.
    pub(crate) fn times(self, factor: f64) -> Self {
        let Self { value, low, high } = self;
        Self { value: value * factor, low: low * factor, high: high * factor }
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} [{:.3} … {:.3}]", self.value, self.low, self.high)
    }
}

/// The sum by the number; 0 of none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The middle one; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A quantile, between its neighbours in proportion; 0 of none.
pub(crate) fn quantile(values: &[f64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = quantile * sorted.len().saturating_sub(1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let below = place.floor() as usize;
    let at = |index: usize| sorted.get(index).or(sorted.last()).copied().unwrap_or(0.0);
    at(below) + (at(below + 1) - at(below)) * place.fract()
}

/// The ratio of the medians of two arms that were measured in the same rounds; the interval is
/// that of a bootstrap over rounds.
pub(crate) fn ratio(of: &[f64], to: &[f64], seed: u64) -> Estimate {
    bootstrap(of.len().min(to.len()), seed, |rounds| {
        let pick = |values: &[f64]| -> Vec<f64> {
            rounds.iter().filter_map(|index| values.get(*index).copied()).collect()
        };
        median(&pick(of)) / median(&pick(to))
    })
}

/// The geometric mean of ratios, with a bootstrap's interval: of many pairs that wander by chance
/// it wanders a fifth less than the median.
pub(crate) fn typical(ratios: &[f64], seed: u64) -> Estimate {
    typical_of_groups(&[ratios.to_vec()], seed)
}

/// The same of ratios in groups, which differ by more than their members do: groups are drawn, and
/// of each its members.
pub(crate) fn typical_of_groups(groups: &[Vec<f64>], seed: u64) -> Estimate {
    let logarithms = |group: &Vec<f64>| group.iter().map(|ratio| ratio.ln()).collect();
    let groups: Vec<Vec<f64>> = groups.iter().map(logarithms).collect();
    interval(mean(&groups.concat()).exp(), seed, |chance| {
        let mut drawn = Vec::new();
        for _ in &groups {
            let group = &groups[chance.random_range(0..groups.len())];
            drawn.extend((0..group.len()).map(|_| group[chance.random_range(0..group.len())]));
        }
        mean(&drawn).exp()
    })
}

/// A statistic of all of a sample, by index, and the interval that it has over samples that are
/// drawn from it anew.
fn bootstrap(sample: usize, seed: u64, statistic: impl Fn(&[usize]) -> f64) -> Estimate {
    let value = statistic(&(0..sample).collect::<Vec<usize>>());
    if sample == 0 {
        return Estimate { value, low: 0.0, high: 0.0 };
    }
    interval(value, seed, |chance| {
        let drawn: Vec<usize> = (0..sample).map(|_| chance.random_range(0..sample)).collect();
        statistic(&drawn)
    })
}

/// A number with the interval in which it lies when what it is of is drawn anew.
fn interval(value: f64, seed: u64, mut draw: impl FnMut(&mut ChaCha8Rng) -> f64) -> Estimate {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let drawn: Vec<f64> = (0..DRAWS).map(|_| draw(&mut chance)).collect();
    Estimate { value, low: quantile(&drawn, 0.025), high: quantile(&drawn, 0.975) }
}

/// The median of a sample, with a bootstrap's interval.
pub(crate) fn middle(values: &[f64], seed: u64) -> Estimate {
    ratio(values, &vec![1.0; values.len()], seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0]), 2.0);
        assert_eq!(median(&[5.0, 1.0, 3.0]), 3.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), 4.8);
        assert_eq!(quantile(&[1.0, 2.0], 1.0), 2.0);
    }

    #[test]
    fn a_typical_ratio_is_as_far_from_its_half_as_from_its_double() {
        let even = typical(&[0.5, 2.0], 1);
        assert!((even.value - 1.0).abs() < 1e-12 && even.low < 0.6 && even.high > 1.7, "{even}");
        let steady = typical(&[0.97; 5], 1);
        assert_eq!(steady.to_string(), "0.970 [0.970 … 0.970]");
    }

    #[test]
    fn groups_that_differ_are_as_uncertain_as_they_are_few() {
        let groups = [vec![0.9; 10], vec![1.1; 10], vec![0.9; 10], vec![1.1; 10]];
        let grouped = typical_of_groups(&groups, 1);
        let alone = typical(&groups.concat(), 1);
        assert!((grouped.value - alone.value).abs() < 1e-12, "{grouped}, {alone}");
        assert!(grouped.low < alone.low - 0.02 && grouped.high > alone.high + 0.02, "{grouped}");
        let alike = typical_of_groups(&[vec![0.9, 1.1], vec![0.9, 1.1], vec![]], 1);
        assert!(alike.low >= 0.899 && alike.high <= 1.101, "{alike}");
    }

    #[test]
    fn an_interval_holds_the_ratio_and_is_wide_where_rounds_differ() {
        let steady = ratio(&[97.0, 98.0, 99.0], &[100.0, 100.0, 100.0], 1);
        assert_eq!(steady.value, 0.98);
        assert!(steady.low >= 0.97 && steady.high <= 0.99);
        let wild = ratio(&[50.0, 98.0, 150.0], &[100.0, 100.0, 100.0], 1);
        assert!(wild.low < 0.6 && wild.high > 1.4, "{wild}");
        assert_eq!(wild, ratio(&[50.0, 98.0, 150.0], &[100.0, 100.0, 100.0], 1));
    }
}
