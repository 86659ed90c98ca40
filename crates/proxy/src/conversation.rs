//! What passes between a client and a server, understood exactly enough to know three things: when
//! a request is done and how it went, whether a transaction is open, and whether the server owes
//! anything more (if not, the server connection may serve somebody else).
//!
//! Pure: told of each message in the order in which it passes, with the time; does no I/O.
//!
//! The server answers in order, so the answers due are a queue ([`Expect`]). A *request* ends with
//! the one `ReadyForQuery` that its `Query`, `FunctionCall` or `Sync` calls for. Two rules of the
//! protocol make it hard (manual §55.2.3, §55.2.6):
//! * "When an error is detected while processing any extended-query message, the backend issues
//!   ErrorResponse, then reads and discards messages until a Sync is reached."
//! * In copy-in mode "Flush and Sync are ignored", since some drivers send a Sync right after the
//!   Execute and a second one after the data: then two Syncs have one answer.

use std::collections::VecDeque;

use crate::statements::{CopyNumber, Undone};
use trace::{
    BackendPid, DynoId, Fingerprint, Micros, Outcome, Request, RequestKind, SessionId,
    TransactionState,
};

mod ahead;
mod client;
mod expect;
mod server;

pub(crate) use expect::{Expect, OurReply, Shown};
#[cfg(test)]
use server::{Heard, Unexpected};

/// COPY from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyIn {
    /// None under way.
    No,
    /// The server takes data; it ignored so many Syncs meanwhile, as far as we can tell.
    Receiving { ignored: u32 },
    /// The client ended its data; so many Syncs were ignored before.
    Ended { ignored: u32 },
}

/// A batch of the extended protocol that the client has not ended by a Sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// None has begun.
    None,
    /// One has begun.
    Open,
    /// One has begun and failed: the server discards all until the Sync.
    Skipped,
}

/// In which batch something stands that the server has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// The one that the client speaks now: an error before it discards what follows too.
    ThisBatch,
    /// One before: an error in that does not keep what the client says now from running.
    EarlierBatch,
}

/// A request that is not done.
#[derive(Clone, Copy, Debug)]
struct Pending {
    kind: RequestKind,
    statement: Fingerprint,
    arrived: Micros,
    assigned: Micros,
    sent: Micros,
    first_byte: Option<Micros>,
    bytes_in: u64,
    bytes_out: u64,
    rows: u64,
    failed: Option<Outcome>,
    /// Nothing but a `Sync` was sent.
    bare: bool,
}

/// When a message came and when its session got its server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) arrived: Micros,
    pub(crate) assigned: Micros,
    pub(crate) sent: Micros,
}

impl Times {
    /// All at once: there was nothing to wait for.
    pub(crate) fn at(now: Micros) -> Self {
        Self { arrived: now, assigned: now, sent: now }
    }
}

/// One session's conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    session: SessionId,
    dyno: DynoId,
    backend: BackendPid,
    expected: VecDeque<Expect>,
    /// So many of `expected` come first and answer what the proxy sent ahead, for itself.
    ahead: usize,
    /// One for each of `expected` that ends a request, and one more while a batch is open.
    pending: VecDeque<Pending>,
    batch: Batch,
    transaction: TransactionState,
    copy: CopyIn,
    /// COPY failed while a Sync was under way, which the server has either ignored (read before the
    /// failure) or will answer (read after it): it can never be told again how many answers are
    /// due, and the server connection must not serve anybody else.
    uncertain: bool,
    undone: Undone,
    /// Changes of the session's names that count since this was asked last.
    changes_made: usize,
}

impl Conversation {
    pub(crate) fn new(session: SessionId, dyno: DynoId) -> Self {
        Self {
            session,
            dyno,
            backend: BackendPid::NONE,
            expected: VecDeque::new(),
            ahead: 0,
            // Few clients ask for more than one thing at a time, and most are idle.
            pending: VecDeque::with_capacity(1),
            batch: Batch::None,
            transaction: TransactionState::Idle,
            copy: CopyIn::No,
            uncertain: false,
            undone: Undone::default(),
            changes_made: 0,
        }
    }

