//! Waits that double.

use std::time::Duration;

/// `base`, doubled so many times, up to `cap`.
pub(crate) fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    // 2³¹ units are beyond any cap.
    base.saturating_mul(1 << times.min(31)).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_the_cap() {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(60));
        let seconds: Vec<u64> = (0..8).map(|n| doubled(base, n, cap).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(doubled(base, u32::MAX, cap), cap);
    }
}
