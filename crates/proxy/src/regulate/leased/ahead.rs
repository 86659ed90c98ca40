//! A transaction block that existed here only is opened on the server, ahead of the request.

use trace::SqlState;
use wire::backend::Report;
use wire::frontend::{self, Execute, Target, tag};

use super::copies::NO_STATEMENT;
use super::{Leased, Replies};
use crate::answer::Answer;
use crate::conversation::{Expect, Shown};
use crate::pump::End;
use crate::regulate::block::Block;
use crate::regulate::plain::Begin;
use crate::statements::{UnnamedOnServer, put_parse};

impl Leased<'_> {
    /// Sends `BEGIN`, if it was deferred; and if the block has failed meanwhile, makes it fail
    /// there too, so that PostgreSQL itself judges what is still allowed in it.
    ///
    /// By the extended protocol, so that an error keeps the client's request from running; without
    /// a name, so that the session sees no statement of ours. The portal is closed, since the
    /// client's own may not exist.
    pub(super) fn open_block(&mut self, out: &mut Vec<u8>) {
        let (begin, has_failed) = match std::mem::take(&mut self.talk.block) {
            Block::Closed => return,
            Block::Deferred(begin) => (begin, false),
            Block::Failed(begin) => (begin, true),
        };
        self.server.statements.unnamed = UnnamedOnServer::Unknown;
        put_parse(out, b"", self.content_of(begin));
        frontend::put_bind(out, b"");
        Execute { portal: b"", max_rows: 0 }.put(out);
        Target::Portal(b"").put_close(out);
        let conversation = &mut self.talk.conversation;
        conversation.ahead([
            Expect::Parse(None, Shown::Nobody),
            Expect::Bind,
            Expect::Execute,
            Expect::Close(None, Shown::Nobody),
        ]);
        if has_failed {
            frontend::put_bind(out, NO_STATEMENT);
            frontend::put_bare(out, tag::SYNC);
            conversation.ahead([Expect::Failure, Expect::Sync]);
        }
    }

    /// Gives the replies of our own whose turn has come.
    #[inline]
    pub(super) fn take_turns(&mut self, replies: &mut Replies<'_>) {
        if self.talk.conversation.is_our_turn() {
            self.give_replies(replies);
        }
    }

    fn give_replies(&mut self, replies: &mut Replies<'_>) {
        while let Some(reply) = self.talk.conversation.our_turn() {
            replies.put(|out| reply.put(out));
        }
        self.note_changes();
    }

    /// What follows the name in a `Parse` of the statement: the text, its end, no parameter types.
    fn content_of(&mut self, begin: Begin) -> &[u8] {
        let is_known = self.talk.begin.as_ref().is_some_and(|(known, _)| *known == begin);
        if !is_known {
            let content = [begin.text().as_bytes(), &[0, 0, 0]].concat();
            self.talk.begin = Some((begin, content.into()));
        }
        self.talk.begin.as_ref().map_or(&[], |(_, content)| content)
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
