//! When a crashed dyno is started again: once at once, then after base·2ⁿ, up to a cap.

use std::time::Duration;

use super::Timing;
use crate::doubling::doubled;

/// The crashes of one dyno since it last ran well.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    crashes: u32,
}

impl Backoff {
    /// One more crash, after the process was up for `ran`: how long to wait before the next start.
    ///
    /// Heroku's shape (Dev Center, "Dyno crash restart policy"): the first crash is answered at
    /// once, the following ones with a cool-off that doubles. A run of at least
    /// [`Timing::stable_after`] wipes the slate.
    pub(super) fn crashed(&mut self, ran: Duration, timing: &Timing) -> Duration {
        if ran >= timing.stable_after {
            self.crashes = 0;
        }
        self.crashes = self.crashes.saturating_add(1);
        match self.crashes {
            1 => Duration::ZERO,
            crashes => doubled(timing.backoff_base, crashes - 2, timing.backoff_cap),
        }
    }

    pub(super) fn crashes(&self) -> u32 {
        self.crashes
    }

    /// Somebody asked for a restart: a new start, as a new release is on Heroku.
    pub(super) fn reset(&mut self) {
        self.crashes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_at_once_then_doubling_up_to_the_cap() {
        let timing = Timing::default();
        let mut backoff = Backoff::default();
        let mut waits = || backoff.crashed(Duration::ZERO, &timing).as_secs();
        let first: Vec<_> = (0..12).map(|_| waits()).collect();
        assert_eq!(first, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        for _ in 0..100 {
            assert_eq!(waits(), 600);
        }
    }

    #[test]
    fn a_long_run_and_a_restart_by_hand_wipe_the_slate() {
        let timing = Timing::default();
        let mut backoff = Backoff::default();
        backoff.crashed(Duration::ZERO, &timing);
        backoff.crashed(Duration::ZERO, &timing);
        assert_eq!(backoff.crashed(timing.stable_after, &timing), Duration::ZERO);
        assert_eq!(backoff.crashed(Duration::ZERO, &timing), timing.backoff_base);
        backoff.reset();
        assert_eq!(backoff.crashed(Duration::ZERO, &timing), Duration::ZERO);
    }
}
