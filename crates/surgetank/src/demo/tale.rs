//! What the acts hand on to each other, and in the end to the report.

use std::time::Duration;

use diagnose::compare::{Arm, Proof, Trials};
use diagnose::finding::Diagnosis;
use load::Model;

use super::Options;
use super::scene::Take;
use super::stage::Stage;

/// The confidence that the proof must reach.
pub(crate) const CONFIDENCE: f64 = 0.99;

/// The story so far.
pub(crate) struct Tale {
    pub(crate) seed: u64,
    without: Vec<String>,
    seconds: u32,
    postgres: String,
    /// Customers' rate at the incident, requests per second.
    pub(crate) rate: f64,
    pub(crate) acts: Vec<report::ActSummary>,
    /// Act 1.
    pub(crate) incident: Option<Take>,
    /// Act 3.
    pub(crate) low: Option<Take>,
    /// Act 4.
    pub(crate) diagnosis: Option<Diagnosis>,
    /// Act 5: what was learnt from the incident's recording.
    pub(crate) learnt: Option<Model>,
    /// Acts 3 and 5.
    pub(crate) curve: Vec<report::CurvePoint>,
    pub(crate) knee: Option<f64>,
    /// Act 7.
    pub(crate) arms: Vec<Arm>,
    /// Restarts under the incident's load before the fix, over all acts.
    pub(crate) before: Trials,
    /// Restarts with the complete fix.
    pub(crate) after: Trials,
    /// How long the complete fix ran under load without one failure.
    pub(crate) failure_free: Duration,
    pub(crate) proof: Option<Proof>,
    recordings: Vec<report::RecordingFile>,
}

impl Tale {
    pub(crate) fn new(options: &Options, stage: &Stage) -> Self {
        Self {
            seed: options.seed,
            without: options.without.clone(),
            seconds: options.seconds,
            postgres: stage.postgres().to_owned(),
            rate: stage.rate(),
            acts: Vec::new(),
            incident: None,
            low: None,
            diagnosis: None,
            learnt: None,
            curve: Vec::new(),
            knee: None,
            arms: Vec::new(),
            before: Trials::default(),
            after: Trials::default(),
            failure_free: Duration::ZERO,
            proof: None,
            recordings: Vec::new(),
        }
    }

    /// Notes where a take's evidence lies.
    pub(crate) fn note(&mut self, take: &Take) {
        self.recordings.push(report::RecordingFile {
            name: take.name.clone(),
            path: take.recording.display().to_string(),
        });
    }

    /// Counts a take's restarts as trials before the fix.
    pub(crate) fn count_before(&mut self, take: &Take) {
        self.before.total += take.trials.total;
        self.before.failed += take.trials.failed;
    }

    /// Counts a take's restarts as trials after the fix.
    pub(crate) fn count_after(&mut self, take: &Take, span: Duration) {
        self.after.total += take.trials.total;
        self.after.failed += take.trials.failed;
        if take.failed() == 0 {
            self.failure_free += span;
        }
    }

    /// Whether every act did what it says.
    pub(crate) fn is_ok(&self) -> bool {
        self.acts.len() == 8 && self.acts.iter().all(|act| act.ok)
    }

    /// The story as the report wants it.
    pub(crate) fn report(&self, generated_at: String) -> report::StoryReport<'_> {
        report::StoryReport {
            title: "storefront: why checkout fails now and then".to_owned(),
            seed: self.seed,
            generated_at,
            acts: self.acts.clone(),
            baseline: self.baseline(),
            run_compare: self.incident.as_ref().and_then(|take| take.compare.clone()),
            curve: self.curve.clone(),
            knee: self.knee,
            diagnosis: self.diagnosis.as_ref(),
            arms: self.arms.clone(),
            proof: self.proof.map(|proof| report::StoryProof {
                proof,
                asked: CONFIDENCE,
                failure_free: trace::Micros::from_duration(self.failure_free),
            }),
            gaps: Vec::new(),
            reproduce: self.reproduce(),
            versions: vec![
                ("surgetank".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
                ("PostgreSQL".to_owned(), self.postgres.clone()),
            ],
            recordings: self.recordings.clone(),
        }
    }

    fn baseline(&self) -> report::Baseline {
        let Some(take) = &self.incident else { return report::Baseline::default() };
        let of_dyno = |dyno: &diagnose::finding::DynoTotals| report::DynoCount {
            dyno: dyno.dyno.clone(),
            requests: dyno.totals.http_requests,
            failed: dyno.totals.http_failures,
        };
        let dynos = self.diagnosis.iter().flat_map(|diagnosis| &diagnosis.dynos);
        report::Baseline {
            requests: take.load.offered,
            failed: take.failed(),
            by_dyno: dynos.filter(|dyno| dyno.totals.http_requests > 0).map(of_dyno).collect(),
        }
    }

    fn reproduce(&self) -> Vec<String> {
        let mut again = format!("surgetank demo --seed {} --seconds {}", self.seed, self.seconds);
        for part in &self.without {
            again.push_str(" --without ");
            again.push_str(part);
        }
        let look = |file: &report::RecordingFile| format!("surgetank diagnose {}", file.path);
        std::iter::once(again).chain(self.recordings.first().map(look)).collect()
    }
}
