//! For how many connections of all proxies together the server has room, and who may have which.

use std::collections::VecDeque;

use trace::Micros;

/// Connections that are left to others: to those who come in this very second.
pub const SPARE: u32 = 2;

/// What others used is left to them for so long: an app that comes for a moment each minute must
/// find its places again.
const REMEMBERED: Micros = Micros::from_secs(75);

/// Each proxy has at least so many: the one it speaks on, and one for its clients.
pub(super) const LEAST: u32 = 2;

/// So many looks must agree among several proxies.
const AGREEING: usize = 3;

/// How many connections are nobody's of ours.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreign {
    /// The least that each of the last looks showed.
    looks: VecDeque<u32>,
    /// What looks agreed on, the largest first, each later and smaller than the one before.
    agreed: VecDeque<(Micros, u32)>,
    /// What a leader has said last: it may be gone before our own looks have agreed on anything.
    told: Option<(Micros, u32)>,
}

impl Foreign {
    /// A look has shown so many. Among several proxies somebody who has opened connections and not
    /// yet told of them makes it too many for a moment: remembered is what a few looks in a row
    /// have shown. Looks between which not all others have spoken `anew` are one.
    pub(super) fn seen(&mut self, count: u32, (is_alone, anew): (bool, bool), at: Micros) {
        self.told = self.told.filter(|(since, _)| at.since(*since) <= REMEMBERED);
        match self.looks.back_mut() {
            Some(least) if !anew => *least = count.min(*least),
            _ => self.looks.push_back(count),
        }
        if self.looks.len() > AGREEING {
            self.looks.pop_front();
        }
        let (last, enough) = (self.looks.back(), self.looks.len() == AGREEING);
        let believed = match last {
            Some(last) if is_alone => *last,
            _ if enough => self.looks.iter().copied().min().unwrap_or_default(),
            _ => return,
        };
        while self.agreed.back().is_some_and(|(_, old)| *old <= believed) {
            self.agreed.pop_back();
        }
        self.agreed.push_back((at, believed));
        while self.agreed.front().is_some_and(|(since, _)| at.since(*since) > REMEMBERED) {
            self.agreed.pop_front();
        }
    }

    /// A leader says so many.
    pub(super) fn hears(&mut self, count: u32, at: Micros) {
        self.told = Some((at, count));
    }

    /// Somebody speaks who had so many before: they were never strangers'.
    pub(super) fn joined(&mut self, open: u32) {
        let agreed = self.agreed.iter_mut().chain(&mut self.told).map(|(_, count)| count);
        agreed.chain(&mut self.looks).for_each(|count| *count = count.saturating_sub(open));
    }

    /// To leave to them.
    pub(super) fn most(&self) -> u32 {
        let last = self.looks.back().copied();
        let own = self.agreed.front().map(|(_, count)| *count).or(last).unwrap_or_default();
        self.told.map_or(own, |(_, told)| told.max(own))
    }
}

/// How many of so many connections so few proxies leave to one who comes: until they have heard of
/// it, its own come out of these and of those to spare. One proxy alone looks once a second only;
/// and with two more there are as many connections for clients as before, since each has one to
/// speak on.
pub(super) fn for_newcomers(room: u32, proxies: usize) -> u32 {
    let others = u32::try_from(proxies).unwrap_or(u32::MAX).saturating_sub(1);
    LEAST.min(room / 8).saturating_sub(others)
}

/// Deals `room` connections out by demand, at least [`LEAST`] to each. The same for whoever
/// calculates it, and never more than there are, unless there are too few for that.
pub(super) fn allot(room: u32, demands: &[u32]) -> Vec<u32> {
    let count = u32::try_from(demands.len()).unwrap_or(u32::MAX);
    let left = u64::from(room.saturating_sub(LEAST.saturating_mul(count)));
    let sum: u64 = demands.iter().map(|demand| u64::from(*demand)).sum::<u64>().max(1);
    let mut before = 0;
    let mut dealt = 0;
    demands
        .iter()
        .map(|demand| {
            // Up to here all together have their part, rounded down: no one is lost.
            before += u64::from(*demand);
            let upto = left * before / sum;
            let part = upto - std::mem::replace(&mut dealt, upto);
            LEAST + u32::try_from(part).unwrap_or(u32::MAX)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_demand_and_two_at_least() {
        assert_eq!(allot(35, &[1]), [35]);
        assert_eq!(allot(35, &[300, 1]), [32, 3]);
        assert_eq!(allot(36, &[10, 10, 10]), [12, 12, 12]);
        assert_eq!(allot(3, &[9, 1]), [2, 2], "too few: nobody is shut out");
        assert_eq!(allot(35, &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn all_of_it_is_dealt_and_not_more(
            room in 16_u32..20_000,
            demands in proptest::collection::vec(1_u32..10_000, 1..8),
        ) {
            let parts = allot(room, &demands);
            prop_assert_eq!(parts.iter().sum::<u32>(), room);
            prop_assert!(parts.iter().all(|part| *part >= LEAST));
            for (part, demand) in parts.iter().zip(&demands) {
                let sum: u32 = demands.iter().sum();
                let free = f64::from(room - LEAST * u32::try_from(demands.len()).unwrap());
                let fair = free * f64::from(*demand) / f64::from(sum);
                prop_assert!((f64::from(*part - LEAST) - fair).abs() <= 1.0);
            }
        }
    }

    #[test]
    fn what_others_used_is_left_to_them_for_a_while() {
        let mut foreign = Foreign::default();
        let mut look = |second: u64, count| {
            foreign.seen(count, (false, true), Micros::from_secs(second));
            foreign.most()
        };
        assert_eq!([look(0, 3), look(1, 3), look(2, 3)], [3; 3]);
        // For two looks a peer's new connections seem to be strangers'.
        assert_eq!([look(3, 20), look(4, 16), look(5, 3)], [3; 3]);
        assert_eq!([look(6, 13), look(7, 14), look(8, 15)], [3, 3, 13]);
        assert_eq!([look(9, 0), look(83, 0), look(84, 0)], [13, 13, 0]);
        // As long as somebody has not spoken again, looks are one.
        for _ in 0..5 {
            foreign.seen(9, (false, false), Micros::from_secs(85));
        }
        assert_eq!(foreign.most(), 0);
        // Alone one knows oneself.
        foreign.seen(9, (true, true), Micros::from_secs(86));
        assert_eq!(foreign.most(), 9);
        foreign.joined(7);
        assert_eq!(foreign.most(), 2);
    }

    #[test]
    fn what_a_leader_said_holds_when_it_is_gone() {
        let mut foreign = Foreign::default();
        let mut look = |second: u64, heard: Option<u32>| {
            let at = Micros::from_secs(second);
            foreign.seen(3, (false, true), at);
            if let Some(heard) = heard {
                foreign.hears(heard, at);
            }
            foreign.most()
        };
        assert_eq!([look(1, Some(11)), look(2, Some(11)), look(3, Some(9))], [11, 11, 9]);
        assert_eq!([look(4, None), look(78, None), look(79, None)], [9, 9, 3]);
        foreign.hears(9, Micros::from_secs(80));
        foreign.joined(4);
        assert_eq!(foreign.most(), 5);
    }
}
