//! Statements queue behind one holder of a lock.
//!
//! Necessary: what failed requests lacked was a lock, or was held by backends that waited for one;
//! and the samples of locks show who stood at the end of the chain.

use std::collections::BTreeMap;

use trace::{LockWaitSampled, Micros};

use super::{Case, Verdict, largest};
use crate::blame::{Row, holder_name};
use crate::finding::{Cause, Culprit, Evidence, Finding, HolderState, Resource};
use crate::story::holds::HoldKey;
use crate::words::{evidence, percent, short};

/// Samples that are climbed, at most: more say nothing new.
const SAMPLES_MOST: usize = 4000;

/// Who blocked, over all samples.
struct Roots {
    /// Waiting backends at a time, most.
    most_waiting: usize,
    /// Samples in which each stood at the end of the chain, as parts of 1.
    by_key: BTreeMap<HoldKey, f64>,
    samples: f64,
    target: String,
}

pub(crate) fn judge(case: &Case<'_, '_>) -> Option<Verdict> {
    let (claims, explained) = case.claim(|row| if is_of_lock(row) { 1.0 } else { 0.0 });
    if case.share(explained) < super::WORTH_A_WORD {
        return None;
    }
    let roots = Roots::of(case)?;
    let ((holder, fingerprint), weight) =
        largest(roots.by_key.iter().map(|(key, n)| ((&key.holder, key.statement), *n)))?;
    let states = roots.by_key.iter().filter(|(key, _)| key.holder == *holder);
    let (state, _) = largest(states.map(|(key, n)| (key.state, *n)))?;
    let name = holder_name(case.story, holder);
    let statement = case.story.statement(fingerprint);
    let doing = match state {
        HolderState::Executing => "was executing",
        HolderState::LockWaiting => "waited for a lock in a circle",
        HolderState::IdleInTransaction => "sat idle in its transaction",
        HolderState::Idle => "was idle",
    };
    let told = statement.as_ref().map_or_else(String::new, |s| format!(" (\"{}\")", short(s)));
    let finding = Finding {
        cause: Cause::LockPileUp,
        confidence: case.confidence(explained, 1.0),
        failures_explained: explained,
        summary: format!(
            "Up to {} statements waited for a lock on {} that {name} held; it {doing}{told}.",
            roots.most_waiting, roots.target
        ),
        evidence_for: for_it(case, &roots, explained, &format!("{name}, which {doing}"), weight),
        evidence_against: against(&roots, weight),
        culprit: Culprit { dyno: Some(name), statement, resource: Some(roots.target) },
        disproof: "Failures at times when no backend waits for a lock would prove this wrong."
            .to_owned(),
        fix: "Take the contended lock last and commit at once; keep everything slow out of that \
              transaction; set lock_timeout so that waiters do not hold connections for ever."
            .to_owned(),
    };
    Some(Verdict { finding, claims })
}

fn is_of_lock(row: &Row) -> bool {
    row.resource == Resource::Lock || row.key.state == HolderState::LockWaiting
}

fn for_it(
    case: &Case<'_, '_>,
    roots: &Roots,
    explained: f64,
    root: &str,
    weight: f64,
) -> Vec<Evidence> {
    let waiting: f64 = case.account.rows.iter().filter(|r| is_of_lock(r)).map(|r| r.waited).sum();
    vec![
        evidence(
            "what failed requests lacked was a lock, or was held by others that waited for one",
            format!(
                "{} of all failures, {waiting:.1} s of waiting",
                percent(case.share(explained))
            ),
            "requests joined with samples of pg_locks by backend",
        ),
        evidence(
            format!("the end of the chain was {root}"),
            format!(
                "in {} of {:.0} samples of waiting",
                percent(weight / roots.samples),
                roots.samples
            ),
            "pg_blocking_pids, climbed to the one who waits for nobody",
        ),
        evidence(
            "waiters piled up",
            format!("{} at once", roots.most_waiting),
            format!("pg_locks, waiting for {}", roots.target),
        ),
    ]
}

fn against(roots: &Roots, weight: f64) -> Vec<Evidence> {
    if weight > 0.5 * roots.samples {
        return Vec::new();
    }
    vec![evidence(
        "no single holder stood at the end of most chains",
        format!("the most frequent in {}", percent(weight / roots.samples)),
        "pg_blocking_pids",
    )]
}

impl Roots {
    fn of(case: &Case<'_, '_>) -> Option<Self> {
        let all: Vec<&LockWaitSampled> = case.story.locks.samples().collect();
        let mut waiting: BTreeMap<Micros, usize> = BTreeMap::new();
        for sample in &all {
            *waiting.entry(sample.at).or_default() += 1;
        }
        let mut by_key: BTreeMap<HoldKey, f64> = BTreeMap::new();
        let mut samples = 0.0;
        for sample in all.iter().step_by(all.len().div_ceil(SAMPLES_MOST).max(1)) {
            samples += 1.0;
            let roots = case.story.locks.roots(sample.waiter, sample.at);
            for root in &roots {
                if let Some(key) = case.story.holds.at(*root, sample.at) {
                    *by_key.entry(key.clone()).or_default() += 1.0 / roots.len() as f64;
                }
            }
        }
        let most_waiting = waiting.into_values().max()?;
        Some(Self { most_waiting, by_key, samples, target: target(&all)? })
    }
}

/// What most of them waited for: a relation where one is named, else the kind of lock.
fn target(samples: &[&LockWaitSampled]) -> Option<String> {
    let kinds = ["transactionid", "virtualxid", "advisory", "tuple", ""];
    let named = |sample: &&&LockWaitSampled| !kinds.contains(&&*sample.target);
    let most = |of: &mut dyn Iterator<Item = &&LockWaitSampled>| {
        largest(of.map(|sample| (sample.target.to_string(), 1.0)))
    };
    let found = most(&mut samples.iter().filter(named)).or_else(|| most(&mut samples.iter()));
    found.map(|(target, _)| target)
}
