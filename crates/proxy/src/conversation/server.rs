//! The server's half of a conversation: which answer a message belongs to, and what it ends.

use trace::{Micros, Outcome, Request, SqlState, TransactionState};
use wire::backend::{self, tag};

use super::{Batch, Conversation, CopyIn, Expect, OurReply, Shown};

/// What is to be done about a message of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Whether the client may see it.
    pub(crate) shown: Shown,
    /// The request that it ends.
    pub(crate) done: Option<Request>,
}

/// The server said something that nothing asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unexpected;

impl Conversation {
    /// Bytes that the server sent, as part of its answer to the oldest request.
    pub(crate) fn bytes_out(&mut self, count: usize) {
        if let Some(request) = self.pending.front_mut() {
            request.bytes_out += count as u64;
        }
    }

    /// Whether a message of this kind, if it comes next, is one of many in a longer answer that the
    /// client is given: of all of them together no more need be known than [`Self::passed`].
    pub(crate) fn is_bulk(&self, tag: u8) -> bool {
        matches!(tag, tag::DATA_ROW | tag::ROW_DESCRIPTION | tag::COPY_DATA)
            && !self.is_ahead()
            && self.expected.front().is_some_and(|expect| expect.includes(tag))
    }

    /// Messages of which each [is one of many](Self::is_bulk) have come, so many bytes.
    pub(crate) fn passed(&mut self, len: usize, now: Micros) {
        if len > 0
            && let Some(request) = self.pending.front_mut()
        {
            request.first_byte.get_or_insert(now);
            request.bytes_out += len as u64;
        }
    }

    /// A message of the server has begun; `body` is as much of it as is in hand, and all of it for
    /// the small ones. A finished request includes `len`, the message's own length.
    pub(crate) fn answered(
        &mut self,
        tag: u8,
        body: &[u8],
        len: usize,
        now: Micros,
    ) -> Result<Heard, Unexpected> {
        let visible = Heard { shown: Shown::Client, done: None };
        if self.hears_aside() {
            return Ok(self.aside_answered(tag, body));
        }
        if matches!(tag, tag::PARAMETER_STATUS | tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE)
        {
            self.bytes_out(len);
            return Ok(visible);
        }
        if self.is_ahead() && tag != tag::ERROR_RESPONSE {
            return self.answered_ahead(tag, body);
        }
        if let Some(request) = self.pending.front_mut() {
            request.first_byte.get_or_insert(now);
        }
        let front = self.expected.front().copied();
        let shown =
            match front {
                Some(
                    Expect::Parse(_, shown) | Expect::Close(_, shown) | Expect::Describe(shown),
                ) if tag != tag::ERROR_RESPONSE => shown,
                _ => Shown::Client,
            };
        match (tag, front) {
            (tag::ERROR_RESPONSE, _) => self.failed(body),
            (tag::READY_FOR_QUERY, Some(expect)) if expect.ends_request() => {
                self.bytes_out(len);
                return Ok(Heard { shown, done: self.ready(body, now) });
            }
            (tag::PARSE_COMPLETE, Some(Expect::Parse(..)))
            | (tag::BIND_COMPLETE, Some(Expect::Bind))
            | (tag::CLOSE_COMPLETE, Some(Expect::Close(..)))
            | (tag::ROW_DESCRIPTION | tag::NO_DATA, Some(Expect::Describe(_))) => {
                self.advance();
                if shown == Shown::Nobody {
                    return Ok(Heard { shown, done: None });
                }
            }
            (tag::COMMAND_COMPLETE, Some(Expect::Execute | Expect::Query)) => {
                self.completed(body, front == Some(Expect::Execute));
            }
            (tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED, Some(Expect::Execute)) => {
                self.advance();
            }
            (
                tag::COPY_IN_RESPONSE | tag::COPY_BOTH_RESPONSE,
                Some(Expect::Execute | Expect::Query),
            ) => self.copy_begins(),
            (tag::READY_FOR_QUERY, None) if self.uncertain => {}
            (tag::PARAMETER_DESCRIPTION, Some(Expect::Describe(Shown::Nobody))) => {
                return Ok(Heard { shown, done: None });
            }
            // What belongs to a longer answer ends nothing.
            (tag::READY_FOR_QUERY, _) | (_, None) => return Err(Unexpected),
            (_, Some(expect)) if !expect.includes(tag) => return Err(Unexpected),
            (_, Some(_)) => {}
        }
        self.bytes_out(len);
        Ok(visible)
    }

    /// Whether the turn of a reply of our own has come.
    #[inline]
    pub(crate) fn is_our_turn(&self) -> bool {
        matches!(self.expected.front(), Some(Expect::Ours(_)))
    }

    /// A reply of our own whose turn has come; the caller sends it.
    pub(crate) fn our_turn(&mut self) -> Option<OurReply> {
        let Some(Expect::Ours(reply)) = self.expected.front().copied() else { return None };
        self.advance();
        Some(reply)
    }

