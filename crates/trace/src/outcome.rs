//! How a request ended, and who has to act when it ended badly.

use std::fmt;

/// A five-character SQLSTATE (PostgreSQL manual, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// `too_many_connections`: the server has no free slot.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// `query_canceled`: a cancel request, or `statement_timeout`.
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// `admin_shutdown`: the server is going down, or a session was terminated.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// Another backend has crashed, and all are ended with it.
    pub const CRASH_SHUTDOWN: Self = Self(*b"57P02");
    /// `cannot_connect_now`: the server is starting up or shutting down.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// `deadlock_detected`.
    pub const DEADLOCK_DETECTED: Self = Self(*b"40P01");
    /// `lock_not_available`: `lock_timeout` ran out, or NOWAIT.
    pub const LOCK_NOT_AVAILABLE: Self = Self(*b"55P03");
    /// `idle_in_transaction_session_timeout`.
    pub const IDLE_IN_TRANSACTION_TIMEOUT: Self = Self(*b"25P03");
    /// `connection_failure`.
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    /// `protocol_violation`.
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    /// `invalid_password`.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// `feature_not_supported`.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");

    /// Reads a SQLSTATE from its five characters.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let code: [u8; 5] = bytes.try_into().ok()?;
        code.iter().all(u8::is_ascii_alphanumeric).then_some(Self(code))
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a request ended. A closed set: it labels metrics, the recording and the diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// PostgreSQL answered.
    Ok,
    /// PostgreSQL answered with an error.
    Error(SqlState),
    /// The proxy refused: no server connection became free before the deadline.
    QueueTimeout,
    /// The client went away before its answer.
    ClientGone,
    /// The server connection broke before the answer.
    ServerGone,
    /// No connection to PostgreSQL could be opened at all (refused, no route, time-out).
    ServerUnreachable,
}

impl Outcome {
    /// Whether the request did what its client asked.
    #[must_use]
    pub fn is_ok(self) -> bool {
        self == Self::Ok
    }

    /// The SQLSTATE the client saw, where the answer came from PostgreSQL.
    #[must_use]
    pub fn sql_state(self) -> Option<SqlState> {
        match self {
            Self::Error(state) => Some(state),
            Self::QueueTimeout => Some(SqlState::TOO_MANY_CONNECTIONS),
            Self::Ok | Self::ClientGone | Self::ServerGone | Self::ServerUnreachable => None,
        }
    }

    /// Who has to act, judged from the outcome alone; the diagnosis knows more.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::Ok => Blame::Nobody,
            Self::Error(state) => Blame::of_sql_state(state),
            Self::QueueTimeout => Blame::Surgetank,
            Self::ClientGone => Blame::Dyno,
            Self::ServerGone => Blame::Postgres,
            Self::ServerUnreachable => Blame::Network,
        }
    }
}

/// Who has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blame {
    /// Nothing failed.
    Nobody,
    /// The app's code: a bad statement, a constraint, a deadlock of its own making.
    App,
    /// The dyno: it went away.
    Dyno,
    /// Surgetank: it refused.
    Surgetank,
    /// The database: out of a resource, shutting down, crashed.
    Postgres,
    /// The way between us and the database.
    Network,
}

impl Blame {
    /// By SQLSTATE class (manual, appendix A): 08 connection, 53 insufficient resources, 57
    /// operator intervention, 58 system, XX internal and F0 configuration are the server's; all
    /// else is the app's.
    fn of_sql_state(state: SqlState) -> Self {
        match &state.0[..2] {
            b"08" => Self::Network,
            b"53" | b"57" | b"58" | b"XX" | b"F0" => Self::Postgres,
            _ => Self::App,
        }
    }
}
