//! What each statement executed, from the holds: waiting for locks is not work.

use std::collections::{BTreeMap, BTreeSet};

use sql::Kind;
use trace::{Fingerprint, Micros};

use crate::finding::{HolderState, Timeline};
use crate::stats;
use crate::story::Story;
use crate::story::holds::Holder;
use crate::timeline::bin_of;

/// All executions.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) statements: BTreeMap<Fingerprint, StatementWork>,
    /// Median time of one execution, over all statements but those that only steer a transaction
    /// or a session: a `COMMIT` says nothing about how long work usually takes.
    pub(crate) median: Micros,
    /// Seconds executed in bins with failures.
    pub(crate) failing_seconds: f64,
}

/// One statement's executions.
#[derive(Debug, Default)]
pub(crate) struct StatementWork {
    /// From, to; in time.
    pub(crate) runs: Vec<(Micros, Micros)>,
    pub(crate) holders: BTreeSet<Holder>,
    pub(crate) seconds: f64,
    /// Of these, in bins with failures.
    pub(crate) failing_seconds: f64,
    pub(crate) median: Micros,
}

impl Work {
    pub(crate) fn of(story: &Story<'_>, timeline: &Timeline) -> Self {
        let mut work = Self::default();
        let mut times = Vec::new();
        let steering = steering(story);
        for hold in &story.holds.list {
            let key = &story.holds.keys[hold.key];
            let executed =
                key.state == HolderState::Executing && key.statement != Fingerprint::NONE;
            if !executed {
                continue;
            }
            let time = hold.to.since(hold.from);
            let statement = work.statements.entry(key.statement).or_default();
            statement.runs.push((hold.from, hold.to));
            if !statement.holders.contains(&key.holder) {
                statement.holders.insert(key.holder.clone());
            }
            statement.seconds += time.as_secs_f64();
            let bin = timeline.bins.get(bin_of(timeline, story.from, hold.to));
            if bin.is_some_and(|bin| bin.failures > 0) {
                statement.failing_seconds += time.as_secs_f64();
                work.failing_seconds += time.as_secs_f64();
            }
            if !steering.contains(&key.statement) {
                times.push(time);
            }
        }
        work.median = stats::percentile(&mut times, 50).unwrap_or_default();
        for statement in work.statements.values_mut() {
            statement.runs.sort_unstable();
            let mut times: Vec<Micros> =
                statement.runs.iter().map(|(from, to)| to.since(*from)).collect();
            statement.median = stats::percentile(&mut times, 50).unwrap_or_default();
        }
        work
    }

    /// The usual time of one execution of the statement.
    pub(crate) fn median_of(&self, statement: Fingerprint) -> Micros {
        self.statements.get(&statement).map_or(Micros::ZERO, |work| work.median)
    }

    /// A statement's share of all executing in bins with failures.
    pub(crate) fn share(&self, statement: Fingerprint) -> f64 {
        let seconds = self.statements.get(&statement).map_or(0.0, |work| work.failing_seconds);
        if self.failing_seconds > 0.0 { seconds / self.failing_seconds } else { 0.0 }
    }
}

/// Statements that do no work of their own.
fn steering(story: &Story<'_>) -> BTreeSet<Fingerprint> {
    let steers = |text: &str| {
        matches!(sql::read(text).kind, Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Set)
    };
    let all = story.statements.iter().filter(|(_, text)| steers(text));
    all.map(|(fingerprint, _)| *fingerprint).collect()
}

impl StatementWork {
    /// The runs as disjoint stretches in which at least one is going on.
    pub(crate) fn episodes(&self) -> Vec<(Micros, Micros)> {
        let mut episodes: Vec<(Micros, Micros)> = Vec::new();
        for (from, to) in &self.runs {
            match episodes.last_mut() {
                Some((_, end)) if *from <= *end => *end = (*to).max(*end),
                _ => episodes.push((*from, *to)),
            }
        }
        episodes
    }
}
