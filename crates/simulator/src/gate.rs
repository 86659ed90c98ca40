//! The proxy's door, as far as the simulator needs one: who waits, who may begin.

use std::collections::VecDeque;

use admission::Decision;

use crate::limiter::Counts;

/// One proxy's door.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Transactions that wait: number and serial, so that one that has left can be told.
    pub(crate) short: VecDeque<(u32, u32)>,
    /// Those that are known to be long.
    pub(crate) long: VecDeque<(u32, u32)>,
    /// How many wait in each; those that have left are still in the queues.
    pub(crate) waiting: [u32; 2],
    pub(crate) counts: Count,
    pub(crate) limit: u32,
    pub(crate) long_limit: u32,
    /// Most connections.
    pub(crate) ceiling: u32,
    /// Smoothed, for the share of the common limit.
    pub(crate) demand: f64,
}

/// What the connections do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) executing: u32,
    pub(crate) long: u32,
    pub(crate) idle: u32,
}

impl Count {
    pub(crate) const fn held(self) -> u32 {
        self.executing + self.long + self.idle
    }
}

impl Gate {
    /// May one more begin that is not known to be long?
    pub(crate) fn admits(&self, counts: Counts) -> bool {
        let count = self.counts;
        let charged = match counts {
            Counts::Held => count.held(),
            Counts::Executing => count.executing + count.long.saturating_sub(self.long_limit),
        };
        charged < self.limit && count.held() < self.ceiling
    }

    /// May one more begin that is known to be long? It has a lane of its own.
    pub(crate) fn admits_long(&self, counts: Counts) -> bool {
        match counts {
            Counts::Held => self.admits(counts),
            Counts::Executing => {
                self.counts.long < self.long_limit && self.counts.held() < self.ceiling
            }
        }
    }

    /// Somebody waits who could execute but for the limit.
    pub(crate) const fn saturated(&self) -> bool {
        self.waiting[0] > 0 && self.counts.held() < self.ceiling
    }
}

/// Splits a limit by demand; nobody gets nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a u32")]
pub(crate) fn share(gates: &mut [Gate], decision: Decision, ceiling: u32) {
    let sum: f64 = gates.iter().map(|gate| gate.demand).sum();
    let mut left = [decision.limit, decision.long, ceiling];
    let mut demand_left = sum;
    for gate in gates {
        let part = gate.demand / demand_left;
        let of = left.map(|left| ((f64::from(left) * part).round() as u32).clamp(1, left.max(1)));
        [gate.limit, gate.long_limit, gate.ceiling] = of;
        left = [0, 1, 2].map(|i: usize| left[i].saturating_sub(of[i]));
        demand_left = (demand_left - gate.demand).max(1e-9);
    }
}
