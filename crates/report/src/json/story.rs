//! `surgetank demo --json`: one object for the whole story.

use std::collections::BTreeMap;

use serde::Serialize;

use super::VERSION;
use super::diagnosis::Finding;
use crate::story::{DynoRun, StoryProof, StoryReport};
use crate::words;

/// The story.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// [`VERSION`].
    pub version: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether every act did what it says.
    pub ok: bool,
    /// The acts in playing order.
    pub acts: Vec<Act>,
    /// Before anything was changed.
    pub baseline: Baseline,
    /// The same command on several dynos, by dyno.
    pub run_compare: BTreeMap<String, Run>,
    /// Failures against load.
    pub curve: Vec<Point>,
    /// The rate from which failures grow.
    pub knee: Option<f64>,
    /// The diagnosis; `null` if the story did not get there.
    pub diagnosis: Option<Cause>,
    /// The arms of the experiment.
    pub arms: Vec<Arm>,
    /// The uptime proof; `null` if the story did not get there.
    pub proof: Option<Proof>,
}

/// An act.
#[derive(Clone, Debug, Serialize)]
pub struct Act {
    /// Its name.
    pub name: String,
    /// Whether it showed what it says.
    pub ok: bool,
    /// How long it took.
    pub seconds: f64,
    /// What it showed.
    pub sentence: String,
}

/// Counts before anything was changed.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    /// Requests offered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Failures by dyno.
    pub failed_by_dyno: BTreeMap<String, u64>,
}

/// The command on one dyno.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The command's status.
    pub status: i32,
    /// What it printed.
    pub output: String,
    /// How long it took.
    pub elapsed_ms: f64,
    /// Its requests to the database.
    pub database_requests: u64,
    /// Of these, failed.
    pub database_failures: u64,
    /// How often it was run.
    pub tries: u32,
    /// How many tries failed.
    pub failed_tries: u32,
    /// Environment variables that differ between the dynos.
    pub environment: BTreeMap<String, String>,
}

/// One rate of the load curve.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    /// Requests per second.
    pub rate: f64,
    /// Requests offered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// The share that failed, 0 to 1.
    pub failed_share: f64,
}

/// The diagnosis in short; `surgetank diagnose --json` has the whole of it.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// The top cause's stable name.
    pub cause: Option<&'static str>,
    /// Who is behind it, in the fewest words.
    pub culprit: Option<String>,
    /// Its confidence, 0 to 1.
    pub confidence: Option<f64>,
    /// All causes, the likeliest first.
    pub top: Vec<Finding>,
}

/// An arm.
#[derive(Clone, Debug, Serialize)]
pub struct Arm {
    /// `baseline`, `index`, `pool`, `index+pool`.
    pub name: String,
    /// Requests offered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile of latency.
    pub p99_ms: f64,
    /// Restarts of a dyno under load.
    pub restarts: u32,
    /// In how many of them requests failed.
    pub restarts_failed: u32,
}

/// The uptime proof.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Proof {
    /// 1 − p.
    pub confidence: f64,
    /// How long the fixed arm ran without a failure.
    pub failure_free_seconds: f64,
    /// The confidence that was asked for.
    pub asked: f64,
    /// Chance of such a result had the fix changed nothing.
    pub p_value: f64,
    /// Restarts before the fix, and in how many requests failed.
    pub before: [u32; 2],
    /// Restarts after it, and in how many requests failed.
    pub after: [u32; 2],
    /// Failure-free restarts needed for the asked confidence.
    pub needed: Option<u32>,
}

impl From<&StoryReport<'_>> for Story {
    fn from(from: &StoryReport<'_>) -> Self {
        Self {
            version: VERSION,
            seed: from.seed,
            ok: from.is_ok(),
            acts: from.acts.iter().map(act).collect(),
            baseline: Baseline {
                requests: from.baseline.requests,
                failed: from.baseline.failed,
                failed_by_dyno: from
                    .baseline
                    .by_dyno
                    .iter()
                    .map(|d| (d.dyno.clone(), d.failed))
                    .collect(),
            },
            run_compare: from
                .run_compare
                .iter()
                .flat_map(|compare| &compare.runs)
                .map(|r| (r.dyno.clone(), run(r)))
                .collect(),
            curve: from
                .curve
                .iter()
                .map(|p| Point {
                    rate: p.rate,
                    requests: p.requests,
                    failed: p.failed,
                    failed_share: p.failed_share(),
                })
                .collect(),
            knee: from.knee,
            diagnosis: from.diagnosis.map(cause),
            arms: from.arms.iter().map(arm).collect(),
            proof: from.proof.as_ref().map(proof),
        }
    }
}

fn act(from: &crate::story::ActSummary) -> Act {
    Act {
        name: from.name.clone(),
        ok: from.ok,
        seconds: from.seconds,
        sentence: from.sentence.clone(),
    }
}

fn run(from: &DynoRun) -> Run {
    Run {
        status: from.status,
        output: from.output.clone(),
        elapsed_ms: from.elapsed.as_millis_f64(),
        database_requests: from.database_requests,
        database_failures: from.database_failures,
        tries: from.tries,
        failed_tries: from.failed_tries,
        environment: from.environment.iter().cloned().collect(),
    }
}

fn cause(from: &diagnose::finding::Diagnosis) -> Cause {
    let top = from.top();
    Cause {
        cause: top.map(|top| top.cause.name()),
        culprit: top.and_then(|top| words::culprit_name(&top.culprit)).map(str::to_owned),
        confidence: top.map(|top| top.confidence),
        top: from.findings.iter().map(Finding::from).collect(),
    }
}

fn arm(from: &diagnose::compare::Arm) -> Arm {
    Arm {
        name: from.name.clone(),
        requests: from.requests,
        failed: from.failed,
        p50_ms: from.p50.as_millis_f64(),
        p99_ms: from.p99.as_millis_f64(),
        restarts: from.trials.total,
        restarts_failed: from.trials.failed,
    }
}

fn proof(from: &StoryProof) -> Proof {
    let StoryProof { proof, asked, failure_free } = from;
    Proof {
        confidence: proof.confidence,
        failure_free_seconds: failure_free.as_secs_f64(),
        asked: *asked,
        p_value: proof.p_value,
        before: [proof.before.total, proof.before.failed],
        after: [proof.after.total, proof.after.failed],
        needed: proof.needed,
    }
}