    /// Which backend serves from now on.
    pub(crate) fn set_backend(&mut self, backend: BackendPid) {
        self.backend = backend;
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    pub(crate) fn dyno(&self) -> DynoId {
        self.dyno
    }

    pub(crate) fn transaction(&self) -> TransactionState {
        self.transaction
    }

    /// Whether the server discards what the client sends, up to its Sync.
    pub(crate) fn is_skipping(&self) -> bool {
        self.batch == Batch::Skipped
    }

    /// Whether nothing is due but answers to queries of the proxy's own.
    pub(crate) fn owes_nobody(&self) -> bool {
        self.pending.is_empty() && self.expected.iter().all(|due| *due == Expect::Aside)
    }

    /// Whether the client has begun no batch that it has not ended.
    pub(crate) fn is_between_batches(&self) -> bool {
        self.batch == Batch::None
    }

    /// Whether the server waits for COPY data of the client.
    pub(crate) fn takes_copy_data(&self) -> bool {
        matches!(self.copy, CopyIn::Receiving { .. })
    }

    /// Whether the server owes any answer.
    pub(crate) fn is_anything_due(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Whether nothing is under way: no answer due, no batch begun.
    pub(crate) fn is_quiet(&self) -> bool {
        self.expected.is_empty() && self.batch == Batch::None
    }

    /// Whether a cancel request would do what it is for. Not if several requests are under way: the
    /// first would fail and those behind it would run, a `BEGIN` lost and its statements committed
    /// one by one.
    pub(crate) fn may_cancel(&self) -> bool {
        !self.is_quiet() && self.pending.len() <= 1
    }

    /// Whether the server connection may serve another session now.
    pub(crate) fn may_release(&self) -> bool {
        self.is_quiet() && self.transaction == TransactionState::Idle && !self.uncertain
    }

    /// Whether it can never be told again when the server connection is free.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// Whether the answer that is due next is to a query of the proxy's own.
    pub(crate) fn hears_aside(&self) -> bool {
        self.expected.front() == Some(&Expect::Aside)
    }

    /// Where the newest unanswered `Parse` of a copy, or of the unnamed statement, stands; `None`
    /// if there is none.
    pub(crate) fn preparing(&self, copy: Option<CopyNumber>) -> Option<Within> {
        let mut within = Within::ThisBatch;
        for expect in self.expected.iter().rev() {
            match expect {
                Expect::Parse(one, _) if *one == copy => return Some(within),
                expect if expect.ends_request() => within = Within::EarlierBatch,
                _ => {}
            }
        }
        None
    }

    /// Whether one whole request is under way, and nothing else, and the server runs what follows
    /// even if the request fails: it ends with a `Sync`, or is a single message. If a `Query` ends
    /// a batch and a message before it fails, the server discards all up to the next `Sync`.
    pub(crate) fn is_alone(&self) -> bool {
        let mut due = self.expected.iter().rev();
        self.pending.len() == 1
            && self.batch == Batch::None
            && (due.next() == Some(&Expect::Sync) || due.all(|before| before.is_mark()))
    }

    /// Whether a batch or query before the present one is not answered yet: an error in it may have
    /// the server discard what it was told there.
    pub(crate) fn is_behind(&self) -> bool {
        self.pending.len() > usize::from(self.batch != Batch::None)
    }

    /// The statement of the oldest request under way.
    pub(crate) fn statement(&self) -> Fingerprint {
        self.pending.front().map_or(Fingerprint::NONE, |request| request.statement)
    }

    /// What errors have undone since the last call.
    pub(crate) fn take_undone(&mut self) -> Undone {
        std::mem::take(&mut self.undone)
    }

    /// How many changes of the session's names count that did not at the last call.
    #[inline]
    pub(crate) fn take_changes(&mut self) -> usize {
        std::mem::take(&mut self.changes_made)
    }

    /// Whether the answer that is due next is an error of ours.
    pub(crate) fn hears_refusal(&self) -> bool {
        self.expected.front() == Some(&Expect::Refused)
    }

    /// Whether the answer that is due next is to a `Parse` of the client's.
    pub(crate) fn is_parsing(&self) -> bool {
        matches!(self.expected.front(), Some(Expect::Parse(_, Shown::Client)))
    }

    /// Whether the answer that is due next is a description that the client has not asked for.
    pub(crate) fn hears_description(&self) -> bool {
        self.expected.front() == Some(&Expect::Describe(Shown::Nobody))
    }

    /// Nothing of what the client said since the conversation was last quiet has reached a server:
    /// it will be said again.
    pub(crate) fn unsay(&mut self) {
        self.expected.clear();
        self.pending.clear();
        (self.batch, self.copy) = (Batch::None, CopyIn::No);
        self.undone = Undone::default();
        self.changes_made = 0;
    }

    // --- what is recorded ---------------------------------------------------------------------

    /// Ends the oldest request before its answer; call until it yields nothing. `of_waiting` is how
    /// those end that had no error of their own yet.
    pub(crate) fn give_up(&mut self, of_waiting: Outcome, now: Micros) -> Option<Request> {
        let request = self.pending.pop_front()?;
        Some(self.finish(&request, request.failed.unwrap_or(of_waiting), now))
    }

    fn finish(&self, request: &Pending, outcome: Outcome, now: Micros) -> Request {
        let first_byte = request.first_byte.unwrap_or(now);
        Request {
            session: self.session,
            dyno: self.dyno,
            kind: request.kind,
            statement: request.statement,
            backend: self.backend,
            arrived: request.arrived,
            assigned: request.assigned,
            sent: request.sent,
            first_byte,
            done: now,
            bytes_in: count(request.bytes_in),
            bytes_out: count(request.bytes_out),
            rows: count(request.rows),
            outcome,
            blame: outcome.blame(),
            transaction: self.transaction,
        }
    }
}

/// A count as the record has it: saturating.
fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
