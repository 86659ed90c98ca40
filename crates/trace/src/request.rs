//! The record of one request: plain, `Copy`, of fixed size.

use crate::{BackendPid, Blame, DynoId, Fingerprint, Micros, Outcome, SessionId};

/// One request of a dyno to the database: a simple `Query`, an extended batch up to its `Sync`, a
/// function call, or the opening of a connection.
///
/// The phases are points in time, in this order, each ≥ the one before:
/// `arrived` ≤ `assigned` ≤ `sent` ≤ `first_byte` ≤ `done`.
/// *queue* = assigned − arrived, *server* = first byte − sent, *stream* = done − first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client connection it came over.
    pub session: SessionId,
    /// Whose it is.
    pub dyno: DynoId,
    /// What was asked.
    pub kind: RequestKind,
    /// The statement; of a batch, the first that was executed.
    pub statement: Fingerprint,
    /// The backend that served it; none if it never got one.
    pub backend: BackendPid,
    /// When its first byte reached the proxy.
    pub arrived: Micros,
    /// When it had a server connection.
    pub assigned: Micros,
    /// When the proxy began to send it to the server.
    pub sent: Micros,
    /// When the first byte of the answer came.
    pub first_byte: Micros,
    /// When the answer was complete, or the request was given up.
    pub done: Micros,
    /// Bytes from the client.
    pub bytes_in: u32,
    /// Bytes to the client.
    pub bytes_out: u32,
    /// Rows that the server says it returned or changed.
    pub rows: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Who has to act on it.
    pub blame: Blame,
    /// The transaction after it: while it is open, the session holds its server connection.
    pub transaction: TransactionState,
}

impl Request {
    /// Time spent waiting for a server connection.
    #[must_use]
    pub fn queue(&self) -> Micros {
        self.assigned.since(self.arrived)
    }

    /// Time from sending to the first byte of the answer: the database at work (or waiting).
    #[must_use]
    pub fn server(&self) -> Micros {
        self.first_byte.since(self.sent)
    }

    /// The whole of it.
    #[must_use]
    pub fn total(&self) -> Micros {
        self.done.since(self.arrived)
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// A connection was opened: from the startup packet to the first `ReadyForQuery`.
    Connect,
    /// A simple `Query`.
    Simple,
    /// An extended-protocol batch, up to `Sync`.
    Extended,
    /// A `FunctionCall`.
    Function,
}

/// The transaction status of `ReadyForQuery` (manual §55.7: 'I', 'T', 'E').
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionState {
    /// Not in a transaction block.
    Idle,
    /// In a transaction block.
    Open,
    /// In a failed transaction block.
    Failed,
}
