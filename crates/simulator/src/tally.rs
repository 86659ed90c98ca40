//! What came of a run.

/// Throughput and limit are kept for stretches of so many seconds.
pub(crate) const STRETCH: f64 = 0.5;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Transactions that ended while their client still wanted them, in each half second.
    pub good: Vec<u32>,
    /// The limit, as a mean over each half second.
    pub limits: Vec<f64>,
    /// How long those took from the first time they were asked for, in seconds, in order of size
    /// once [`Tally::finish`] was called.
    latencies: Vec<f32>,
    /// Reports that ended.
    pub reports: u32,
    /// Clients that gave up.
    pub given_up: u32,
}

impl Tally {
    pub(crate) fn new(seconds: f64) -> Self {
        let stretches = index(seconds) + 1;
        Self { good: vec![0; stretches], limits: vec![0.0; stretches], ..Self::default() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a latency to seven digits is plenty")]
    pub(crate) fn done(&mut self, now: f64, latency: f64) {
        if let Some(good) = self.good.get_mut(index(now)) {
            *good += 1;
        }
        self.latencies.push(latency as f32);
    }

    /// This limit held from `since` to `now`, both in the run.
    pub(crate) fn limit_held(&mut self, since: f64, now: f64, limit: u32) {
        let mut from = since;
        while from < now {
            let stretch = index(from);
            let end = ((stretch + 1) as f64 * STRETCH).min(now);
            if let Some(sum) = self.limits.get_mut(stretch) {
                *sum += (end - from) / STRETCH * f64::from(limit);
            }
            from = end.max(from + 1e-9);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.latencies.sort_by(f32::total_cmp);
    }

    /// Good transactions in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.good.iter().map(|good| u64::from(*good)).sum()
    }

    /// Good transactions a second between two times.
    #[must_use]
    pub fn rate(&self, from: f64, to: f64) -> f64 {
        let stretches = self.good.get(index(from)..index(to)).unwrap_or_default();
        let good: u32 = stretches.iter().sum();
        f64::from(good) / (to - from)
    }

    /// The mean limit between two times.
    #[must_use]
    pub fn limit(&self, from: f64, to: f64) -> f64 {
        let stretches = self.limits.get(index(from)..index(to)).unwrap_or_default();
        stretches.iter().sum::<f64>() / stretches.len().max(1) as f64
    }

    /// This part of transactions took at most so many milliseconds.
    #[must_use]
    pub fn quantile_ms(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = index(last as f64 * part * STRETCH);
        self.latencies.get(at).map_or(f64::NAN, |latency| f64::from(*latency) * 1e3)
    }

    /// How long after `from` it took until throughput was at least `wanted` a second, and stayed so
    /// until `to`. A second and a half is looked at together, so that one odd moment is
    /// not counted.
    #[must_use]
    pub fn reached(&self, from: f64, to: f64, wanted: f64) -> Option<f64> {
        let stretches = self.good.get(index(from)..index(to)).unwrap_or_default();
        let mut reached = 0.0;
        let windows = stretches.windows(3);
        let last = windows.len();
        for (nth, window) in windows.enumerate() {
            let sum: u32 = window.iter().sum();
            if f64::from(sum) / (3.0 * STRETCH) < wanted {
                reached = (nth + 1) as f64 * STRETCH;
                if nth + 1 == last {
                    return None;
                }
            }
        }
        Some(reached)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a run's length")]
fn index(seconds: f64) -> usize {
    (seconds / STRETCH + 1e-6).max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reached_must_be_kept() {
        let tally = |good: &[u32]| Tally { good: good.to_vec(), ..Tally::default() };
        let slow = tally(&[1, 1, 1, 1, 9, 9, 9, 9, 9, 9]);
        assert_eq!(slow.reached(0.0, 5.0, 16.0), Some(2.0));
        let lost = tally(&[9, 9, 9, 9, 9, 9, 9, 1, 1, 1]);
        assert_eq!(lost.reached(0.0, 5.0, 16.0), None);
        assert_eq!(tally(&[9; 10]).reached(0.0, 5.0, 16.0), Some(0.0));
    }

    #[test]
    fn a_limit_is_spread_over_its_stretches() {
        let mut tally = Tally::new(2.0);
        tally.limit_held(0.25, 1.25, 8);
        let means: Vec<f64> = tally.limits.clone();
        assert!((means[0] - 4.0).abs() < 1e-6 && (means[1] - 8.0).abs() < 1e-6);
        assert!((means[2] - 4.0).abs() < 1e-6 && means[3].abs() < 1e-6);
    }
}
