//! The evidence fits none of the known causes.
//!
//! Stands for the failures that all other cards together leave unexplained; says what is known of
//! them.

use std::collections::BTreeMap;

use trace::Outcome;

use super::{Case, Verdict};
use crate::blame::{Uncharged, holder_name};
use crate::failures::Lack;
use crate::finding::{Cause, Culprit, Evidence, Finding};
use crate::words::{evidence, percent};

/// Less than this share of the failures left over is dirt in every account.
const WORTH_A_FINDING: f64 = 0.1;

/// Judges what these verdicts leave.
pub(crate) fn judge(case: &Case<'_, '_>, others: &[Verdict]) -> Option<Verdict> {
    let rows = case.account.rows.iter().enumerate();
    let open: Vec<f64> = rows
        .map(|(i, _)| 1.0 - others.iter().map(|other| other.claims[i]).fold(0.0, f64::max))
        .collect();
    let of_rows = sum(case, &open);
    let uncharged: u64 = case.account.uncharged.values().sum();
    let left = of_rows + uncharged as f64;
    if case.share(left) < WORTH_A_FINDING {
        return None;
    }
    let mut evidence_for: Vec<Evidence> = outcomes(case).into_iter().collect();
    evidence_for.extend(largest_open(case, &open));
    evidence_for.extend(
        case.account.uncharged.iter().map(|(why, count)| {
            evidence(told(*why), format!("{count} failures"), "blame accounting")
        }),
    );
    let against = others.iter().map(|other| {
        let name = other.finding.cause.name();
        let explained = percent(case.share(other.finding.failures_explained));
        evidence(format!("{name} explains a part"), explained, "the other findings")
    });
    let finding = Finding {
        cause: Cause::Unknown,
        culprit: Culprit::default(),
        confidence: case.confidence(left, 1.0),
        failures_explained: left,
        summary: summary(case, left),
        evidence_for,
        evidence_against: against.collect(),
        disproof: "A known cause whose conditions hold for these failures would prove this \
                   wrong."
            .to_owned(),
        fix: "Look at the failed requests themselves and the app's log of the same moments; a \
              longer recording with samples of the database may tell more."
            .to_owned(),
    };
    Some(Verdict { finding, claims: open })
}

fn summary(case: &Case<'_, '_>, left: f64) -> String {
    let failures = case.failures.list.len();
    format!("{left:.0} of {failures} failures fit none of the known causes with any certainty.")
}

fn sum(case: &Case<'_, '_>, parts: &[f64]) -> f64 {
    case.account.rows.iter().zip(parts).map(|(row, part)| row.failures * part).sum()
}

/// How the failures ended, so that a person can go on from here.
fn outcomes(case: &Case<'_, '_>) -> Option<Evidence> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for failure in &case.failures.list {
        let how = match failure.request.map(|request| request.outcome) {
            Some(Outcome::Error(state)) => state.to_string(),
            Some(Outcome::QueueTimeout) => "queue timeout".to_owned(),
            Some(Outcome::ClientGone) => "client gave up".to_owned(),
            Some(Outcome::ServerGone | Outcome::ServerUnreachable) => "server gone".to_owned(),
            Some(Outcome::Ok) | None => "HTTP 5xx".to_owned(),
        };
        *counts.entry(format!("{} {how}", case.story.dyno_name(failure.dyno))).or_default() += 1;
    }
    let told: Vec<String> = counts.iter().map(|(how, count)| format!("{how}: {count}")).collect();
    (!told.is_empty()).then(|| {
        evidence("how requests failed", told.join(", "), case.when(case.failures.list.iter()))
    })
}

/// The largest charge that no known cause explains.
fn largest_open(case: &Case<'_, '_>, open: &[f64]) -> Option<Evidence> {
    let rows = case.account.rows.iter().zip(open).filter(|(_, open)| **open > 0.0);
    let (row, open) = rows.max_by(|a, b| (a.0.failures * a.1).total_cmp(&(b.0.failures * b.1)))?;
    let leases = case.failures.lacking(Lack::Lease).count();
    let hint =
        if leases > 0 { "; if all statements are short, the limit is below the load" } else { "" };
    Some(evidence(
        format!(
            "most of what is unexplained was held by {}",
            holder_name(case.story, &row.key.holder)
        ),
        format!("{}{hint}", percent(case.share(row.failures * open))),
        "blame accounting",
    ))
}

fn told(why: Uncharged) -> &'static str {
    match why {
        Uncharged::NoHolder => "nobody was recorded to hold what they lacked",
        Uncharged::LockUnseen => "they failed for a lock that no sample shows",
        Uncharged::Entry => {
            "their connects were refused for a reason of their own (password, name)"
        }
        Uncharged::NotTheDatabase => "their dyno's connections were mostly idle: not the database",
    }
}
