//! Transactions are held open while nothing runs.
//!
//! Necessary: what failed requests lacked was held by idle transactions, and the gaps are longer
//! than the pauses that every transaction has between its statements.

use trace::Micros;

use super::{Case, Verdict, largest, use_part};
use crate::blame::{Row, holder_name};
use crate::finding::{Cause, Culprit, Evidence, Finding, HolderState, Resource};
use crate::stats;
use crate::words::{evidence, percent, short, span};

/// Shorter gaps are what any app needs between two statements.
const LONG_GAP: Micros = Micros::from_millis(100);
/// A holder of a lock explains a lock pile-up; that it idled meanwhile explains most of that.
const WITHIN_A_LOCK: f64 = 0.8;

pub(crate) fn judge(case: &Case<'_, '_>) -> Option<Verdict> {
    let idle = |row: &&Row| row.key.state == HolderState::IdleInTransaction;
    let (claims, explained) = case.claim(|row| match row.resource {
        _ if !idle(&row) => 0.0,
        Resource::Lock => WITHIN_A_LOCK,
        _ => use_part(row),
    });
    let gap = usual_gap(case)?;
    if case.share(explained) < super::WORTH_A_WORD || gap < LONG_GAP {
        return None;
    }
    let rows = || case.account.rows.iter().filter(idle);
    let ((holder, fingerprint), _) =
        largest(rows().map(|row| ((row.key.holder.clone(), row.key.statement), row.failures)))?;
    let name = holder_name(case.story, &holder);
    let statement = case.story.statement(fingerprint);
    let after = statement.as_ref().map_or_else(String::new, |s| format!(" after \"{}\"", short(s)));
    let share: f64 = rows().map(|row| row.failures).sum::<f64>() / case.account.charged.max(1.0);
    let mut evidence_for = vec![
        evidence(
            "what failed requests lacked was held by transactions in which nothing ran",
            format!("{} of the blame, most of it by {name}", percent(share)),
            "the time between the requests of one transaction",
        ),
        evidence(
            "the gaps are longer than any app needs between two statements",
            format!("{} (the gap that half of all such time lies in or above)", span(gap)),
            "the time between the requests of one transaction",
        ),
    ];
    evidence_for.extend(sampled(case));
    evidence_for.extend(case.queue());
    let finding = Finding {
        cause: Cause::IdleInTransaction,
        culprit: Culprit { dyno: Some(name.clone()), statement, resource: None },
        confidence: case.confidence(explained, 1.0),
        failures_explained: explained,
        summary: format!(
            "{name} keeps transactions open while nothing runs, for {} at a time{after}; {} of \
             what failed requests lacked was held that way.",
            span(gap),
            percent(share),
        ),
        evidence_for,
        evidence_against: Vec::new(),
        disproof: format!(
            "Failures that go on when {name} commits before it turns to other work, or \
             idle_in_transaction_session_timeout that ends no transaction, would prove this wrong."
        ),
        fix: "Commit before calling anything that is not the database; set \
              idle_in_transaction_session_timeout as a guard."
            .to_owned(),
    };
    Some(Verdict { finding, claims })
}

/// Half of all idle-in-transaction time lies in gaps at least this long.
fn usual_gap(case: &Case<'_, '_>) -> Option<Micros> {
    let holds = &case.story.holds;
    let idle = holds
        .list
        .iter()
        .filter(|hold| holds.keys[hold.key].state == HolderState::IdleInTransaction);
    let mut gaps: Vec<Micros> = idle.map(|hold| hold.to.since(hold.from)).collect();
    gaps.sort_unstable();
    let half = gaps.iter().map(|gap| gap.0).sum::<u64>() / 2;
    let mut below = 0;
    gaps.into_iter().find(|gap| {
        below += gap.0;
        below >= half
    })
}

/// What PostgreSQL itself says of it.
fn sampled(case: &Case<'_, '_>) -> Option<Evidence> {
    let samples = case.story.activity.iter().flat_map(|sample| &sample.backends);
    let idle = samples.filter(|backend| backend.state.starts_with("idle in transaction"));
    let mut ages: Vec<Micros> = idle.map(|backend| backend.transaction_age).collect();
    let count = ages.len();
    let age = stats::percentile(&mut ages, 95)?;
    Some(evidence(
        "PostgreSQL saw the transactions idle",
        format!("{count} samples, 95 % of them at most {} old", span(age)),
        "pg_stat_activity, state \"idle in transaction\"",
    ))
}
