//! What a session has said so far that matters beyond its server connection of the moment.

use std::collections::HashMap;
use std::sync::Arc;

use trace::{
    BackendPid, DynoId, Event, Fingerprint, Micros, Outcome, PinCause, Request, RequestKind,
    SessionId, TransactionState,
};
use wire::frontend::{self, BindHead, Parse};

use crate::conversation::{Conversation, Times};
use crate::journal::{Reading, Scribe};
use crate::statements::{OUR_PREFIX, Prepared, UnnamedId};

/// Longest simple query that is read whole. A longer one is relayed in pieces, and the session is
/// pinned, since nobody has read what it does to its session.
pub(super) const QUERY_MAX: usize = 1 << 20;

/// Longest `Parse` that is held whole, as it must be to be prepared elsewhere.
pub(super) const PARSE_MAX: usize = 16 << 20;

/// The session's unnamed statement.
#[derive(Debug)]
pub(super) struct Unnamed {
    /// What follows the name in its `Parse`.
    pub(super) content: Vec<u8>,
    pub(super) reading: Reading,
}

/// Whether the session gives its server connection back after a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// It does.
    Loose,
    /// It has left something behind in it.
    Pinned,
}

/// A session's side of the conversation.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) conversation: Conversation,
    pub(super) journal: Scribe,
    /// Its named statements.
    pub(super) names: HashMap<Box<[u8]>, Arc<Prepared>>,
    pub(super) unnamed: Option<Unnamed>,
    unnamed_number: u64,
    pub(super) tie: Tie,
    /// A request was refused: the rest of its batch is not heard.
    pub(super) refusing: bool,
    fatal: bool,
    /// When the request came that got the present server connection.
    arrived: Option<Micros>,
    assigned: Micros,
    /// What goes to the server before the message at hand; kept for its memory.
    pub(super) inserted: Vec<u8>,
}

impl Talk {
    pub(super) fn new(conversation: Conversation, journal: Scribe) -> Self {
        Self {
            conversation,
            journal,
            names: HashMap::new(),
            unnamed: None,
            unnamed_number: 0,
            tie: Tie::Loose,
            refusing: false,
            fatal: false,
            arrived: None,
            assigned: Micros::ZERO,
            inserted: Vec::new(),
        }
    }

    pub(super) fn who(&self) -> (SessionId, DynoId) {
        (self.conversation.session(), self.conversation.dyno())
    }

    /// A request has come that needs a server connection.
    pub(super) fn arrives(&mut self, at: Micros) {
        self.arrived = Some(at);
    }

    /// The session has a server connection.
    pub(super) fn assigned(&mut self, backend: BackendPid, at: Micros) {
        self.assigned = at;
        self.conversation.set_backend(backend);
        self.journal.card.holds(backend, self.assigned);
    }

    /// Since when the session waits for a server connection, if it does.
    pub(super) fn waits_since(&self) -> Micros {
        self.arrived.unwrap_or_else(|| self.journal.now())
    }

    /// Since when it has its present server connection.
    pub(super) fn assigned_at(&self) -> Micros {
        self.assigned
    }

    /// The times of a message that is judged now.
    pub(super) fn times(&mut self, now: Micros) -> Times {
        let arrived = self.arrived.take().unwrap_or(now);
        let assigned = self.assigned.max(arrived);
        Times { arrived, assigned, sent: now.max(assigned) }
    }

    /// Whether nothing is under way on the server.
    pub(super) fn is_quiet(&self) -> bool {
        self.conversation.is_quiet()
    }

    /// The server has said that it ends the connection.
    pub(super) fn hear_fatal(&mut self) {
        self.fatal = true;
    }

    pub(super) fn heard_fatal(&self) -> bool {
        self.fatal
    }

    /// Records what was never answered.
    pub(super) fn give_up(&mut self, outcome: Outcome) {
        while let Some(request) = self.conversation.give_up(outcome, self.journal.now()) {
            self.journal.request(request);
        }
    }

    /// From now on the session keeps its server connection.
    pub(super) fn pin(&mut self, cause: PinCause, statement: Fingerprint) {
        if self.tie == Tie::Pinned {
            return;
        }
        self.tie = Tie::Pinned;
        let (at, session) = (self.journal.now(), self.conversation.session());
        self.journal.record(Event::SessionPinned { at, session, cause, statement });
    }

    /// A new unnamed statement; gives its identity.
    pub(super) fn set_unnamed(&mut self, content: &[u8], reading: Reading) -> UnnamedId {
        self.unnamed_number += 1;
        match &mut self.unnamed {
            Some(unnamed) => {
                unnamed.content.clear();
                unnamed.content.extend_from_slice(content);
                unnamed.reading = reading;
            }
            None => self.unnamed = Some(Unnamed { content: content.to_vec(), reading }),
        }
        self.unnamed_id()
    }

    /// The unnamed statement is gone, wherever it was; gives the identity of the one that passes
    /// unread, if one does.
    pub(super) fn drop_unnamed(&mut self) -> UnnamedId {
        self.unnamed_number += 1;
        self.unnamed = None;
        self.unnamed_id()
    }

    /// The identity of the present unnamed statement.
    pub(super) fn unnamed_id(&self) -> UnnamedId {
        UnnamedId { session: self.conversation.session(), number: self.unnamed_number }
    }

