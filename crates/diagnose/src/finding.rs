//! What a diagnosis says. Plain values; how they look belongs to `report`.

use trace::{Fingerprint, Micros};

/// The whole answer to "why do requests fail?", for one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The time the recording covers.
    pub span: Span,
    /// What happened, in counts.
    pub totals: Totals,
    /// Per dyno, in the order of their names.
    pub dynos: Vec<DynoTotals>,
    /// Whether the failures belong to some dynos more than chance allows.
    pub contrast: Option<DynoContrast>,
    /// Whether failures come when query time is high.
    pub coincidence: Option<Coincidence>,
    /// Who held what the failed requests waited for or were refused; the shares sum to 1.
    pub blame: Vec<BlameShare>,
    /// Causes, the one that explains most first. Empty on a healthy recording.
    pub findings: Vec<Finding>,
    /// What could be done, each with its evidence; proven only by an experiment.
    pub advice: Vec<Advice>,
    /// The recording in bins, for plots and for reading along.
    pub timeline: Timeline,
    /// What the recording does not hold, and what therefore was not checked.
    pub gaps: Vec<String>,
}

impl Diagnosis {
    /// The cause that explains most; `None` on a healthy recording.
    #[must_use]
    pub fn top(&self) -> Option<&Finding> {
        self.findings.first()
    }
}

/// From … to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First event.
    pub from: Micros,
    /// Last event.
    pub to: Micros,
}

/// Counts over the whole recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests to the database, connects included.
    pub database_requests: u64,
    /// Of these, failed (an app's own errors, such as a unique violation, are not failures).
    pub database_failures: u64,
    /// HTTP requests through the router.
    pub http_requests: u64,
    /// Of these, answered with 5xx.
    pub http_failures: u64,
}

/// One dyno's counts.
#[derive(Clone, Debug, PartialEq)]
pub struct DynoTotals {
    /// `web.1`.
    pub dyno: String,
    /// Its counts.
    pub totals: Totals,
    /// Its share of HTTP requests that failed (of database requests, if it serves no HTTP), with a
    /// 95 % Wilson interval: low, estimate, high.
    pub failure_rate: [f64; 3],
    /// Mean number of server connections it held.
    pub held_mean: f64,
    /// Most it held at once.
    pub held_max: u32,
}

/// Fisher's exact test: the worst dyno against all its siblings of the same process type.
#[derive(Clone, Debug, PartialEq)]
pub struct DynoContrast {
    /// The dyno with the highest failure rate.
    pub dyno: String,
    /// Its failure rate.
    pub rate: f64,
    /// The siblings' failure rate.
    pub rate_of_others: f64,
    /// Two-sided p-value.
    pub p_value: f64,
}

/// Do failures come when query time is high? Bins with failures against bins without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coincidence {
    /// Probability that a bin with failures has the higher query time (Mann-Whitney's AUC; 0.5 is
    /// chance).
    pub auc: f64,
    /// Chance of an AUC as far from 0.5, from circular shifts of the series.
    pub p_value: f64,
    /// Median query time in bins with failures.
    pub query_time_failing: Micros,
    /// Median query time in bins without.
    pub query_time_healthy: Micros,
}

/// A share of the blame: so much of what failed requests lacked was held by this holder in this
/// state.
#[derive(Clone, Debug, PartialEq)]
pub struct BlameShare {
    /// The scarce thing.
    pub resource: Resource,
    /// Who held it.
    pub dyno: String,
    /// What the holder was doing.
    pub state: HolderState,
    /// The statement it was running, or had run last.
    pub statement: Option<StatementRef>,
    /// Seconds that failed requests waited, charged to this holder; a refusal without waiting is
    /// charged as a count only.
    pub waited: Micros,
    /// Failures charged to this holder; fractions, as several holders share each failure.
    pub failures: f64,
    /// Share of all failures that were charged.
    pub share: f64,
}

/// What failed requests were short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// A connection slot of the server (`max_connections`).
    ServerSlots,
    /// A lease of Surgetank's pool.
    Pool,
    /// A lock.
    Lock,
    /// The time the database needed to execute.
    Execution,
    /// A connection of the dyno's own pool.
    DynoPool,
    /// The server itself: down, unreachable, restarting.
    Server,
}

