//! Maps whose keys are numbers of our own making.
//!
//! The standard hasher withstands keys that an attacker chooses, at the price of a hundred
//! instructions a lookup. Tickets and statement numbers are counted up by us, and a fingerprint is
//! a hash already: for these one multiplication is enough.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers of our own making.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// A set of numbers of our own making.
pub type NumberSet<K> = HashSet<K, BuildHasherDefault<NumberHasher>>;

/// Spreads one number over 64 bits (Fibonacci hashing; the low half, of which tables take the
/// index, gets the better high one too).
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_numbers_spread_over_high_and_low_bits() {
        let hashes = |number: u64| {
            let mut hasher = NumberHasher::default();
            hasher.write_u64(number);
            hasher.finish()
        };
        let low: HashSet<u64> = (0..1000).map(|n| hashes(n) % 1024).collect();
        let high: HashSet<u64> = (0..1000).map(|n| hashes(n) >> 57).collect();
        assert!(low.len() > 600, "{}", low.len());
        assert_eq!(high.len(), 128);
    }
}
