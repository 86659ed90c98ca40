//! How many server connections are kept open for what may come: as many as were needed in the last
//! ten minutes, but for their highest twentieth.

use std::collections::VecDeque;

use trace::Micros;

/// How often it looks, and how many looks it remembers.
const EVERY: Micros = Micros::from_secs(1);
const LOOKS: usize = 600;

/// An idle connection above the reserve is closed after so long, and up to half as much longer: the
/// connections of many proxies must not end at one moment.
const IDLE: Micros = Micros::from_secs(60);

/// What was needed lately.
#[derive(Debug, Default)]
pub(super) struct Warm {
    looks: VecDeque<u32>,
    /// The most since the last look.
    most: u32,
    next: Micros,
    reserve: u32,
}

impl Warm {
    /// So many are held; `true` once a second.
    pub(super) fn look(&mut self, held: u32, at: Micros) -> bool {
        self.most = self.most.max(held);
        if at < self.next {
            return false;
        }
        self.next = at + EVERY;
        if self.looks.len() == LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(std::mem::take(&mut self.most));
        let mut sorted: Vec<u32> = self.looks.iter().copied().collect();
        sorted.sort_unstable();
        self.reserve = sorted[(sorted.len() - 1) * 95 / 100];
        true
    }

    /// How many are kept open.
    pub(super) fn reserve(&self) -> u32 {
        self.reserve
    }

    /// How long the connection of this number may be idle.
    pub(super) fn patience(number: u64) -> Micros {
        let part = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        IDLE + Micros(IDLE.0 / 2 * part / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_what_was_needed_nineteen_times_of_twenty() {
        let mut warm = Warm::default();
        for second in 0..600 {
            let held = if second % 30 == 0 { 50 } else { 4 };
            assert!(warm.look(held, Micros::from_secs(second)));
            assert!(!warm.look(1, Micros::from_millis(second * 1000 + 500)));
        }
        assert_eq!(warm.reserve(), 4);
        for second in 600..1200 {
            warm.look(0, Micros::from_secs(second));
        }
        assert_eq!(warm.reserve(), 0);
    }

    #[test]
    fn idle_times_differ() {
        let times: Vec<Micros> = (0..10).map(Warm::patience).collect();
        assert!(times.iter().all(|time| (60..90).contains(&(time.0 / 1_000_000))), "{times:?}");
        assert_ne!(times[1], times[2]);
    }
}
