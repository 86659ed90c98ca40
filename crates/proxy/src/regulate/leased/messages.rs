//! The client's messages that do not pass as they are: their statements have other names on the
//! server, or are not there yet.

use std::sync::Arc;

use sql::SessionEffect;
use trace::{Fingerprint, Outcome, PinCause, RequestKind};
use wire::backend;
use wire::frame::HEADER;
use wire::frontend::{self, BindHead, Parse, Target};

use super::{Fate, Leased, Repeat, Replies, malformed};
use crate::conversation::{Expect, OurReply, Shown, Times, Within};
use crate::journal::{Journal, Reading};
use crate::pump::End;
use crate::regulate::local::too_large;
use crate::regulate::talk::{PARSE_MAX, Place};
use crate::regulate::tidying::Tidying;
use crate::statements::{self, CLIENT_MAX, OnServer, Prepared, Room, StatementId};

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
        if is_whole && let Some((done, statement)) = self.talk.tidy_up(text, Place::OnServer) {
            self.repeat = Repeat::No;
            let status = self.talk.status();
            replies.put(|out| {
                backend::put_command_complete(out, done);
                backend::put_ready(out, status);
            });
            let (kind, ok) = (RequestKind::Simple, Outcome::Ok);
            self.talk.record_local(kind, statement, (content.len() + HEADER, done.len() + 12), ok);
            // `DISCARD ALL` has changed what the session's settings are.
            let mut inserted = std::mem::take(&mut self.talk.inserted);
            self.align(&mut inserted);
            self.talk.inserted = inserted;
            return Fate::Drop;
        }
        // "A simple Query message also destroys the unnamed statement."
        self.server.statements.unnamed = OnServer::Nobodys;
        self.talk.drop_unnamed();
        let reading = told.read(text, &self.talk.journal);
        self.mind_unlisten(text, reading.kind);
        self.talk.journal.mind_trace(text);
        if !is_whole {
            self.talk.pin(PinCause::Unknown, reading.fingerprint);
        }
        self.talk.mind(reading, text);
        // One name that is not ours concerns none of our statements.
        let is_one = || matches!(Tidying::read(text), Some(Tidying::One(_)));
        if reading.effects.has(SessionEffect::Deallocate) && !is_one() {
            self.server.statements.doubt();
        }
        self.talk.conversation.query(reading.fingerprint, times);
        Fate::Pass
    }

    pub(super) fn parse(&mut self, told: &Told<'_>, times: Times) -> Result<Fate, End> {
        let Told { content, is_whole, .. } = *told;
        if !is_whole {
            // The unnamed one may pass in pieces, since the session is pinned to where it goes.
            return if content.first() == Some(&0) {
                self.server.statements.unnamed = OnServer::Of(self.talk.drop_unnamed());
                self.talk.pin(PinCause::Unknown, Fingerprint::NONE);
                self.expect(Expect::Parse(None, Shown::Client), times);
                Ok(Fate::Pass)
            } else {
                Err(too_large("a statement is too long to be prepared", PARSE_MAX))
            };
        }
        let parse = Parse::read(content).map_err(|error| malformed(&error))?;
        self.talk.journal.mind_trace(parse.query);
        let rest = statements::content(content, &parse);
        if parse.name.is_empty() {
            let reading = told.read(parse.query, &self.talk.journal);
            let id = self.talk.set_unnamed(rest, reading);
            self.server.statements.unnamed = OnServer::Of(id);
            self.expect(Expect::Parse(None, Shown::Client), times);
            self.talk.conversation.name(reading.fingerprint);
            return Ok(Fate::Pass);
        }
        let (journal, meaning) = (&self.talk.journal, self.talk.settings.meaning());
        let statements = &self.house.statements;
        let prepared = statements.intern(rest, meaning, || told.read(parse.query, journal));
        if self.talk.residue.is_meaning_open() {
            self.server.statements.spoil(prepared.id);
        }
        if self.is_there(prepared.id) {
            self.expect(Expect::Ours(OurReply::ParseComplete), times);
        } else {
            self.prepare(&prepared, Shown::Client, times);
        }
        self.talk.conversation.name(prepared.reading.fingerprint);
        if !self.talk.keep(parse.name, prepared) {
            return Err(too_large("the session has too many prepared statements", CLIENT_MAX));
        }
        Ok(Fate::Drop)
    }

    pub(super) fn bind(&mut self, content: &[u8], total: usize, times: Times) -> Fate {
        // Names longer than PostgreSQL would ever keep: it will not know them.
        let Some(head) = BindHead::read(content) else {
            self.expect(Expect::Bind, times);
            return Fate::Pass;
        };
        if head.statement.is_empty() {
            self.bring_unnamed(times);
            self.expect(Expect::Bind, times);
            if let Some(unnamed) = self.talk.unnamed.take() {
                self.talk.conversation.name(unnamed.reading.fingerprint);
                self.mind(unnamed.reading, statements::text(&unnamed.content));
                self.talk.unnamed = Some(unnamed);
            }
            return Fate::Pass;
        }
        let Some(prepared) = self.bring_named(head.statement, times) else {
            self.expect(Expect::Bind, times);
            return Fate::Pass;
        };
        self.expect(Expect::Bind, times);
        self.talk.conversation.name(prepared.reading.fingerprint);
        self.mind(prepared.reading, prepared.text());
        head.put_renamed(&mut self.talk.inserted, total, &prepared.name);
        Fate::Behead(HEADER + head.len)
    }

    pub(super) fn describe(&mut self, target: Target<'_>, times: Times) -> Fate {
        let Target::Statement(name) = target else {
            self.expect(Expect::Describe, times);
            return Fate::Pass;
        };
        if name.is_empty() {
            self.bring_unnamed(times);
        } else if let Some(prepared) = self.bring_named(name, times) {
            self.expect(Expect::Describe, times);
            self.talk.conversation.name(prepared.reading.fingerprint);
            Target::Statement(&prepared.name).put_describe(&mut self.talk.inserted);
            return Fate::Drop;
        }
        self.expect(Expect::Describe, times);
        Fate::Pass
    }

    pub(super) fn close(&mut self, target: Target<'_>, times: Times) -> Fate {
        match target {
            Target::Portal(_) => {}
            Target::Statement([]) => {
                self.talk.drop_unnamed();
                self.server.statements.unnamed = OnServer::Nobodys;
            }
            Target::Statement(name) => {
                // The statement stays on the server, for whoever else has it.
                self.talk.names.remove(name);
                self.expect(Expect::Ours(OurReply::CloseComplete), times);
                return Fate::Drop;
            }
        }
        self.expect(Expect::Close(Shown::Client), times);
        Fate::Pass
    }

    fn expect(&mut self, expect: Expect, times: Times) {
        self.talk.conversation.extended(Some(expect), times);
    }

    /// Whether the server will have a statement when it comes to what the client says now. One
    /// that is being prepared in an earlier batch may fall to an error in that one, and counts as
    /// absent: it is prepared once more.
    fn is_there(&mut self, id: StatementId) -> bool {
        let statements = &mut self.server.statements;
        if !statements.has(id) {
            return false;
        }
        let conversation = &self.talk.conversation;
        if statements.is_unproven(id) && conversation.is_behind() {
            match conversation.preparing(Some(id)) {
                None => statements.proven(id),
                Some(Within::ThisBatch) => {}
                Some(Within::EarlierBatch) => {
                    statements.spoil(id);
                    return false;
                }
            }
        }
        true
    }

    /// Sees to it that the server has the session's statement of this name.
    fn bring_named(&mut self, name: &[u8], times: Times) -> Option<Arc<Prepared>> {
        let id = self.talk.names.get(name)?.id;
        let is_there = self.is_there(id);
        let named = self.talk.names.get_mut(name)?;
        if is_there {
            return Some(Arc::clone(named));
        }
        // Prepared now, it will mean what the session's present settings make of it.
        let meaning = self.talk.settings.meaning();
        if named.meaning != meaning {
            let reading = named.reading;
            *named = self.house.statements.intern(named.content(), meaning, || reading);
        }
        let prepared = Arc::clone(named);
        if !self.is_there(prepared.id) {
            self.prepare(&prepared, Shown::Nobody, times);
        }
        Some(prepared)
    }

    fn prepare(&mut self, prepared: &Prepared, shown: Shown, times: Times) {
        if self.talk.residue.is_meaning_open() {
            self.talk.tainted.push(prepared.id);
        }
        if let Room::Close(id) = self.server.statements.add(prepared.id) {
            id.put_close(&mut self.talk.inserted);
            self.expect(Expect::Close(Shown::Nobody), times);
        }
        prepared.put_parse(&mut self.talk.inserted);
        self.expect(Expect::Parse(Some(prepared.id), shown), times);
    }

    /// Sees to it that the server's unnamed statement is this session's: its own, or none. What an
    /// earlier batch does about it may fall to an error in that one, which would leave another
    /// session's, so then it is done once more.
    fn bring_unnamed(&mut self, times: Times) {
        let id = OnServer::Of(self.talk.unnamed_id());
        let on_server = self.server.statements.unnamed;
        let conversation = &self.talk.conversation;
        let is_behind = conversation.is_behind();
        if let Some(unnamed) = &self.talk.unnamed {
            let falls = || conversation.preparing(None) == Some(Within::EarlierBatch);
            if on_server != id || (is_behind && falls()) {
                statements::put_parse(&mut self.talk.inserted, b"", &unnamed.content);
                self.server.statements.unnamed = id;
                self.expect(Expect::Parse(None, Shown::Nobody), times);
            }
        } else if on_server != id && (on_server != OnServer::Nobodys || is_behind) {
            Target::Statement(b"").put_close(&mut self.talk.inserted);
            self.server.statements.unnamed = OnServer::Nobodys;
            self.expect(Expect::Close(Shown::Nobody), times);
        }
    }

    /// Minds what a statement that is about to run leaves behind.
    fn mind(&mut self, reading: Reading, text: &[u8]) {
        self.mind_unlisten(text, reading.kind);
        self.talk.mind(reading, text);
        if reading.effects.has(SessionEffect::Deallocate) {
            self.server.statements.doubt();
        }
    }
}
