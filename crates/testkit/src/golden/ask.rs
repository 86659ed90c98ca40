//! One request of a story, phase by phase.

use trace::{
    BackendPid, DynoId, Fingerprint, Micros, Outcome, Request, RequestKind, SessionId, SqlState,
    TransactionState,
};

use super::{BEGIN, ms};

/// One request, as the story tells it. Each phase takes no time unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    arrived: Micros,
    queue: Micros,
    server: Micros,
    stream: Micros,
    statement: Fingerprint,
    kind: RequestKind,
    rows: u32,
    outcome: Outcome,
    transaction: TransactionState,
}

impl Ask {
    /// A request that arrives then, takes a millisecond, succeeds, and is a transaction of its own.
    #[must_use]
    pub fn at(arrived: Micros) -> Self {
        Self {
            arrived,
            queue: Micros::ZERO,
            server: ms(1),
            stream: Micros::ZERO,
            statement: Fingerprint::NONE,
            kind: RequestKind::Extended,
            rows: 1,
            outcome: Outcome::Ok,
            transaction: TransactionState::Idle,
        }
    }

    /// What was asked.
    #[must_use]
    pub fn of(self, statement: Fingerprint) -> Self {
        Self { statement, ..self }
    }

    /// By which kind of message.
    #[must_use]
    pub fn kind(self, kind: RequestKind) -> Self {
        Self { kind, ..self }
    }

    /// Time until it had a server connection.
    #[must_use]
    pub fn queue(self, queue: Micros) -> Self {
        Self { queue, ..self }
    }

    /// Time from sending to the first byte of the answer.
    #[must_use]
    pub fn server(self, server: Micros) -> Self {
        Self { server, ..self }
    }

    /// Time from the first byte to the last.
    #[must_use]
    pub fn stream(self, stream: Micros) -> Self {
        Self { stream, ..self }
    }

    /// Rows returned.
    #[must_use]
    pub fn rows(self, rows: u32) -> Self {
        Self { rows, ..self }
    }

    /// It failed with this SQLSTATE.
    #[must_use]
    pub fn error(self, state: SqlState) -> Self {
        self.outcome(Outcome::Error(state))
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// The transaction goes on after it.
    #[must_use]
    pub fn leaves_open(self) -> Self {
        Self { transaction: TransactionState::Open, ..self }
    }

    /// The request itself; `BEGIN` is added to its times.
    pub(super) fn tell(self, session: SessionId, dyno: DynoId, backend: BackendPid) -> Request {
        let arrived = BEGIN + self.arrived;
        let sent = arrived + self.queue;
        let first_byte = sent + self.server;
        Request {
            session,
            dyno,
            kind: self.kind,
            statement: self.statement,
            backend,
            arrived,
            assigned: sent,
            sent,
            first_byte,
            done: first_byte + self.stream,
            bytes_in: 64,
            bytes_out: 64 + 32 * self.rows,
            rows: self.rows,
            outcome: self.outcome,
            blame: self.outcome.blame(),
            transaction: self.transaction,
        }
    }
}
