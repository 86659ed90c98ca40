//! What the server says: which request it answers, what it changes, and whether the client sees it.

use trace::{Micros, PinCause, SqlState};
use wire::Piece;
use wire::backend::{self, Report, tag as reply};
use wire::frame::body;

use super::Leased;
use crate::buffer::Inbox;
use crate::conversation::Shown;
use crate::pump::End;
use crate::regulate::block::Block;
use crate::settings::{APPLICATION_NAME, OUR_NAME};

impl Leased<'_> {
    /// Judges the beginning of a server's message, or all of it; says whether the client sees it.
    pub(super) fn reply(
        &mut self,
        piece: Piece,
        message: &[u8],
        now: Micros,
    ) -> Result<Shown, End> {
        let content = body(message);
        let is_aside = self.talk.conversation.hears_aside();
        if piece.tag == reply::ERROR_RESPONSE && !is_aside && self.talk.conversation.is_ahead() {
            let report = Report::read(content);
            if !report.is_fatal() {
                return self.refused_ahead(&report);
            }
        }
        let heard = self
            .talk
            .conversation
            .answered(piece.tag, content, message.len(), now)
            .map_err(|_| End::ServerBroken(wire::Error::Malformed("order of answers")))?;
        if is_aside {
            return Ok(self.hear_aside(piece, message));
        }
        if piece.tag == reply::ERROR_RESPONSE {
            self.failed(content);
        }
        if let Some((target, key)) = self.soon
            && self.talk.block == Block::Closed
            && !self.talk.conversation.is_ahead()
        {
            target.attach(key);
            self.soon = None;
        }
        if piece.tag == reply::COMMAND_COMPLETE {
            self.completed(content);
        }
        if piece.tag == reply::PARAMETER_STATUS
            && let Ok((name, value)) = backend::parameter(content)
        {
            return Ok(self.reported(name, value));
        }
        if let Some(request) = heard.done {
            self.note_statement(request.statement);
            self.talk.journal.request(request);
        }
        if piece.tag == reply::NOTIFICATION_RESPONSE && self.is_heard_elsewhere(content) {
            return Ok(Shown::Nobody);
        }
        Ok(heard.shown)
    }

    /// Lets through at once what needs no judging: most of what servers say is rows.
    pub(super) fn pass_bulk(&self, server: &mut Inbox) -> usize {
        // What was sent ahead may be answered just now.
        if self.soon.is_some() {
            return 0;
        }
        server.pass_run(|tag| self.talk.conversation.is_bulk(tag))
    }

    /// A request of the client's has failed.
    fn failed(&mut self, content: &[u8]) {
        let (report, statement) = (Report::read(content), self.talk.conversation.statement());
        self.transaction_ended(false);
        if report.code == SqlState::FEATURE_NOT_SUPPORTED.0 {
            self.mind_stale_plan(content, statement);
        }
        self.talk.residue.note_rollback();
        self.server.statements.undo(&self.talk.conversation.take_undone());
        if self.talk.conversation.is_uncertain() {
            self.talk.pin(PinCause::Unknown, statement);
        }
        if report.is_fatal() {
            self.talk.hear_fatal();
        }
    }

    /// Minds the few commands that clear things up.
    fn completed(&mut self, content: &[u8]) {
        if !matches!(content, b"DISCARD ALL\0" | b"DEALLOCATE ALL\0") {
            return;
        }
        if !self.talk.conversation.is_preparing() {
            self.talk.names.clear();
        }
        if content == b"DISCARD ALL\0" {
            self.talk.residue.discarded();
        }
    }

    /// The server says that a setting has changed.
    fn reported(&mut self, name: &[u8], value: &[u8]) -> Shown {
        self.hear_parameter(name, value);
        if name == APPLICATION_NAME && value == OUR_NAME {
            return Shown::Nobody;
        }
        let registry = &self.house.settings;
        self.talk.told = registry.reported_with(&self.talk.told, name, value);
        self.talk.residue.note_report(name);
        Shown::Client
    }
}
