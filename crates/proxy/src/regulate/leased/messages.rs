//! The client's messages that bring or name a statement.

use trace::{Fingerprint, Outcome, PinCause, RequestKind};
use wire::backend;
use wire::frame::HEADER;
use wire::frontend::{self, BindHead, Parse, Target};

use super::copies::Brought;
use super::{AsksAlong, Fate, Leased, Repeat, Replies};
use crate::conversation::{Expect, OurReply, Shown, Times};
use crate::journal::{Journal, Reading};
use crate::pump::End;
use crate::regulate::local::too_large;
use crate::regulate::talk::{PARSE_MAX, Place};
use crate::statements::{self, UnnamedOnServer};

/// A statement that may leave behind whatever a function may that is called by its number.
const LIKE_A_FUNCTION_CALL: &[u8] = b"DO ''";

/// The number of `set_config` in `pg_proc` (PostgreSQL's pg_proc.dat).
const SET_CONFIG: [u8; 4] = 2078_i32.to_be_bytes();

/// What a message tells that brings a statement's text.
pub(super) struct Told<'a> {
    pub(super) content: &'a [u8],
    /// Whether all of it is in hand.
    pub(super) is_whole: bool,
    /// The text's reading, if it was read before its turn.
    pub(super) foreseen: Option<Reading>,
}

impl Told<'_> {
    fn read(&self, text: &[u8], journal: &Journal) -> Reading {
        self.foreseen.unwrap_or_else(|| journal.read(text))
    }
}

