//! Which number a one-off dyno has: four random digits, as on Heroku.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// So many different numbers are used; then the oldest one comes again. What is kept for each name
/// (its identity in a recording, its address of the proxy) is bounded thereby.
const NUMBERS_MAX: usize = 200;

/// Gives out numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    used: VecDeque<u32>,
    random: ChaCha8Rng,
}

impl Default for Numbers {
    fn default() -> Self {
        let random = ChaCha8Rng::seed_from_u64(u64::from(std::process::id()));
        Self { used: VecDeque::new(), random }
    }
}

impl Numbers {
    /// A number that is free: not the one of a dyno that runs.
    pub(super) fn next(&mut self, free: impl Fn(u32) -> bool) -> u32 {
        if self.used.len() >= NUMBERS_MAX
            && let Some(at) = self.used.iter().position(|number| free(*number))
            && let Some(oldest) = self.used.remove(at)
        {
            self.used.push_back(oldest);
            return oldest;
        }
        loop {
            let number = 1000 + self.random.next_u32() % 9000;
            if free(number) && !self.used.contains(&number) {
                self.used.push_back(number);
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_have_four_digits_differ_and_are_bounded() {
        let mut numbers = Numbers::default();
        let first: Vec<u32> = (0..NUMBERS_MAX).map(|_| numbers.next(|_| true)).collect();
        assert!(first.iter().all(|number| (1000..10_000).contains(number)));
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), NUMBERS_MAX);
        assert_eq!(numbers.next(|number| number != first[0]), first[1]);
        assert_eq!(numbers.next(|_| true), first[0]);
        assert_eq!(numbers.next(|_| true), first[2]);
    }
}
