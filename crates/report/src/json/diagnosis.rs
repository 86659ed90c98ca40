//! `surgetank diagnose --json`.

use diagnose::finding::{self, Action, HolderState, Resource};
use serde::Serialize;

use super::VERSION;
use crate::words;

/// A diagnosis.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// [`VERSION`].
    pub version: u32,
    /// The top cause's stable name; `null` on a healthy recording.
    pub cause: Option<&'static str>,
    /// Who is behind the top cause, in the fewest words.
    pub culprit: Option<String>,
    /// Length of the recording.
    pub seconds: f64,
    /// Counts over the recording.
    pub totals: Totals,
    /// The same per dyno.
    pub dynos: Vec<Dyno>,
    /// Whether failures belong to one dyno.
    pub contrast: Option<Contrast>,
    /// Whether failures come when query time is high.
    pub coincidence: Option<Coincidence>,
    /// Who held what failed requests lacked.
    pub blame: Vec<Blame>,
    /// Causes, the likeliest first.
    pub findings: Vec<Finding>,
    /// What could be done.
    pub advice: Vec<Advice>,
    /// What was not checked.
    pub gaps: Vec<String>,
}

/// Counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Totals {
    /// Requests to the database, connects included.
    pub database_requests: u64,
    /// Of these, failed.
    pub database_failures: u64,
    /// HTTP requests through the router.
    pub http_requests: u64,
    /// Of these, failed.
    pub http_failures: u64,
}

/// One dyno.
#[derive(Clone, Debug, Serialize)]
pub struct Dyno {
    /// `web.1`.
    pub dyno: String,
    /// Its counts.
    #[serde(flatten)]
    pub totals: Totals,
    /// Its failure rate.
    pub failure_rate: f64,
    /// Low and high end of the rate's 95 % interval.
    pub failure_rate_interval: [f64; 2],
    /// Mean number of server connections it held.
    pub held_mean: f64,
    /// Most it held at once.
    pub held_max: u32,
}

/// The worst dyno against its siblings.
#[derive(Clone, Debug, Serialize)]
pub struct Contrast {
    /// The worst dyno.
    pub dyno: String,
    /// Its failure rate.
    pub rate: f64,
    /// The siblings' rate.
    pub rate_of_others: f64,
    /// Fisher's exact test, two-sided.
    pub p_value: f64,
}

/// Failures against query time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Coincidence {
    /// Chance that a bin with failures has the higher query time; 0.5 means no relation.
    pub auc: f64,
    /// How likely chance gives such an AUC.
    pub p_value: f64,
    /// Median query time in bins with failures.
    pub query_ms_failing: f64,
    /// Median query time in bins without.
    pub query_ms_healthy: f64,
}

/// A statement.
#[derive(Clone, Debug, Serialize)]
pub struct Statement {
    /// Its identity, 16 hexadecimal digits (JSON's numbers are too short for it).
    pub fingerprint: String,
    /// Its text without literals.
    pub text: String,
}

/// A share of the blame.
#[derive(Clone, Debug, Serialize)]
pub struct Blame {
    /// What was scarce.
    pub resource: &'static str,
    /// Who held it.
    pub dyno: String,
    /// What the holder was doing.
    pub state: &'static str,
    /// What it was running.
    pub statement: Option<Statement>,
    /// Waiting of failed requests charged to it.
    pub waited_seconds: f64,
    /// Failures charged to it.
    pub failures: f64,
    /// Its share of all that was charged.
    pub share: f64,
}

/// A cause.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its stable name.
    pub cause: &'static str,
    /// Who is behind it, in the fewest words.
    pub culprit: Option<String>,
    /// The same in parts.
    pub culprit_detail: Culprit,
    /// 0 to 1.
    pub confidence: f64,
    /// Failures that it explains.
    pub failures_explained: f64,
    /// One sentence.
    pub summary: String,
    /// What speaks for it.
    pub evidence_for: Vec<Evidence>,
    /// What speaks against it.
    pub evidence_against: Vec<Evidence>,
    /// What would prove it wrong.
    pub disproof: String,
    /// What to change.
    pub fix: String,
}

/// Who or what is behind a cause.
#[derive(Clone, Debug, Serialize)]
pub struct Culprit {
    /// The dyno.
    pub dyno: Option<String>,
    /// The statement.
    pub statement: Option<Statement>,
    /// The resource.
    pub resource: Option<String>,
}

/// A measured claim.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// What is claimed.
    pub claim: String,
    /// The number.
    pub measured: String,
    /// Where it comes from.
    pub source: String,
}

/// Something to do.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// What kind of change, with its parameters.
    #[serde(flatten)]
    pub action: AdviceAction,
    /// Why.
    pub because: Vec<Evidence>,
}

