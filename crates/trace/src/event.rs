//! Everything that can be said about a running system, as one closed set.
//!
//! Names are `<Noun><PastVerb>`. An event states a fact at a time; it never interprets.

use crate::{BackendPid, DynoId, Fingerprint, LimitChanged, Micros, Request, SessionId, TraceId};

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    // --- the data plane -------------------------------------------------------------------------
    /// A request ended.
    Request(Request),
    /// A request belongs to a trace: its statement says so in a trailing comment.
    RequestTraced(RequestTraced),
    /// A client connection was accepted and its startup packet read. Its slot on the server, if it
    /// has one of its own (`observe` mode), is held from `ServerOpened` to `ServerClosed`.
    SessionOpened {
        /// When.
        at: Micros,
        /// Which client connection.
        session: SessionId,
        /// Whose.
        dyno: DynoId,
    },
    /// A client connection ended.
    SessionClosed {
        /// When.
        at: Micros,
        /// Which client connection.
        session: SessionId,
    },
    /// A server connection was opened. `session` is the one it was opened for; in `regulate` mode
    /// it will serve others too.
    ServerOpened {
        /// When.
        at: Micros,
        /// Which server connection.
        backend: BackendPid,
        /// Which client connection.
        session: SessionId,
    },
    /// A server connection ended.
    ServerClosed {
        /// When.
        at: Micros,
        /// Which server connection.
        backend: BackendPid,
    },
    /// A session keeps its server connection, until `SessionUnpinned` or its end.
    SessionPinned {
        /// Since when: told once PostgreSQL has confirmed it.
        at: Micros,
        /// Which client connection.
        session: SessionId,
        /// Why.
        cause: PinCause,
        /// By which statement.
        statement: Fingerprint,
    },
    /// What pinned the session is gone.
    SessionUnpinned {
        /// When.
        at: Micros,
        /// Which client connection.
        session: SessionId,
    },
    /// A statement was seen for the first time.
    StatementSeen(Box<StatementSeen>),
    /// The state of the pool (`regulate` mode), ten times a second.
    PoolSampled(PoolSampled),
    /// The limit of executing statements changed (`regulate` mode).
    LimitChanged(LimitChanged),
    /// A request was refused by the proxy; says who held what it waited for.
    RequestRefused(Box<Refusal>),

    // --- the database, as it describes itself ---------------------------------------------------
    /// `pg_stat_activity`, ten times a second.
    ActivitySampled(Box<ActivitySampled>),
    /// One backend waits for a lock that others hold.
    LockWaitSampled(Box<LockWaitSampled>),
    /// `pg_stat_statements`: one statement's totals so far.
    StatementSampled(Box<StatementSampled>),
    /// `pg_stat_user_tables`: one table's totals so far.
    TableSampled(Box<TableSampled>),
    /// The plan PostgreSQL has for a statement.
    PlanSeen(Box<PlanSeen>),
    /// A setting of the server.
    SettingSeen {
        /// When.
        at: Micros,
        /// Its name.
        name: Box<str>,
        /// Its value.
        value: Box<str>,
    },

    // --- the platform ---------------------------------------------------------------------------
    /// A dyno has this name. Comes before any other event with this id.
    DynoNamed {
        /// When.
        at: Micros,
        /// Whose.
        dyno: DynoId,
        /// Its name.
        name: Box<str>,
    },
    /// A process of a dyno starts that has this size: what may be used, by the platform's word.
    DynoSized {
        /// When.
        at: Micros,
        /// Whose.
        dyno: DynoId,
        /// The size's name.
        size: Box<str>,
    },
    /// A release went live: dynos that start from now on are made of it.
    ReleaseDeployed {
        /// When.
        at: Micros,
        /// Its number, counted from 1; 0 where there are no releases.
        version: u64,
        /// The names of its config vars. Their values are secrets and in no event.
        config: Vec<Box<str>>,
    },
    /// A dyno changed its state.
    DynoStateChanged {
        /// When.
        at: Micros,
        /// Whose.
        dyno: DynoId,
        /// Its new state.
        state: DynoState,
    },
    /// The router served (or refused) an HTTP request.
    HttpServed(Box<HttpServed>),
    /// A dyno wrote a line that looks like an error.
    LineLogged(Box<LogLine>),

    // --- the recording itself -------------------------------------------------------------------
    /// Somebody marked this moment ("index created", "rate 40/s").
    Marked {
        /// When.
        at: Micros,
        /// The mark.
        text: Box<str>,
    },
    /// So many events found no room.
    EventsLost {
        /// When.
        at: Micros,
        /// How many.
        count: u64,
    },
}

impl Event {
    /// When it happened; of a request, when it was done.
    #[must_use]
    pub fn at(&self) -> Micros {
        match self {
            Self::Request(request) => request.done,
            Self::RequestTraced(traced) => traced.at,
            Self::SessionOpened { at, .. }
            | Self::SessionClosed { at, .. }
            | Self::ServerOpened { at, .. }
            | Self::ServerClosed { at, .. }
            | Self::SessionPinned { at, .. }
            | Self::SessionUnpinned { at, .. }
            | Self::SettingSeen { at, .. }
            | Self::DynoNamed { at, .. }
            | Self::DynoSized { at, .. }
            | Self::ReleaseDeployed { at, .. }
            | Self::DynoStateChanged { at, .. }
            | Self::Marked { at, .. }
            | Self::EventsLost { at, .. } => *at,
            Self::StatementSeen(seen) => seen.at,
            Self::PoolSampled(sample) => sample.at,
            Self::LimitChanged(change) => change.at,
            Self::RequestRefused(refusal) => refusal.at,
            Self::ActivitySampled(sample) => sample.at,
            Self::LockWaitSampled(sample) => sample.at,
            Self::StatementSampled(sample) => sample.at,
            Self::TableSampled(sample) => sample.at,
            Self::PlanSeen(plan) => plan.at,
            Self::HttpServed(served) => served.at,
            Self::LineLogged(line) => line.at,
        }
    }
}

