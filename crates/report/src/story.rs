//! What the demo hands in: the eight acts with everything that was measured in them.

use diagnose::compare::{Arm, Proof};
use diagnose::finding::Diagnosis;
use trace::Micros;

/// The whole story, ready to be told as HTML, text or JSON.
///
/// Parts that a run did not reach stay empty or `None`; a report of an unfinished story is still a
/// report, and shows what is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoryReport<'a> {
    /// The headline, for example `storefront: why checkout fails`.
    pub title: String,
    /// Seed of everything random in the run; the same seed repeats the arrivals.
    pub seed: u64,
    /// When the report was made, as the caller wants it read (this room has no clock).
    pub generated_at: String,
    /// The acts in playing order.
    pub acts: Vec<ActSummary>,
    /// The first measurement, before anything was changed.
    pub baseline: Baseline,
    /// The same command on several dynos.
    pub run_compare: Option<RunCompare>,
    /// Failures against offered load, by rising rate.
    pub curve: Vec<CurvePoint>,
    /// The rate, in requests per second, from which failures grow; `None` if no knee was found.
    pub knee: Option<f64>,
    /// The diagnosis of the recording.
    pub diagnosis: Option<&'a Diagnosis>,
    /// The experiment's arms; the first is the baseline, the last the complete fix.
    pub arms: Vec<Arm>,
    /// The uptime proof.
    pub proof: Option<StoryProof>,
    /// What the run did not check, beyond the gaps of the diagnosis.
    pub gaps: Vec<String>,
    /// Commands that repeat the run, one per line.
    pub reproduce: Vec<String>,
    /// What ran: name and version.
    pub versions: Vec<(String, String)>,
    /// Where the evidence lies.
    pub recordings: Vec<RecordingFile>,
}

impl StoryReport<'_> {
    /// Whether every act did what it says. A story without acts proves nothing: false.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        !self.acts.is_empty() && self.acts.iter().all(|act| act.ok)
    }

    /// The arm with nothing changed.
    #[must_use]
    pub fn baseline_arm(&self) -> Option<&Arm> {
        self.arms.first()
    }

    /// The arm with the complete fix; `None` while there is only a baseline.
    #[must_use]
    pub fn fixed_arm(&self) -> Option<&Arm> {
        self.arms.get(1..).and_then(<[Arm]>::last)
    }
}

/// One act as it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActSummary {
    /// `bug report`, `two dynos`, `staging`, …
    pub name: String,
    /// Whether it showed what it says.
    pub ok: bool,
    /// How long it took.
    pub seconds: f64,
    /// What it showed, in one sentence.
    pub sentence: String,
    /// More, a line each.
    pub details: Vec<String>,
    /// The part of the report that holds its numbers.
    pub evidence: Option<Part>,
}

/// A part of the report that an act can point to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Counts before anything was changed, with the dynos' failure rates.
    Baseline,
    /// The same command on several dynos.
    RunCompare,
    /// Failures, waits and query times over time.
    Timeline,
    /// Failures against load.
    Curve,
    /// Causes and blame.
    Causes,
    /// The arms of the experiment.
    Arms,
    /// The uptime proof.
    Proof,
}

/// Counts before anything was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// HTTP requests offered.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// The same per dyno, in the order of their names.
    pub by_dyno: Vec<DynoCount>,
}

/// One dyno's share of the baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynoCount {
    /// `web.1`.
    pub dyno: String,
    /// Requests routed to it.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}

/// The same command, run on several dynos at the same time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunCompare {
    /// The command as typed.
    pub command: String,
    /// One column each.
    pub runs: Vec<DynoRun>,
}

/// The command's result on one dyno.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynoRun {
    /// `web.1`.
    pub dyno: String,
    /// The status of the try that is shown: what the command gave (exit status, or the HTTP status
    /// where the command asks for one).
    pub status: i32,
    /// What the command printed.
    pub output: String,
    /// How long it took.
    pub elapsed: Micros,
    /// Requests it made to the database.
    pub database_requests: u64,
    /// Of these, failed.
    pub database_failures: u64,
    /// Environment variables that differ between the dynos: name and value on this one.
    pub environment: Vec<(String, String)>,
    /// How often the command was run.
    pub tries: u32,
    /// How many of these tries failed.
    pub failed_tries: u32,
}

/// One rate of the load curve.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CurvePoint {
    /// Offered rate, in requests per second.
    pub rate: f64,
    /// Requests offered at this rate.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}

impl CurvePoint {
    /// The share that failed, 0 to 1; 0 where nothing was offered.
    #[must_use]
    pub fn failed_share(&self) -> f64 {
        crate::number::share(self.failed, self.requests)
    }
}

/// The uptime proof, with the time it covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoryProof {
    /// The test itself.
    pub proof: Proof,
    /// The confidence that was asked for, for example 0.99.
    pub asked: f64,
    /// The longest time under load, after the fix, without one failed request.
    pub failure_free: Micros,
}

/// A recording or another file of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingFile {
    /// What it is (`baseline`, `arm index+pool`).
    pub name: String,
    /// Where it lies.
    pub path: String,
}