    /// Part of the answer to an aside: the client sees it only if it is for its session rather than
    /// for the query.
    fn aside_answered(&mut self, tag: u8, body: &[u8]) -> Heard {
        let is_fatal = || backend::Report::read(body).is_fatal();
        let shown = match tag {
            tag::NOTIFICATION_RESPONSE => Shown::Client,
            tag::ERROR_RESPONSE if is_fatal() => Shown::Client,
            tag::READY_FOR_QUERY => {
                self.turn(body);
                Shown::Nobody
            }
            _ => Shown::Nobody,
        };
        Heard { shown, done: None }
    }

    fn completed(&mut self, body: &[u8], ends: bool) {
        if let Some(request) = self.pending.front_mut() {
            request.rows += backend::rows(body);
        }
        self.copy = CopyIn::No;
        if ends {
            self.advance();
        }
    }

    /// The oldest answer is complete.
    fn advance(&mut self) {
        self.expected.pop_front();
        self.pass_marks();
    }

    /// Passes over what no answer is due for.
    pub(super) fn pass_marks(&mut self) {
        while let Some(mark) = self.expected.front().filter(|expect| expect.is_mark()) {
            self.changes_made += usize::from(*mark == Expect::NameChange);
            self.expected.pop_front();
        }
    }

    /// The server is ready for what comes next.
    fn turn(&mut self, body: &[u8]) {
        self.transaction = transaction(body);
        self.copy = CopyIn::No;
        self.advance();
    }

    fn ready(&mut self, body: &[u8], now: Micros) -> Option<Request> {
        self.turn(body);
        let request = self.pending.pop_front()?;
        Some(self.finish(&request, request.failed.unwrap_or(Outcome::Ok), now))
    }

    fn failed(&mut self, body: &[u8]) {
        let code = SqlState::from_bytes(backend::Report::read(body).code);
        if let Some(request) = self.pending.front_mut() {
            // The first error counts: those that follow are its consequences.
            let code = code.unwrap_or(SqlState::PROTOCOL_VIOLATION);
            request.failed.get_or_insert(Outcome::Error(code));
        }
        if let CopyIn::Receiving { ignored } | CopyIn::Ended { ignored } = self.copy {
            self.uncertain |= ignored > 0;
        }
        self.copy = CopyIn::No;
        self.ahead = 0;
        match self.expected.front() {
            Some(expect) if !expect.ends_request() => self.discard_to_sync(),
            // A simple query goes on to its ReadyForQuery; or nothing was asked, and the server
            // ends the session of its own accord.
            Some(_) | None => {}
        }
    }

    /// The server discards what it was sent up to the next Sync, a `Query` in between too.
    fn discard_to_sync(&mut self) {
        while let Some(expect) = self.expected.front().copied() {
            match expect {
                Expect::Sync => return,
                Expect::Parse(Some(copy), _) => self.undone.copies.push(copy),
                Expect::Close(Some(copy), _) => self.undone.closes.push(copy),
                Expect::Describe(Shown::Nobody) => self.undone.descriptions += 1,
                Expect::Refused => self.undone.refusals += 1,
                Expect::NameChange => self.undone.changes += 1,
                Expect::Query | Expect::Function => self.merge(0),
                Expect::Connect
                | Expect::Parse(None, _)
                | Expect::Bind
                | Expect::Describe(Shown::Client)
                | Expect::Execute
                | Expect::Close(None, _)
                | Expect::Failure
                | Expect::CopyEnd
                | Expect::Ours(_)
                | Expect::Aside => {}
            }
            self.expected.pop_front();
        }
        self.batch = Batch::Skipped;
    }

    /// The server takes COPY data and ignores the Syncs that it was sent before their end.
    fn copy_begins(&mut self) {
        let mut ignored = 0;
        // Which of `pending` the Sync in hand ends; a Query's own comes before it.
        let ended = usize::from(self.expected.front() == Some(&Expect::Query));
        while self.expected.get(1) == Some(&Expect::Sync) {
            self.expected.remove(1);
            self.merge(ended);
            ignored += 1;
        }
        self.copy = CopyIn::Receiving { ignored };
        if self.expected.get(1) == Some(&Expect::CopyEnd) {
            self.expected.remove(1);
            self.copy = CopyIn::Ended { ignored };
        }
    }

    /// The end of request `index` is no end: it goes on with the next one.
    fn merge(&mut self, index: usize) {
        let Some(first) = self.pending.get(index).copied() else { return };
        if first.bare {
            self.pending.remove(index);
            return;
        }
        match self.pending.get(index + 1).copied() {
            Some(second) => {
                if let Some(request) = self.pending.get_mut(index) {
                    request.bytes_in += second.bytes_in;
                }
                self.pending.remove(index + 1);
            }
            None => self.batch = Batch::Open,
        }
    }
}

/// The state that a `ReadyForQuery` tells.
pub(super) fn transaction(body: &[u8]) -> TransactionState {
    match backend::ready_status(body) {
        Ok(b'T') => TransactionState::Open,
        Ok(b'E') => TransactionState::Failed,
        _ => TransactionState::Idle,
    }
}