    /// The statement that a message names or contains, for the record of a request that gets no
    /// further.
    pub(super) fn statement_of(&self, tag: u8, body: &[u8]) -> Fingerprint {
        match tag {
            frontend::tag::QUERY => self.journal.read(frontend::text_head(body)).fingerprint,
            frontend::tag::PARSE => Parse::read(body)
                .map_or(Fingerprint::NONE, |parse| self.journal.read(parse.query).fingerprint),
            frontend::tag::BIND => match BindHead::read(body) {
                Some(head) if head.statement.is_empty() => {
                    self.unnamed.as_ref().map_or(Fingerprint::NONE, |u| u.reading.fingerprint)
                }
                Some(head) => self
                    .names
                    .get(head.statement)
                    .map_or(Fingerprint::NONE, |prepared| prepared.reading.fingerprint),
                None => Fingerprint::NONE,
            },
            _ => Fingerprint::NONE,
        }
    }

    /// Records a request that was not relayed, and is over now. One that failed waited for a server
    /// connection until its end.
    pub(super) fn record_local(
        &mut self,
        kind: RequestKind,
        statement: Fingerprint,
        (bytes_in, bytes_out): (usize, usize),
        outcome: Outcome,
    ) {
        let now = self.journal.now();
        let arrived = self.arrived.take().unwrap_or(now);
        let assigned = if outcome.is_ok() { self.assigned.max(arrived) } else { now };
        let bytes = |count| u32::try_from(count).unwrap_or(u32::MAX);
        self.journal.request(Request {
            session: self.conversation.session(),
            dyno: self.conversation.dyno(),
            kind,
            statement,
            backend: BackendPid::NONE,
            arrived,
            assigned,
            sent: assigned,
            first_byte: now,
            done: now,
            bytes_in: bytes(bytes_in),
            bytes_out: bytes(bytes_out),
            rows: 0,
            outcome,
            blame: outcome.blame(),
            transaction: self.conversation.transaction(),
        });
    }

    /// Does what `DEALLOCATE` and `DISCARD ALL` ask for where they concern only the session's
    /// names, which the server does not know by these names; gives the command tag to answer with.
    ///
    /// Not while answers are due, nor in a failed transaction, where the server must refuse.
    pub(super) fn tidy_up(&mut self, text: &[u8]) -> Option<(&'static [u8], Fingerprint)> {
        let state = self.conversation.transaction();
        if !self.conversation.is_quiet() || state == TransactionState::Failed {
            return None;
        }
        let done: &[u8] = match Tidying::read(text)? {
            Tidying::One(name) => {
                self.names.remove(name.as_bytes())?;
                b"DEALLOCATE"
            }
            // A pinned session has more in its server connection than names.
            Tidying::AllStatements | Tidying::Everything if self.tie == Tie::Pinned => return None,
            // Refused in a transaction block: the server says so.
            Tidying::Everything if state != TransactionState::Idle => return None,
            Tidying::AllStatements => {
                self.forget_all();
                b"DEALLOCATE ALL"
            }
            Tidying::Everything => {
                self.forget_all();
                b"DISCARD ALL"
            }
        };
        Some((done, self.journal.read(text).fingerprint))
    }

    fn forget_all(&mut self) {
        self.names.clear();
        self.drop_unnamed();
    }
}

/// A statement that does nothing but throw prepared statements away, or all that a session left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tidying {
    /// `DEALLOCATE name`.
    One(String),
    /// `DEALLOCATE ALL`.
    AllStatements,
    /// `DISCARD ALL`.
    Everything,
}

impl Tidying {
    /// Reads a statement; nothing if it is another, or more than one, or oddly written.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        // Few statements begin so; the others are not looked at.
        if !matches!(text.trim_ascii_start().first(), Some(b'd' | b'D')) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.trim_ascii().trim_end_matches(';');
        let is = |word: &str, keyword: &str| word.eq_ignore_ascii_case(keyword);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words.as_slice() {
            [discard, all] if is(discard, "discard") && is(all, "all") => Some(Self::Everything),
            [deallocate, name] if is(deallocate, "deallocate") => Self::of_name(name),
            [deallocate, prepare, name]
                if is(deallocate, "deallocate") && is(prepare, "prepare") =>
            {
                Self::of_name(name)
            }
            _ => None,
        }
    }

    fn of_name(identifier: &str) -> Option<Self> {
        if identifier.eq_ignore_ascii_case("all") {
            return Some(Self::AllStatements);
        }
        let name = match identifier.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => identifier.to_ascii_lowercase(),
        };
        let is_one = !identifier.contains(';') && !name.starts_with(OUR_PREFIX);
        is_one.then_some(Self::One(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_only_tidy_up() {
        let one = |name: &str| Some(Tidying::One(name.to_owned()));
        let cases = [
            ("DEALLOCATE x", one("x")),
            (" deallocate PREPARE Xy ; ", one("xy")),
            ("DEALLOCATE \"X\"\"y\"", one("X\"y")),
            ("DEALLOCATE ALL;", Some(Tidying::AllStatements)),
            ("deallocate prepare all", Some(Tidying::AllStatements)),
            ("DISCARD ALL", Some(Tidying::Everything)),
            ("DISCARD PLANS", None),
            ("DELETE FROM t", None),
            ("DEALLOCATE a; DEALLOCATE ALL", None),
            ("DEALLOCATE a;b", None),
            ("DEALLOCATE surgetank_1", None),
            ("SELECT 1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Tidying::read(text.as_bytes()), expected, "{text}");
        }
    }
}
