//! What a statement costs when nothing is in its way.
//!
//! The law counts *work*, not statements: a mix that shifts from dear to cheap queries must not
//! look like progress. The weight of a statement must not contain what the limit itself causes,
//! above all time spent waiting for locks: a mean of execution times would grow with the limit, and
//! the law would run after its own shadow. So the base cost of a fingerprint is the smallest of
//! the means of blocks of 64 executions; it may rise by a thousandth with each block, so that data
//! that has grown is noticed.
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

/// The base cost of every fingerprint of one database.
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

    /// A statement took so many seconds on the server, lock waits and all. Gives its base cost now.
    pub fn observe(&mut self, statement: Fingerprint, seconds: f64) -> f64 {
        let seconds = if seconds.is_nan() { LEAST } else { seconds.clamp(LEAST, MOST) };
        self.any.observe(seconds);
        if let Some(class) = self.young.get_mut(&statement) {
            class.observe(seconds);
            return class.base();
        }
        if self.young.len() >= GENERATION {
            self.old = mem::take(&mut self.young);
        }
        let mut class = self.old.remove(&statement).unwrap_or_default();
        class.observe(seconds);
        self.young.insert(statement, class);
        class.base()
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
    /// The smallest mean of a block, in seconds, once there is one.
    base: Option<f64>,
    /// The block that fills: how many, and their sum.
    count: u32,
    sum: f64,
}

impl Class {
    fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        if self.count < BLOCK {
            return;
        }
        let mean = self.sum / f64::from(BLOCK);
        self.base = Some(self.base.map_or(mean, |base| mean.min(base * RISE)));
        self.count = 0;
        self.sum = 0.0;
    }

    fn base(&self) -> f64 {
        match self.base {
            Some(base) => base,
            None if self.count > 0 => self.sum / f64::from(self.count),
            None => 1e-3,
        }
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
