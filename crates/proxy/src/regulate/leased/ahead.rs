//! A transaction block that existed here only is opened on the server, ahead of the request.

use std::sync::Arc;

use trace::SqlState;
use wire::backend::Report;
use wire::frontend::{self, Execute, Target, tag};

use super::{Leased, Replies};
use crate::answer::Answer;
use crate::conversation::{Expect, Shown};
use crate::pump::End;
use crate::regulate::block::Block;
use crate::regulate::plain::Begin;
use crate::settings::Meaning;
use crate::statements::{Prepared, Room};

/// A statement that no server connection has. Whoever binds it gets an error.
const NO_STATEMENT: &[u8] = b"surgetank_refused";

impl Leased<'_> {
    /// Sends `BEGIN`, if it was deferred; and if the block has failed meanwhile, makes it fail
    /// there too, so that PostgreSQL itself judges what is still allowed in it.
    ///
    /// By the extended protocol, so that an error keeps the client's request from running. The
    /// portal is closed, since the client's own may not exist.
    pub(super) fn open_block(&mut self, out: &mut Vec<u8>) {
        let (begin, has_failed) = match std::mem::take(&mut self.talk.block) {
            Block::Closed => return,
            Block::Deferred(begin) => (begin, false),
            Block::Failed(begin) => (begin, true),
        };
        let prepared = self.prepared_begin(begin);
        let conversation = &mut self.talk.conversation;
        if !self.server.statements.has(prepared.id) {
            if let Room::Close(id) = self.server.statements.add(prepared.id) {
                id.put_close(out);
                conversation.ahead([Expect::Close(Shown::Nobody)]);
            }
            prepared.put_parse(out);
            conversation.ahead([Expect::Parse(Some(prepared.id), Shown::Nobody)]);
        }
        frontend::put_bind(out, &prepared.name);
        Execute { portal: b"", max_rows: 0 }.put(out);
        Target::Portal(b"").put_close(out);
        conversation.ahead([Expect::Bind, Expect::Execute, Expect::Close(Shown::Nobody)]);
        if has_failed {
            frontend::put_bind(out, NO_STATEMENT);
            frontend::put_bare(out, tag::SYNC);
            conversation.ahead([Expect::Failure, Expect::Sync]);
        }
    }

    /// Gives the replies of our own whose turn has come.
    pub(super) fn take_turns(&mut self, replies: &mut Replies<'_>) {
        while let Some(reply) = self.talk.conversation.our_turn() {
            replies.put(|out| reply.put(out));
        }
    }

    fn prepared_begin(&mut self, begin: Begin) -> Arc<Prepared> {
        if let Some((known, prepared)) = &self.talk.begin
            && *known == begin
        {
            return Arc::clone(prepared);
        }
        let text = begin.text();
        // The text, its end, and no parameter types.
        let content = [text.as_bytes(), &[0, 0, 0]].concat();
        let journal = &self.talk.journal;
        let read = || journal.read(text.as_bytes());
        let prepared = self.house.statements.intern(&content, Meaning::default(), read);
        self.talk.begin = Some((begin, Arc::clone(&prepared)));
        prepared
    }

    /// The server refused something. If that was sent ahead, the client's request did not run and
    /// its transaction does not exist: the session cannot go on as if it did.
    pub(super) fn refused_ahead(&mut self, report: &Report<'_>) -> Result<Shown, End> {
        if self.talk.conversation.failed_ahead() {
            return Ok(Shown::Nobody);
        }
        let code = SqlState::from_bytes(report.code).unwrap_or(SqlState::CONNECTION_FAILURE);
        let words = String::from_utf8_lossy(report.message);
        let text = format!("surgetank: the transaction could not be begun: {words}");
        Err(End::dismissed(Answer::new(code, text)))
    }
}
