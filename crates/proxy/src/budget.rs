//! How much of a limit is ours while a predecessor or a successor shares it.
//!
//! Pure. During a restart two processes have server connections to the same database. Together they
//! keep to the limit: the old one lowers its own part first, closes what is above it, and only then
//! tells the new one how much it still holds; the new one uses the rest. The old one's part shrinks
//! with its sessions. What it told never grows again, also when it has a predecessor itself.
//!
//! With a limit of 1 there is nothing to share: each of the two has one connection.

/// The new process has at least one in so many of the connections from the start, however busy the
/// old one is: clients that come now must get on too.
const FOR_THE_NEW: u32 = 4;

/// The parts of one limit.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u32,
    held_elsewhere: u32,
    giving: Option<Giving>,
}

/// Our part goes to a successor, bit by bit.
#[derive(Debug)]
struct Giving {
    sessions_at_first: u32,
    sessions: u32,
    /// What the successor was told last: ours and our predecessor's.
    told: u32,
}

impl Budget {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, held_elsewhere: 0, giving: None }
    }

    /// What is shared.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Another limit from now on. A successor that was told of more than the new one keeps what it
    /// was told, until less is held.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// The predecessor holds so many connections.
    pub(crate) fn held_elsewhere(&mut self, connections: u32) {
        self.held_elsewhere = connections;
    }

    /// There is a successor; so many sessions are left here.
    pub(crate) fn give_way(&mut self, sessions: u32) {
        match &mut self.giving {
            Some(giving) => giving.sessions = sessions,
            None => {
                let told = self.limit.max(self.held_elsewhere);
                self.giving = Some(Giving { sessions_at_first: sessions, sessions, told });
            }
        }
    }

    /// There is no successor after all.
    pub(crate) fn stay(&mut self) {
        self.giving = None;
    }

    /// How many connections this process may have.
    pub(crate) fn own(&self) -> u32 {
        let ours = self.limit.saturating_sub(self.held_elsewhere);
        let Some(giving) = &self.giving else {
            return if self.limit == 1 { 1 } else { ours };
        };
        if giving.sessions == 0 {
            return 0;
        }
        if self.limit == 1 {
            return 1;
        }
        let (now, first) = (u64::from(giving.sessions), u64::from(giving.sessions_at_first.max(1)));
        let in_proportion = (u64::from(ours) * now).div_ceil(first);
        let in_proportion = u32::try_from(in_proportion).unwrap_or(u32::MAX);
        let most = ours - ours.div_ceil(FOR_THE_NEW);
        let not_taken_back = giving.told.saturating_sub(self.held_elsewhere);
        in_proportion.min(most).max(1).min(not_taken_back)
    }

    /// What the successor is told when this process has `open` connections and will open no more
    /// than [`Self::own`].
    pub(crate) fn report(&mut self, open: u32) -> u32 {
        let held = self.own().max(open).saturating_add(self.held_elsewhere);
        match &mut self.giving {
            Some(giving) => {
                giving.told = giving.told.min(held);
                giving.told
            }
            None => held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn giving(limit: u32, sessions: u32) -> Budget {
        let mut budget = Budget::new(limit);
        budget.give_way(sessions);
        budget
    }

    #[test]
    fn alone_it_is_the_limit() {
        let mut budget = Budget::new(20);
        assert_eq!(budget.own(), 20);
        budget.held_elsewhere(15);
        assert_eq!(budget.own(), 5);
        budget.held_elsewhere(0);
        assert_eq!(budget.own(), 20);
    }

    #[test]
    fn it_shrinks_with_the_sessions_and_a_quarter_goes_at_once() {
        let mut budget = giving(20, 100);
        let mut parts = Vec::new();
        for sessions in [100, 75, 50, 1, 0] {
            budget.give_way(sessions);
            parts.push((budget.own(), budget.report(0)));
        }
        assert_eq!(parts, [(15, 15), (15, 15), (10, 10), (1, 1), (0, 0)]);
    }

    #[test]
    fn what_is_leased_is_held_until_it_is_released() {
        let mut budget = giving(20, 10);
        assert_eq!(budget.report(20), 20, "nothing for the new one yet");
        assert_eq!(budget.report(17), 17);
        assert_eq!(budget.report(3), 15);
    }

    #[test]
    fn one_connection_cannot_be_shared() {
        let mut old = giving(1, 3);
        assert_eq!((old.own(), old.report(1)), (1, 1));
        let mut new = Budget::new(1);
        new.held_elsewhere(1);
        assert_eq!(new.own(), 1);
        old.give_way(0);
        assert_eq!((old.own(), old.report(0)), (0, 0));
    }

    #[test]
    fn whoever_stays_has_all_of_it() {
        let mut budget = giving(20, 100);
        assert_eq!(budget.report(0), 15);
        budget.stay();
        assert_eq!(budget.own(), 20);
    }

    /// Three generations; whatever happens, the parts stay within the limit together.
    #[test]
    fn the_sum_is_never_above_the_limit() {
        for seed in 0_u32..500 {
            let mut state = seed;
            let mut next = move |below: u32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) % below
            };
            let limit = 2 + next(30);
            let (mut first, mut second, mut third) =
                (Budget::new(limit), Budget::new(limit), Budget::new(limit));
            let (mut sessions, mut open) = ([1 + next(50), 1 + next(50)], [next(limit + 1), 0]);
            first.give_way(sessions[0]);
            second.held_elsewhere(first.report(open[0]));
            open[1] = next(second.own() + 1);
            second.give_way(sessions[1]);
            third.held_elsewhere(second.report(open[1]));
            for _ in 0..40 {
                for (which, budget) in [&mut first, &mut second].into_iter().enumerate() {
                    // A session ends, connections above the part close, others open up to it.
                    sessions[which] = sessions[which].saturating_sub(next(3));
                    budget.give_way(sessions[which]);
                    let most = open[which].max(budget.own());
                    open[which] = next(most + 1);
                }
                second.held_elsewhere(first.report(open[0]));
                third.held_elsewhere(second.report(open[1]));
                let sum = open[0] + open[1] + third.own();
                assert!(sum <= limit, "seed {seed}: {open:?} + {} > {limit}", third.own());
            }
        }
    }
}
