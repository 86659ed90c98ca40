//! What the server says: which request it answers, what it changes, and whether the client sees it.

use trace::{Micros, PinCause, TransactionState};
use wire::Piece;
use wire::backend::{self, Report, tag as reply};
use wire::frame::body;

use super::{Leased, Replies};
use crate::buffer::{Inbox, Outbox};
use crate::conversation::Shown;
use crate::pump::End;
use crate::regulate::block::Block;
use crate::regulate::talk::CatalogueUse;
use crate::settings::{APPLICATION_NAME, OUR_NAME};
use crate::statements::OUR_PREFIX;

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
        if self.talk.conversation.hears_description() && piece.tag != reply::ERROR_RESPONSE {
            let content = if piece.len == piece.total { content } else { &[] };
            self.hear_description(piece.tag, content);
        }
        if piece.tag == reply::ERROR_RESPONSE && !is_aside && self.talk.conversation.is_ahead() {
            let report = Report::read(content);
            if !report.is_fatal() {
                return self.refused_ahead(&report);
            }
        }
        let is_parsing = piece.tag == reply::ERROR_RESPONSE && self.talk.conversation.is_parsing();
        let heard = self
            .talk
            .conversation
            .answered(piece.tag, content, message.len(), now)
            .map_err(|_| End::ServerBroken(wire::Error::Malformed("order of answers")))?;
        self.note_changes();
        if is_aside {
            return Ok(self.hear_aside(piece, message));
        }
        if piece.tag == reply::ERROR_RESPONSE {
            self.failed(content, is_parsing);
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
        if piece.tag == reply::READY_FOR_QUERY
            && self.talk.catalogue == CatalogueUse::Changed
            && self.talk.conversation.transaction() == TransactionState::Idle
        {
            self.talk.catalogue = CatalogueUse::Unchanged;
            self.house.reaches.changed();
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

    /// A request of the client's has failed; in a `Parse` of its own, or elsewhere.
    fn failed(&mut self, content: &[u8], in_parse: bool) {
        let (report, statement) = (Report::read(content), self.talk.conversation.statement());
        self.transaction_ended(false);
        self.talk.residue.note_rollback();
        let undone = self.talk.conversation.take_undone();
        self.server.statements.undo(&undone);
        self.descriptions.drain(..undone.descriptions.min(self.descriptions.len()));
        self.refusals.drain(..undone.refusals.min(self.refusals.len()));
        self.talk.names.discard(undone.changes, in_parse);
        if self.talk.conversation.is_uncertain() {
            self.talk.pin(PinCause::Unknown, statement);
        }
        if report.is_fatal() {
            self.talk.hear_fatal();
        }
    }

    /// Notes the few commands that concern more than their own transaction.
    fn completed(&mut self, content: &[u8]) {
        let ddl: [&[u8]; 4] = [b"CREATE ", b"ALTER ", b"DROP ", b"DO\0"];
        if matches!(content, [b'C', b'R', ..] | [b'A' | b'D', ..])
            && ddl.iter().any(|tag| content.starts_with(tag))
        {
            self.talk.catalogue = CatalogueUse::Changed;
        }
        if content != b"DISCARD ALL\0" {
            return;
        }
        self.talk.residue.discarded();
    }

    /// The server refuses something: says whether the client sees its error, or puts in another.
    #[cold]
    pub(super) fn error(
        &mut self,
        piece: Piece,
        server: &mut Inbox,
        to_client: &mut Outbox,
        now: Micros,
    ) -> Result<Shown, End> {
        let other = self.other_error(piece, server.peek(piece.len));
        let message = other.as_deref().unwrap_or_else(|| server.peek(piece.len));
        let shown = self.reply(piece, message, now)?;
        match (other, shown) {
            (Some(message), Shown::Client) => {
                Replies(server, to_client).put(|out| out.extend_from_slice(&message));
                Ok(Shown::Nobody)
            }
            (_, shown) => Ok(shown),
        }
    }

    /// What the client sees in the place of an error: one of ours that was provoked by it, or the
    /// same with the client's name of a statement for ours. Gives the whole message.
    fn other_error(&self, piece: Piece, message: &[u8]) -> Option<Vec<u8>> {
        if self.talk.conversation.hears_aside() {
            return None;
        }
        let mut other = Vec::new();
        if self.talk.conversation.hears_refusal() {
            self.refusals.front()?.put_error(&mut other);
            return Some(other);
        }
        if piece.len < piece.total || !contains(message, OUR_PREFIX.as_bytes()) {
            return None;
        }
        wire::frame::put(&mut other, reply::ERROR_RESPONSE, |out| {
            for (field, text) in backend::fields(body(message)) {
                out.push(field);
                let own = (field == b'M').then(|| String::from_utf8_lossy(text));
                match own.and_then(|text| self.with_own_name(&text)) {
                    Some(own) => wire::frame::put_text(out, own.as_bytes()),
                    None => wire::frame::put_text(out, text),
                }
            }
            out.push(0);
        });
        Some(other)
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

fn contains(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}
