//! The server went away or refused for a reason of its own.
//!
//! Necessary: requests that found the server gone, unreachable, shutting down or short of something
//! else than slots; and no other dyno was served well meanwhile (else it is the way to the server,
//! not the server).

use std::collections::{BTreeMap, BTreeSet};

use trace::{DynoId, Outcome};

use super::{Case, Verdict};
use crate::failures::{Failure, Lack};
use crate::finding::{Cause, Culprit, Evidence, Finding, Resource};
use crate::timeline::bin_of;
use crate::words::{evidence, of};

/// So many good answers to other dynos, in the very bins of the failures, prove that the server was
/// there.
const SERVED_MEANWHILE: usize = 10;

pub(crate) fn judge(case: &Case<'_, '_>) -> Option<Verdict> {
    let failed = || case.failures.lacking(Lack::Server);
    let victims: BTreeSet<DynoId> = failed().map(|failure| failure.dyno).collect();
    if victims.is_empty() || served_meanwhile(case, &victims) >= SERVED_MEANWHILE {
        return None;
    }
    let (claims, explained) =
        case.claim(|row| if row.resource == Resource::Server { 1.0 } else { 0.0 });
    let outcomes = told_outcomes(failed());
    let dynos: BTreeSet<DynoId> = case.story.requests.iter().map(|request| request.dyno).collect();
    let when = case.when(failed());
    let evidence_for = vec![
        evidence(
            "requests found the server gone or not taking work",
            outcomes.clone(),
            format!("outcomes of requests, {when}"),
        ),
        evidence(
            "every dyno that asked meanwhile was affected",
            format!("{} dynos", of(victims.len(), dynos.len())),
            "requests by dyno",
        ),
    ];
    let finding = Finding {
        cause: Cause::ServerDown,
        culprit: Culprit { resource: Some("postgresql".to_owned()), ..Culprit::default() },
        confidence: case.confidence(explained, 1.0),
        failures_explained: explained,
        summary: format!("PostgreSQL itself was away from {when}: {outcomes}."),
        evidence_for,
        evidence_against: few_dynos(victims.len(), dynos.len()),
        disproof: "Requests that were answered well in the same moments would prove this \
                   wrong."
            .to_owned(),
        fix: "See PostgreSQL's own log for that time (restart, crash, out of memory, disk full, \
              failover); apps should retry connects with back-off."
            .to_owned(),
    };
    Some(Verdict { finding, claims })
}

/// Good answers to dynos that were not affected, in bins in which others found the server gone.
fn served_meanwhile(case: &Case<'_, '_>, victims: &BTreeSet<DynoId>) -> usize {
    let bin = |at| bin_of(case.timeline, case.story.from, at);
    let bins: BTreeSet<usize> = case.failures.lacking(Lack::Server).map(|f| bin(f.to)).collect();
    let well = case.story.requests.iter().filter(|request| {
        request.outcome == Outcome::Ok
            && !victims.contains(&request.dyno)
            && bins.contains(&bin(request.sent))
            && bins.contains(&bin(request.done))
    });
    well.count()
}

fn told_outcomes<'f>(failures: impl Iterator<Item = &'f Failure<'f>>) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for request in failures.filter_map(|failure| failure.request) {
        let told = match request.outcome {
            Outcome::Error(state) => format!("refused with {state}"),
            Outcome::ServerGone => "connection lost".to_owned(),
            _ => "not reachable".to_owned(),
        };
        *counts.entry(told).or_default() += 1;
    }
    counts
        .iter()
        .map(|(told, count)| format!("{told} {count} times"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn few_dynos(victims: usize, dynos: usize) -> Vec<Evidence> {
    if victims == dynos || dynos < 2 {
        return Vec::new();
    }
    let claim = "the other dynos asked nothing meanwhile, so they prove nothing";
    vec![evidence(claim, format!("{} dynos affected", of(victims, dynos)), "requests by dyno")]
}