/// What a holder was doing with the thing it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HolderState {
    /// Running a statement.
    Executing,
    /// Waiting for a lock itself.
    LockWaiting,
    /// In a transaction, doing nothing.
    IdleInTransaction,
    /// Holding a connection, outside a transaction.
    Idle,
}

/// A statement by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementRef {
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// Its text without literals.
    pub text: String,
}

/// A named cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// One dyno's pool holds the server's connection slots; another dyno gets none.
    SlotExhaustion,
    /// A long statement (a report) occupies the connections or the database others wait for.
    LongStatement,
    /// Statements queue behind one holder of a lock.
    LockPileUp,
    /// Transactions are held open while nothing runs.
    IdleInTransaction,
    /// A frequent statement reads far more rows than it returns.
    MissingIndex,
    /// The server went away or refused for a reason of its own.
    ServerDown,
    /// The evidence fits none of the known causes.
    Unknown,
}

impl Cause {
    /// The stable name used in JSON, text and docs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SlotExhaustion => "slot_exhaustion",
            Self::LongStatement => "long_statement",
            Self::LockPileUp => "lock_pile_up",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::MissingIndex => "missing_index",
            Self::ServerDown => "server_down",
            Self::Unknown => "unknown",
        }
    }
}

/// Who or what is behind a cause. At least one field is set, except for `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Culprit {
    /// `web.2`.
    pub dyno: Option<String>,
    /// The statement.
    pub statement: Option<StatementRef>,
    /// The resource, in PostgreSQL's words (`max_connections`, a relation, a backend's pid).
    pub resource: Option<String>,
}

/// One cause with everything that speaks for and against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub cause: Cause,
    /// Who is behind it.
    pub culprit: Culprit,
    /// 0 to 1: share of the blame it explains, tempered by the evidence against it.
    pub confidence: f64,
    /// Failures that it explains.
    pub failures_explained: f64,
    /// One sentence a colleague would say.
    pub summary: String,
    /// What speaks for it.
    pub evidence_for: Vec<Evidence>,
    /// What speaks against it, or weakens it.
    pub evidence_against: Vec<Evidence>,
    /// What observation would prove this wrong.
    pub disproof: String,
    /// What to change to end it.
    pub fix: String,
}

/// A measured statement with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What is claimed ("web.2 held the slots when web.1 was refused").
    pub claim: String,
    /// The number ("15 of 17, in 412 of 420 refusals").
    pub measured: String,
    /// Where in the recording it comes from ("connections opened and closed, 12:00:03 to
    /// 12:00:28").
    pub source: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What kind of change.
    pub action: Action,
    /// Why.
    pub because: Vec<Evidence>,
}

/// A change that an experiment can apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Build an index.
    CreateIndex {
        /// `public.orders`.
        table: String,
        /// Columns, in order.
        columns: Vec<String>,
        /// The statement to run, without blocking writers (`CONCURRENTLY`).
        sql: String,
    },
    /// Move from `observe` to `regulate` with this limit.
    LimitPool {
        /// Server connections.
        limit: u32,
    },
}

impl Action {
    /// The statement for a staging database, where nobody minds a lock: plain `CREATE INDEX`, which
    /// is quicker and may run inside a transaction. `None` if the action is not a statement.
    #[must_use]
    pub fn staging_sql(&self) -> Option<String> {
        match self {
            Self::CreateIndex { table, columns, .. } => {
                Some(format!("CREATE INDEX ON {table} ({})", columns.join(", ")))
            }
            Self::LimitPool { .. } => None,
        }
    }
}

/// The recording in equal bins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Width of a bin.
    pub width: Micros,
    /// Bins without gaps, from the start of the recording.
    pub bins: Vec<Bin>,
    /// Dynos whose connections are counted in [`Bin::held`], in that order.
    pub dynos: Vec<String>,
    /// Marks (restarts, rate changes, an index) at their times.
    pub marks: Vec<(Micros, String)>,
}

/// One bin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bin {
    /// Its start.
    pub at: Micros,
    /// HTTP requests (database requests where the recording has no HTTP).
    pub requests: u32,
    /// Of these, failed.
    pub failures: u32,
    /// 95th percentile of the time to connect or to get a lease.
    pub wait_p95: Micros,
    /// 95th percentile of the time PostgreSQL took, failed requests left out.
    pub query_p95: Micros,
    /// Most backends executing at once, from the samples.
    pub executing: u32,
    /// Server connections held, per dyno of [`Timeline::dynos`].
    pub held: Vec<u32>,
}
