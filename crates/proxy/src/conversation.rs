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

use crate::statements::{StatementId, Undone};
use trace::{
    BackendPid, DynoId, Fingerprint, Micros, Outcome, Request, RequestKind, SessionId,
    TransactionState,
};

mod ahead;
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

    /// Whether the client has asked for statements to be prepared that are not yet.
    pub(crate) fn is_preparing(&self) -> bool {
        let ours = Expect::Ours(OurReply::ParseComplete);
        self.expected.iter().any(|e| matches!(e, Expect::Parse(_, Shown::Client)) || *e == ours)
    }

    /// Where the newest unanswered `Parse` of a statement, or of the unnamed one, stands; `None` if
    /// there is none.
    pub(crate) fn preparing(&self, statement: Option<StatementId>) -> Option<Within> {
        let mut within = Within::ThisBatch;
        for expect in self.expected.iter().rev() {
            match expect {
                Expect::Parse(one, _) if *one == statement => return Some(within),
                expect if expect.ends_request() => within = Within::EarlierBatch,
                _ => {}
            }
        }
        None
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

    /// Nothing of what the client said since the conversation was last quiet has reached a server:
    /// it will be said again.
    pub(crate) fn unsay(&mut self) {
        self.expected.clear();
        self.pending.clear();
        (self.batch, self.copy) = (Batch::None, CopyIn::No);
        self.undone = Undone::default();
    }

    // --- the client speaks --------------------------------------------------------------------

    /// The session was opened.
    pub(crate) fn connect(&mut self, times: Times) {
        self.begin(RequestKind::Connect, times);
        self.expected.push_back(Expect::Connect);
    }

    /// A simple query.
    pub(crate) fn query(&mut self, statement: Fingerprint, times: Times) {
        self.closing(RequestKind::Simple, Expect::Query, times);
        self.name(statement);
    }

    /// A function call.
    pub(crate) fn function(&mut self, times: Times) {
        self.closing(RequestKind::Function, Expect::Function, times);
    }

    /// `Query` and `FunctionCall` also end a batch that has no Sync.
    fn closing(&mut self, kind: RequestKind, expect: Expect, times: Times) {
        match self.batch {
            Batch::None => self.begin(kind, times),
            Batch::Open => self.batch = Batch::None,
            Batch::Skipped => return,
        }
        self.expected.push_back(expect);
    }

    /// A message of the extended protocol other than Sync.
    pub(crate) fn extended(&mut self, expect: Option<Expect>, times: Times) {
        if self.batch == Batch::None {
            self.begin(RequestKind::Extended, times);
            self.batch = Batch::Open;
        }
        if self.batch == Batch::Open {
            self.expected.extend(expect);
        }
    }

    /// A Sync.
    pub(crate) fn sync(&mut self, times: Times) {
        if let CopyIn::Receiving { ignored } = &mut self.copy {
            *ignored += 1;
            return;
        }
        if self.batch == Batch::None {
            self.begin(RequestKind::Extended, times);
            if let Some(request) = self.pending.back_mut() {
                request.bare = true;
            }
        }
        self.batch = Batch::None;
        self.expected.push_back(Expect::Sync);
    }

    /// The proxy itself sends a simple query, between two requests.
    pub(crate) fn aside(&mut self) {
        self.expected.push_back(Expect::Aside);
    }

    /// `CopyDone` or `CopyFail`.
    pub(crate) fn copy_end(&mut self) {
        match self.copy {
            CopyIn::Receiving { ignored } => self.copy = CopyIn::Ended { ignored },
            // Sent ahead of the server's CopyInResponse; else it is stray, and the server drops it.
            CopyIn::No | CopyIn::Ended { .. } if !self.expected.is_empty() => {
                self.expected.push_back(Expect::CopyEnd);
            }
            CopyIn::No | CopyIn::Ended { .. } => {}
        }
    }

    /// Bytes that the client sent, as part of its latest request.
    pub(crate) fn bytes_in(&mut self, count: usize) {
        if let Some(request) = self.pending.back_mut() {
            request.bytes_in += count as u64;
        }
    }

    /// The statement of the latest request, unless it has one: of a batch the first counts.
    pub(crate) fn name(&mut self, statement: Fingerprint) {
        if let Some(request) = self.pending.back_mut()
            && request.statement == Fingerprint::NONE
        {
            request.statement = statement;
        }
    }

    fn begin(&mut self, kind: RequestKind, times: Times) {
        let Times { arrived, assigned, sent } = times;
        self.pending.push_back(Pending {
            kind,
            statement: Fingerprint::NONE,
            arrived,
            assigned,
            sent,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            rows: 0,
            failed: None,
            bare: false,
        });
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
