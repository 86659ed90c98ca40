//! From verdicts to the list of findings: what explains most of the failures comes first.

use crate::cause::{CARDS, Case, Verdict, unknown};
use crate::finding::Finding;

/// A cause below this confidence is not named first: of a few failures, whatever was going on then
/// would look guilty.
const CERTAIN: f64 = 0.2;

/// Asks every card, and `unknown` about what they leave.
pub(crate) fn verdicts(case: &Case<'_, '_>) -> Vec<Verdict> {
    // Without a failure there is nothing to explain, however slow a statement is.
    if case.failures.list.is_empty() {
        return Vec::new();
    }
    let mut verdicts: Vec<Verdict> = CARDS.iter().filter_map(|card| card(case)).collect();
    verdicts.extend(unknown::judge(case, &verdicts));
    verdicts.sort_by(|a, b| {
        let weight = |finding: &Finding| finding.failures_explained * finding.confidence;
        let by_weight = weight(&b.finding).total_cmp(&weight(&a.finding));
        by_weight.then_with(|| a.finding.cause.cmp(&b.finding.cause))
    });
    if verdicts.first().is_some_and(|top| top.finding.confidence < CERTAIN) {
        return unknown::judge(case, &[]).into_iter().collect();
    }
    verdicts
}
