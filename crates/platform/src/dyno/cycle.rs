//! The daily restart: dynos are cycled about once a day, not all at the same time.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Timing;

/// How long a process that starts now may run before its dyno is cycled: a day, and a random part
/// of 216 minutes (Dev Center, "Dyno restarts"), so that dynos that were started together are not
/// stopped together.
pub(super) fn lifetime(timing: &Timing, seed: u64) -> Duration {
    let spread = u64::try_from(timing.cycle_spread.as_millis()).unwrap_or(u64::MAX - 1);
    let part = ChaCha8Rng::seed_from_u64(seed).next_u64() % (spread + 1);
    timing.cycle_after.saturating_add(Duration::from_millis(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_and_at_most_216_minutes() {
        let timing = Timing::default();
        let day = Duration::from_secs(24 * 3600);
        let all: Vec<_> = (0..200).map(|seed| lifetime(&timing, seed) - day).collect();
        assert!(all.iter().all(|part| *part <= Duration::from_secs(216 * 60)));
        // Spread out, not all at one time.
        assert!(all.iter().any(|part| *part < Duration::from_secs(40 * 60)));
        assert!(all.iter().any(|part| *part > Duration::from_secs(176 * 60)));
    }
}