/// A change; the field `action` says which.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum AdviceAction {
    /// Build an index.
    CreateIndex {
        /// The table.
        table: String,
        /// Its columns.
        columns: Vec<String>,
        /// The statement to run.
        sql: String,
    },
    /// Limit the server connections.
    LimitPool {
        /// At most so many.
        limit: u32,
    },
}

impl From<&finding::Diagnosis> for Diagnosis {
    fn from(from: &finding::Diagnosis) -> Self {
        let top = from.top();
        Self {
            version: VERSION,
            cause: top.map(|top| top.cause.name()),
            culprit: top.and_then(|top| words::culprit_name(&top.culprit)).map(str::to_owned),
            seconds: from.span.to.since(from.span.from).as_secs_f64(),
            totals: totals(from.totals),
            dynos: from.dynos.iter().map(dyno).collect(),
            contrast: from.contrast.as_ref().map(|c| Contrast {
                dyno: c.dyno.clone(),
                rate: c.rate,
                rate_of_others: c.rate_of_others,
                p_value: c.p_value,
            }),
            coincidence: from.coincidence.map(|c| Coincidence {
                auc: c.auc,
                p_value: c.p_value,
                query_ms_failing: c.query_time_failing.as_millis_f64(),
                query_ms_healthy: c.query_time_healthy.as_millis_f64(),
            }),
            blame: from.blame.iter().map(blame).collect(),
            findings: from.findings.iter().map(Finding::from).collect(),
            advice: from.advice.iter().map(advice).collect(),
            gaps: from.gaps.clone(),
        }
    }
}

impl From<&finding::Finding> for Finding {
    fn from(from: &finding::Finding) -> Self {
        Self {
            cause: from.cause.name(),
            culprit: words::culprit_name(&from.culprit).map(str::to_owned),
            culprit_detail: Culprit {
                dyno: from.culprit.dyno.clone(),
                statement: from.culprit.statement.as_ref().map(statement),
                resource: from.culprit.resource.clone(),
            },
            confidence: from.confidence,
            failures_explained: from.failures_explained,
            summary: from.summary.clone(),
            evidence_for: from.evidence_for.iter().map(evidence).collect(),
            evidence_against: from.evidence_against.iter().map(evidence).collect(),
            disproof: from.disproof.clone(),
            fix: from.fix.clone(),
        }
    }
}

fn totals(from: finding::Totals) -> Totals {
    Totals {
        database_requests: from.database_requests,
        database_failures: from.database_failures,
        http_requests: from.http_requests,
        http_failures: from.http_failures,
    }
}

fn dyno(from: &finding::DynoTotals) -> Dyno {
    let [low, rate, high] = from.failure_rate;
    Dyno {
        dyno: from.dyno.clone(),
        totals: totals(from.totals),
        failure_rate: rate,
        failure_rate_interval: [low, high],
        held_mean: from.held_mean,
        held_max: from.held_max,
    }
}

fn statement(from: &finding::StatementRef) -> Statement {
    Statement { fingerprint: format!("{:016x}", from.fingerprint.0), text: from.text.clone() }
}

fn blame(from: &finding::BlameShare) -> Blame {
    Blame {
        resource: resource(from.resource),
        dyno: from.dyno.clone(),
        state: state(from.state),
        statement: from.statement.as_ref().map(statement),
        waited_seconds: from.waited.as_secs_f64(),
        failures: from.failures,
        share: from.share,
    }
}

fn evidence(from: &finding::Evidence) -> Evidence {
    Evidence {
        claim: from.claim.clone(),
        measured: from.measured.clone(),
        source: from.source.clone(),
    }
}

fn advice(from: &finding::Advice) -> Advice {
    let action = match &from.action {
        Action::CreateIndex { table, columns, sql } => AdviceAction::CreateIndex {
            table: table.clone(),
            columns: columns.clone(),
            sql: sql.clone(),
        },
        Action::LimitPool { limit } => AdviceAction::LimitPool { limit: *limit },
    };
    Advice { action, because: from.because.iter().map(evidence).collect() }
}

/// Stable names; the prose in [`crate::words`] may change, these may not.
fn resource(resource: Resource) -> &'static str {
    match resource {
        Resource::ServerSlots => "server_slots",
        Resource::Pool => "pool",
        Resource::Lock => "lock",
        Resource::Execution => "execution",
        Resource::DynoPool => "dyno_pool",
        Resource::Server => "server",
    }
}

fn state(state: HolderState) -> &'static str {
    match state {
        HolderState::Executing => "executing",
        HolderState::LockWaiting => "lock_waiting",
        HolderState::IdleInTransaction => "idle_in_transaction",
        HolderState::Idle => "idle",
    }
}
