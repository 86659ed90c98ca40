//! What a statement costs when nothing is in its way.
//!
//! The law counts *work*, not statements: a mix that shifts from dear to cheap queries must not
//! look like progress. The weight of a statement must not contain what the limit itself causes,
//! above all time spent waiting for locks: a mean of execution times would grow with the limit, and
//! the law would run after its own shadow. So the base cost of a fingerprint is the smallest of
//! the means of blocks of 64 executions; it may rise by a thousandth with each block, so that data
//! that has grown is noticed.
//!
//! Beside it stands the *quick* cost, the smallest single execution by the same rule: what the
//! statement takes when nobody is in its way, also where it was only ever seen in a crowd, where
//! the mean of any block contains waiting. It is no weight, since of a statement whose executions
//! differ it says nothing of the usual one; it shows a crowd for what it is.
//!
//! The table is bounded: two generations, of which the older is dropped when the younger is full.

use std::mem;

use trace::Fingerprint;
use trace::numbers::NumberMap;

/// Executions whose mean counts as one observation.
const BLOCK: u32 = 64;
/// By how much the base may rise with each block.
const RISE: f64 = 1.001;
/// Fingerprints in each of the two generations: more than an app has, less than a megabyte.
const GENERATION: usize = 4096;
/// Nothing costs less than this, in seconds: a weight of zero would make throughput vanish.
const LEAST: f64 = 1e-6;
/// Nothing costs more than this, in seconds.
const MOST: f64 = 86_400.0;

/// What a statement costs, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Usually, when little is in its way: the weight of its work.
    pub base: f64,
    /// At its quickest; never more than the base.
    pub quick: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.base += other.base;
        self.quick += other.quick;
    }
}

/// The costs of every fingerprint of one database.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    young: NumberMap<Fingerprint, Class>,
    old: NumberMap<Fingerprint, Class>,
    /// All statements as if they were one: what is said of a fingerprint not seen before.
    any: Class,
}

impl Costs {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A statement took so many seconds on the server, lock waits and all. Gives what it costs now.
    pub fn observe(&mut self, statement: Fingerprint, seconds: f64) -> Cost {
        let seconds = if seconds.is_nan() { LEAST } else { seconds.clamp(LEAST, MOST) };
        self.any.observe(seconds);
        if let Some(class) = self.young.get_mut(&statement) {
            class.observe(seconds);
            return class.cost();
        }
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        let mut class = self.old.remove(&statement).unwrap_or_default();
        class.observe(seconds);
        self.young.insert(statement, class);
        class.cost()
    }

    /// What a statement costs at least, in seconds: more than zero, never infinite. Of one that
    /// was never seen: what statements cost here.
    #[must_use]
    pub fn base(&self, statement: Fingerprint) -> f64 {
        self.known(statement).unwrap_or_else(|| self.usual())
    }

    /// The same, of one that was seen.
    #[must_use]
    pub fn known(&self, statement: Fingerprint) -> Option<f64> {
        let known = self.young.get(&statement).or_else(|| self.old.get(&statement));
        known.map(Class::base)
    }

    /// What statements cost here.
    #[must_use]
    pub fn usual(&self) -> f64 {
        self.any.base()
    }
}

/// One fingerprint.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    /// The smallest mean and the smallest execution of a block, once there is one.
    known: Option<Cost>,
    /// The block that fills: how many, their sum and the smallest.
    count: u32,
    sum: f64,
    least: f64,
}

impl Class {
    fn observe(&mut self, seconds: f64) {
        self.least = if self.count == 0 { seconds } else { self.least.min(seconds) };
        self.count += 1;
        self.sum += seconds;
        if self.count < BLOCK {
            return;
        }
        let seen = self.filling();
        let lowered = |known: Cost| Cost {
            base: seen.base.min(known.base * RISE),
            quick: seen.quick.min(known.quick * RISE),
        };
        self.known = Some(self.known.map_or(seen, lowered));
        self.count = 0;
        self.sum = 0.0;
    }

    /// What the block that fills shows.
    fn filling(&self) -> Cost {
        let base = self.sum / f64::from(self.count);
        // Rounded, the mean of equal ones may be less than each.
        Cost { base, quick: self.least.min(base) }
    }

    fn cost(&self) -> Cost {
        match self.known {
            Some(known) => known,
            None if self.count > 0 => self.filling(),
            None => Cost { base: 1e-3, quick: 1e-3 },
        }
    }

    fn base(&self) -> f64 {
        self.cost().base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(costs: &mut Costs, statement: u64, count: u32, seconds: f64) {
        for _ in 0..count * BLOCK {
            costs.observe(Fingerprint(statement), seconds);
        }
    }

    #[test]
    fn waits_do_not_raise_the_base_but_growth_does() {
        let mut costs = Costs::new();
        blocks(&mut costs, 1, 1, 0.002);
        blocks(&mut costs, 1, 10, 0.200);
        let base = costs.base(Fingerprint(1));
        assert!((0.002..0.002 * 1.02).contains(&base), "ten slow blocks: {base}");
        blocks(&mut costs, 1, 800, 0.004);
        assert!((costs.base(Fingerprint(1)) - 0.004).abs() < 1e-4, "the table has doubled");
        blocks(&mut costs, 1, 1, 0.001);
        assert!((costs.base(Fingerprint(1)) - 0.001).abs() < 1e-9, "an index was built");
    }

    #[test]
    fn one_quick_execution_in_a_crowd_is_noticed() {
        let mut costs = Costs::new();
        let mut seen = Cost::default();
        for nth in 0..4 * BLOCK {
            let seconds = if nth == 70 { 0.001 } else { 0.1 };
            seen = costs.observe(Fingerprint(1), seconds);
            assert!(seen.quick <= seen.base, "{seen:?}");
        }
        assert!(seen.base > 0.09 && seen.quick < 0.0011, "{seen:?}");
    }

    #[test]
    fn a_stranger_costs_what_statements_cost_here() {
        let mut costs = Costs::new();
        assert!(costs.base(Fingerprint(7)) > 0.0);
        blocks(&mut costs, 1, 4, 0.02);
        assert!((costs.base(Fingerprint(7)) - 0.02).abs() < 1e-9);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_unused_first() {
        let mut costs = Costs::new();
        for stranger in 0..10 * GENERATION as u64 {
            costs.observe(Fingerprint(1), 0.5);
            costs.observe(Fingerprint(100 + stranger), 0.1);
        }
        assert!(costs.young.len() + costs.old.len() <= 2 * GENERATION);
        assert!((costs.base(Fingerprint(1)) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_survived() {
        let mut costs = Costs::new();
        for seconds in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            blocks(&mut costs, 1, 2, seconds);
            let base = costs.base(Fingerprint(1));
            assert!(base.is_finite() && base > 0.0, "{seconds}: {base}");
        }
    }
}
