//! How good a run was, next to what the static sizes do.

use admission::Law;

use crate::baselines::Static;
use crate::scenario::Scenario;
use crate::tally::Tally;
use crate::world::{Rule, run};

/// The static sizes that are tried.
pub const SIZES: [u32; 22] =
    [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40, 50, 64, 90, 128, 200];
/// A phase is mastered from the time its throughput is this part of the best.
const MASTERED: f64 = 0.9;

/// What the static sizes do with a scenario.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// Size and what came of it.
    pub curve: Vec<(u32, Tally)>,
    /// The size that did most over the whole run.
    pub best: (u32, Tally),
    /// Of each phase: the most any size did in its second half, a second.
    phases: Vec<f64>,
}

/// How a limiter did.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Throughput over the whole run, as a part of the best static size's.
    pub share: f64,
    /// 99 of 100 were quicker, in milliseconds from the first time they were asked for.
    pub p99_ms: f64,
    /// How long after the beginning of each phase it had nine tenths of the phase's best and kept
    /// them; none if never.
    pub adapt: Vec<Option<f64>>,
    /// The mean limit in the second half of each phase.
    pub limits: Vec<f64>,
    /// Throughput in the second half of each phase, as a part of the most any static size did.
    pub phases: Vec<f64>,
    /// Reports that ended, as a part of the best static size's.
    pub reports: f64,
}

/// The phases' beginnings and ends.
fn spans(scenario: &Scenario) -> Vec<(f64, f64)> {
    let mut from = 0.0;
    let span = |seconds: f64| {
        from += seconds;
        (from - seconds, from)
    };
    scenario.phases.iter().map(|phase| phase.seconds).map(span).collect()
}

impl Oracle {
    /// Tries all sizes, or every so many.
    #[must_use]
    pub fn ask(scenario: &Scenario, seed: u64, every: usize) -> Self {
        let one = |size: &u32| (*size, run(scenario, Rule::Pool(&mut Static(*size)), seed));
        let curve: Vec<_> = SIZES.iter().step_by(every).map(one).collect();
        let best = curve.iter().max_by_key(|(_, tally)| tally.total()).cloned();
        let half = |tally: &Tally, (from, to): (f64, f64)| tally.rate((from + to) / 2.0, to);
        let most = |span| curve.iter().map(|(_, t)| half(t, span)).fold(0.0, f64::max);
        let phases = spans(scenario).into_iter().map(most).collect();
        Self { best: best.unwrap_or_default(), phases, curve }
    }

    /// Runs the scenario under the law and the proxy's own admission, and compares. Several proxies
    /// that share one limit are a thing the admission does not do by itself: there the law drives
    /// the pool that the other laws have too.
    #[must_use]
    pub fn judge_law(&self, scenario: &Scenario, mut law: Law, seed: u64) -> Judged {
        if scenario.proxies == 1 {
            return self.judge(scenario, Rule::Admission(Box::new(law)), seed);
        }
        self.judge(scenario, Rule::Pool(&mut law), seed)
    }

    /// Runs the scenario under a rule and compares.
    #[must_use]
    pub fn judge(&self, scenario: &Scenario, rule: Rule<'_>, seed: u64) -> Judged {
        let tally = run(scenario, rule, seed);
        let best = &self.best.1;
        let spans = spans(scenario);
        let middle = |(from, to): (f64, f64)| (from + to) / 2.0;
        let adapt = spans.iter().zip(&self.phases);
        let share =
            |((from, to), best): (&(f64, f64), &f64)| tally.rate(middle((*from, *to)), *to) / best;
        Judged {
            share: tally.total() as f64 / best.total().max(1) as f64,
            p99_ms: tally.quantile_ms(0.99),
            adapt: adapt
                .map(|((from, to), most)| tally.reached(*from, *to, MASTERED * most))
                .collect(),
            limits: spans.iter().map(|span| tally.limit(middle(*span), span.1)).collect(),
            phases: spans.iter().zip(&self.phases).map(share).collect(),
            reports: f64::from(tally.reports) / f64::from(best.reports.max(1)),
        }
    }
}

impl Judged {
    /// What the scenario expects and this run did not do, a line each.
    #[must_use]
    pub fn failures(&self, scenario: &Scenario) -> Vec<String> {
        let expect = &scenario.expect;
        let mut failures = Vec::new();
        if self.share < expect.share {
            failures.push(format!("share {:.3} of the wanted {}", self.share, expect.share));
        }
        for (nth, phase) in scenario.phases.iter().enumerate() {
            if let (Some([least, most]), Some(limit)) = (phase.settle, self.limits.get(nth))
                && !(least..=most).contains(limit)
            {
                failures.push(format!("phase {nth}: limit {limit:.1} is not in {least}..{most}"));
            }
            if let (Some(wanted), Some(adapt)) = (expect.adapt, self.adapt.get(nth))
                && adapt.is_none_or(|adapt| adapt > wanted)
            {
                failures.push(format!("phase {nth}: {adapt:?} s to adapt, wanted {wanted}"));
            }
        }
        failures
    }
}
