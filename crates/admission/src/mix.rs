//! Which statements a load is made of, in a few numbers.
//!
//! Each fingerprint stands for a point, drawn by its number; a load is the mean of the points of
//! its statements. Loads of different statements are apart, however alike their rates and times
//! are, and that costs the same for any number of fingerprints: a random projection.

use trace::Fingerprint;

use crate::random::Random;

/// Numbers of a point, each −1 or 1 by a bit that the fingerprint seeds.
const NUMBERS: usize = 32;

/// The statements of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    sums: [i32; NUMBERS],
    statements: u32,
}

impl Mix {
    /// One statement more.
    pub fn add(&mut self, statement: Fingerprint) {
        if self.statements == i32::MAX.cast_unsigned() {
            return;
        }
        let bits = Random::new(statement.0).next();
        for (bit, sum) in self.sums.iter_mut().enumerate() {
            *sum += if bits >> bit & 1 == 1 { 1 } else { -1 };
        }
        self.statements += 1;
    }

    /// Where it lies, if there was a statement.
    pub(crate) fn spot(&self) -> Option<Spot> {
        let count = f64::from(self.statements);
        let at = self.sums.map(|sum| f64::from(sum) / count);
        (self.statements > 0).then(|| Spot { at, chance: (0.5 / count).sqrt() })
    }
}

/// Where a load lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    at: [f64; NUMBERS],
    /// How far (as [`Self::apart`]) it lies from the true one by chance, as a standard deviation.
    pub(crate) chance: f64,
}

impl Spot {
    /// How far two loads are apart: about 1 for one statement and another, and as much less as the
    /// part of the statements that others have replaced.
    pub(crate) fn apart(&self, other: &Self) -> f64 {
        let squares = self.at.iter().zip(other.at).map(|(one, other)| (one - other).powi(2));
        // Two points differ by 2 in half of their numbers.
        (squares.sum::<f64>() / (2.0 * NUMBERS as f64)).sqrt()
    }

    /// A part of the way to another.
    pub(crate) fn towards(mut self, other: &Self, part: f64) -> Self {
        for (one, other) in self.at.iter_mut().zip(other.at) {
            *one += part * (other - *one);
        }
        self.chance += part * (other.chance - self.chance);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many of each, the first of them this fingerprint.
    fn spot(first: u64, counts: &[u32]) -> Spot {
        let mut mix = Mix::default();
        for (statement, count) in (first..).zip(counts) {
            (0..*count).for_each(|_| mix.add(Fingerprint(statement)));
        }
        mix.spot().expect("statements")
    }

    #[test]
    fn other_statements_are_apart_and_the_same_are_not() {
        for first in 0..1000 {
            let (one, other) = (spot(first, &[100]), spot(first + 1, &[10]));
            assert!(one.apart(&other) > 0.6, "{first}: {}", one.apart(&other));
            assert!(one.apart(&spot(first, &[7])) < 1e-9);
        }
        let mean: f64 = (0..1000).map(|n| spot(n, &[1]).apart(&spot(n + 1, &[1]))).sum();
        assert!((970.0..1010.0).contains(&mean), "{mean}");
        assert!(Mix::default().spot().is_none());
    }

    #[test]
    fn it_is_as_far_as_the_part_that_was_replaced() {
        let (all, rest) = (spot(7, &[100, 0]), spot(7, &[75, 25]));
        let whole = all.apart(&spot(8, &[1]));
        assert!((all.apart(&rest) - 0.25 * whole).abs() < 1e-9);
        assert!((all.towards(&rest, 0.5).apart(&rest) - 0.125 * whole).abs() < 1e-9);
    }
}