/// Why a session cannot give its server connection back after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PinCause {
    /// `SET`.
    Set,
    /// SQL-level `PREPARE`.
    Prepare,
    /// `LISTEN`.
    Listen,
    /// A temporary table.
    TemporaryTable,
    /// `DECLARE … WITH HOLD`.
    CursorWithHold,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// Anything whose effects on the session cannot be asked about.
    Unknown,
    /// A temporary replication slot.
    ReplicationSlot,
}

/// A statement that names its trace (`/*traceparent='00-…'*/`, the format of sqlcommenter) has come
/// over a session. The request meant is the one of this session that arrived last before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTraced {
    /// When its statement was read: not before the request arrived, and before it is done.
    pub at: Micros,
    /// Over which client connection it came.
    pub session: SessionId,
    /// The trace.
    pub trace: TraceId,
}

/// A statement, told once. Literals are replaced by `$n`: a recording holds no user's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementSeen {
    /// When it was first seen.
    pub at: Micros,
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// Its text without literals and comments.
    pub text: Box<str>,
}

/// The proxy's pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSampled {
    /// When.
    pub at: Micros,
    /// Most server connections that may be leased at once, just now: as many statements as may
    /// execute, beside the transactions that idle and the long statements in their lane.
    pub limit: u32,
    /// Server connections that are open.
    pub open: u32,
    /// Of these, leased to a session.
    pub leased: u32,
    /// Requests that wait for a lease.
    pub waiting: u32,
}

/// A refused request and the largest holders at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub at: Micros,
    /// Whose request it was.
    pub session: SessionId,
    /// Whose dyno.
    pub dyno: DynoId,
    /// How long it had waited.
    pub waited: Micros,
    /// Who held leases, most first.
    pub holders: Vec<(DynoId, u32)>,
}

/// All client backends of the database at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivitySampled {
    /// When.
    pub at: Micros,
    /// One entry per client backend.
    pub backends: Vec<BackendSample>,
}

/// One row of `pg_stat_activity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSample {
    /// The backend.
    pub pid: BackendPid,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: Box<str>,
    /// `wait_event_type:wait_event`, empty while on CPU.
    pub wait: Box<str>,
    /// How long the present transaction is open; zero if none is.
    pub transaction_age: Micros,
    /// The statement it runs or ran last, where the text was readable.
    pub statement: Fingerprint,
    /// `application_name`: tells our own sessions and foreign ones apart.
    pub application: Box<str>,
}

/// One backend that waits for a lock, and who blocks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWaitSampled {
    /// When.
    pub at: Micros,
    /// Who waits.
    pub waiter: BackendPid,
    /// `pg_blocking_pids(waiter)`.
    pub blockers: Vec<BackendPid>,
    /// Lock mode asked for.
    pub mode: Box<str>,
    /// The relation, or the kind of lock where there is none (`transactionid`).
    pub target: Box<str>,
}

/// One row of `pg_stat_statements`: totals since the statistics were reset.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementSampled {
    /// When.
    pub at: Micros,
    /// The statement, by our own fingerprint of PostgreSQL's normalised text.
    pub statement: Fingerprint,
    /// Executions.
    pub calls: u64,
    /// Execution time.
    pub exec: Micros,
    /// Rows returned or changed.
    pub rows: u64,
    /// Blocks found in cache and read.
    pub blocks: u64,
}

/// One row of `pg_stat_user_tables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSampled {
    /// When.
    pub at: Micros,
    /// `schema.table`.
    pub table: Box<str>,
    /// Sequential scans.
    pub seq_scans: u64,
    /// Rows read by them.
    pub seq_rows_read: u64,
    /// Index scans.
    pub index_scans: u64,
    /// Estimated live rows.
    pub live_rows: u64,
}

/// What PostgreSQL plans for a statement (`EXPLAIN (FORMAT JSON)`, generic plan).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSeen {
    /// When.
    pub at: Micros,
    /// The statement.
    pub statement: Fingerprint,
    /// The plan as PostgreSQL gave it.
    pub json: Box<str>,
}

/// The life of a dyno, in Heroku's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DynoState {
    /// Launched, not yet ready.
    Starting,
    /// Ready.
    Up,
    /// Asked to end.
    Stopping,
    /// Ended by itself.
    Crashed,
    /// Ended because it was asked to.
    Down,
}

/// One HTTP request as the router saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServed {
    /// When the answer was complete.
    pub at: Micros,
    /// Which dyno served it; the nameless dyno if none did.
    pub dyno: DynoId,
    /// `GET`, …
    pub method: Box<str>,
    /// Path and query.
    pub path: Box<str>,
    /// Status sent to the client.
    pub status: u16,
    /// Heroku's error code (`H12`), empty if none.
    pub code: Box<str>,
    /// From the dyno's acceptance to the end of its answer.
    pub service: Micros,
    /// `X-Request-ID`; empty in recordings of before it was recorded.
    pub request_id: Box<str>,
    /// The trace of the `traceparent` that the dyno got; with it an app can name the request to the
    /// database too, see [`RequestTraced`].
    pub trace: TraceId,
}

/// A line of a dyno's output that looks like an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Micros,
    /// Whose.
    pub dyno: DynoId,
    /// The line, cut at 500 bytes.
    pub text: Box<str>,
}