impl Leased<'_> {
    pub(super) fn query(
        &mut self,
        told: &Told<'_>,
        replies: &mut Replies<'_>,
        times: Times,
    ) -> Fate {
        let Told { content, is_whole, .. } = *told;
        let text = frontend::text_head(content);
        if is_whole && !self.has_own_names() && self.tidy_up(text, content.len(), replies) {
            return Fate::Drop;
        }
        let reading = told.read(text, &self.talk.journal);
        if let Some(fate) = self.settle_sequences(reading, times) {
            return fate;
        }
        if !self.take_own_names(reading.effects, times) {
            return Fate::Hold;
        }
        self.note_sequences(reading);
        if !is_whole {
            self.talk.pin(PinCause::Unknown, reading.fingerprint);
        }
        // "A simple Query message also destroys the unnamed statement."
        self.server.statements.unnamed = UnnamedOnServer::Free;
        if self.talk.names.drop_unnamed_later() {
            self.talk.conversation.changes_name();
        }
        self.talk.journal.mind_trace(text);
        if self.concerns_session(reading) {
            self.note_statement_runs(reading, text);
        }
        self.talk.conversation.query(reading.fingerprint, times);
        self.talk.names.next_batch();
        Fate::Pass
    }

    /// A function call, which names its function by a number alone.
    pub(super) fn function(&mut self, content: &[u8], times: Times) -> Fate {
        let reading = self.talk.journal.read(LIKE_A_FUNCTION_CALL);
        if let Some(fate) = self.settle_sequences(reading, times) {
            return fate;
        }
        self.note_functions();
        self.note_statement_runs(reading, LIKE_A_FUNCTION_CALL);
        if content.starts_with(&SET_CONFIG) {
            // PostgreSQL lists no custom settings: it cannot be asked which one this was.
            self.talk.pin(PinCause::Set, reading.fingerprint);
        }
        self.talk.conversation.function(times);
        self.talk.names.next_batch();
        Fate::Pass
    }

    /// Answers a query that only throws away what is known here alone.
    fn tidy_up(&mut self, text: &[u8], len: usize, replies: &mut Replies<'_>) -> bool {
        let Some((done, statement)) = self.talk.tidy_up(text, Place::OnServer) else {
            return false;
        };
        self.repeat = Repeat::No;
        let status = self.talk.status();
        replies.put(|out| {
            backend::put_command_complete(out, done);
            backend::put_ready(out, status);
        });
        let (kind, ok) = (RequestKind::Simple, Outcome::Ok);
        self.talk.record_local(kind, statement, (len + HEADER, done.len() + 12), ok);
        // `DISCARD ALL` has changed what the session's settings are.
        let mut inserted = std::mem::take(&mut self.talk.inserted);
        self.align(&mut inserted);
        self.talk.inserted = inserted;
        true
    }

    pub(super) fn parse(&mut self, told: &Told<'_>, times: Times) -> Result<Fate, End> {
        let Told { content, is_whole, .. } = *told;
        if !is_whole {
            return self.parse_in_pieces(content, times);
        }
        let Ok(parse) = Parse::read(content) else {
            // PostgreSQL says what is wrong with it.
            self.expect(Expect::Parse(None, Shown::Client), times);
            return Ok(Fate::Pass);
        };
        if self.talk.names.is_open(parse.name) && !parse.name.is_empty() {
            return Ok(Fate::Hold);
        }
        let reading = told.read(parse.query, &self.talk.journal);
        if let Some(fate) = self.settle_sequences(reading, times) {
            return Ok(fate);
        }
        if !self.take_own_names(reading.effects, times) {
            return Ok(Fate::Hold);
        }
        self.talk.journal.mind_trace(parse.query);
        let rest = statements::content(content, &parse);
        if parse.name.is_empty() {
            let (session, _) = self.talk.who();
            let id = self.talk.names.set_unnamed_later(session, Some(rest), reading);
            self.server.statements.unnamed = UnnamedOnServer::Of(id);
            self.expect(Expect::Parse(None, Shown::Client), times);
            self.talk.conversation.changes_name();
            self.talk.conversation.name(reading.fingerprint);
            return Ok(Fate::Pass);
        }
        Ok(self.parse_named(&parse, rest, reading, times))
    }

    /// One that is too long to be held. The unnamed one may pass, since the session is pinned to
    /// where it goes.
    fn parse_in_pieces(&mut self, content: &[u8], times: Times) -> Result<Fate, End> {
        if content.first() != Some(&0) {
            return Err(too_large("a statement is too long to be prepared", PARSE_MAX));
        }
        let (session, _) = self.talk.who();
        let id = self.talk.names.set_unnamed_later(session, None, Reading::UNREAD);
        self.server.statements.unnamed = UnnamedOnServer::Of(id);
        self.talk.pin(PinCause::Unknown, Fingerprint::NONE);
        self.expect(Expect::Parse(None, Shown::Client), times);
        self.talk.conversation.changes_name();
        Ok(Fate::Pass)
    }

    pub(super) fn bind(&mut self, content: &[u8], total: usize, times: Times) -> Fate {
        // Names longer than PostgreSQL would ever keep: it will not know them.
        let Some(head) = BindHead::read(content) else {
            self.expect(Expect::Bind, times);
            return Fate::Pass;
        };
        if head.statement.is_empty() {
            return self.bind_unnamed(times);
        }
        let (reading, copy) = match self.bring_named(head.statement, times) {
            Brought::Copy(reading, copy) => (reading, Some(copy)),
            Brought::OwnName(reading) => (reading, None),
            Brought::Wait => return Fate::Hold,
            Brought::Refused => return Fate::Drop,
            Brought::Unknown => {
                self.expect(Expect::Bind, times);
                return Fate::Pass;
            }
        };
        if let Some(fate) = self.settle_sequences(reading, times) {
            return fate;
        }
        self.note_sequences(reading);
        self.expect(Expect::Bind, times);
        self.talk.conversation.name(reading.fingerprint);
        if self.concerns_session(reading)
            && let Some(statement) = self.talk.names.get(head.statement).cloned()
        {
            self.note_statement_runs(reading, statement.text());
        }
        match copy {
            Some(copy) => {
                head.put_renamed(&mut self.talk.inserted, total, copy.name.as_bytes());
                Fate::Behead(HEADER + head.len)
            }
            None => Fate::Pass,
        }
    }

    fn bind_unnamed(&mut self, times: Times) -> Fate {
        if !self.bring_unnamed(times) {
            return Fate::Hold;
        }
        let reading = self.talk.names.unnamed().map_or(Reading::UNREAD, |unnamed| unnamed.reading);
        if let Some(fate) = self.settle_sequences(reading, times) {
            return fate;
        }
        if !self.take_own_names(reading.effects, times) {
            return Fate::Hold;
        }
        self.note_sequences(reading);
        self.expect(Expect::Bind, times);
        let Some(unnamed) = self.talk.names.unnamed() else { return Fate::Pass };
        let content = unnamed.content.as_deref().filter(|_| self.concerns_session(reading));
        let text = content.map(|content| statements::text(content).to_vec());
        self.talk.conversation.name(reading.fingerprint);
        if let Some(text) = text {
            self.note_statement_runs(reading, &text);
        }
        Fate::Pass
    }

    pub(super) fn describe(&mut self, content: &[u8], times: Times) -> Fate {
        let Ok(Target::Statement(name)) = Target::read(content) else {
            // A portal; or PostgreSQL says what is wrong with it.
            self.expect(Expect::Describe(Shown::Client), times);
            return Fate::Pass;
        };
        if name.is_empty() {
            if !self.bring_unnamed(times) {
                return Fate::Hold;
            }
        } else {
            match self.bring_named(name, times) {
                Brought::Copy(reading, copy) => {
                    self.expect(Expect::Describe(Shown::Client), times);
                    self.talk.conversation.name(reading.fingerprint);
                    let target = Target::Statement(copy.name.as_bytes());
                    target.put_describe(&mut self.talk.inserted);
                    return Fate::Drop;
                }
                Brought::Wait => return Fate::Hold,
                Brought::Refused => return Fate::Drop,
                Brought::OwnName(_) | Brought::Unknown => {}
            }
        }
        self.expect(Expect::Describe(Shown::Client), times);
        Fate::Pass
    }

    pub(super) fn close(&mut self, content: &[u8], times: Times) -> Fate {
        match Target::read(content) {
            Ok(Target::Statement([])) => {
                if self.talk.names.drop_unnamed_later() {
                    self.talk.conversation.changes_name();
                }
                self.server.statements.unnamed = UnnamedOnServer::Free;
            }
            Ok(Target::Statement(name)) => {
                let is_ours = !self.has_own_names();
                if is_ours {
                    // The copy stays on the server, for others.
                    self.expect(Expect::Ours(OurReply::CloseComplete), times);
                } else {
                    self.expect(Expect::Close(None, Shown::Client), times);
                }
                self.talk.names.set_later(name, None);
                self.talk.conversation.changes_name();
                return if is_ours { Fate::Drop } else { Fate::Pass };
            }
            // PostgreSQL says what is wrong with it.
            Ok(Target::Portal(_)) | Err(_) => {}
        }
        self.expect(Expect::Close(None, Shown::Client), times);
        Fate::Pass
    }

    pub(super) fn expect(&mut self, expect: Expect, times: Times) {
        self.talk.conversation.extended(Some(expect), times);
    }

    /// Whether more must be done for a statement than to pass it on.
    fn concerns_session(&self, reading: Reading) -> bool {
        !reading.effects.is_empty()
            || matches!(reading.kind, sql::Kind::Rollback | sql::Kind::Savepoint)
            || self.talk.listening.is_some()
            || !self.talk.is_harmless(reading.fingerprint, self.house.reaches.version())
    }

    /// Notes what a statement that is about to run may leave behind.
    fn note_statement_runs(&mut self, reading: Reading, text: &[u8]) {
        self.mind_unlisten(text, reading.kind);
        if self.talk.mind(reading, text, &self.house.reaches) {
            self.note_functions();
        }
        // In the middle of a COPY the server takes no question.
        let may_copy = text.windows(4).any(|word| word.eq_ignore_ascii_case(b"copy"));
        self.asks_along = match self.asks_along {
            AsksAlong::No => AsksAlong::No,
            _ if may_copy || reading.kind == sql::Kind::Begin => AsksAlong::No,
            _ => AsksAlong::Yes,
        };
    }
}
