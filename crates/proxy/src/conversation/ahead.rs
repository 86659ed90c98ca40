//! What the proxy sends ahead of a client's request, for itself: the client sees no answer to it.
//!
//! The request goes in the same write, before anybody knows how the server took what came ahead. So
//! that nothing of the client's can ever run without it, two things hold: what comes ahead has no
//! Sync of its own, so that after an error the server discards the request too; and what follows
//! the request is held back until all that came ahead was answered.

use trace::TransactionState;
use wire::backend::tag;

use super::server::{Heard, Unexpected, transaction};
use super::{Batch, Conversation, Expect, Shown};

impl Conversation {
    /// Something is sent ahead of the client's next request. Only while nothing is under way but
    /// asides.
    pub(crate) fn ahead(&mut self, expected: impl IntoIterator<Item = Expect>) {
        let before = self.expected.len();
        self.expected.extend(expected);
        self.ahead += self.expected.len() - before;
    }

    /// Whether not all that was sent ahead is answered.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// Whether what the client says must wait.
    #[inline]
    pub(crate) fn holds_back(&self) -> bool {
        self.is_ahead() && self.holds_back_behind()
    }

    fn holds_back_behind(&self) -> bool {
        let is_request_whole = self.batch == Batch::None && !self.pending.is_empty();
        // With a Sync of its own, an error in it would not keep the request from running.
        let has_sync = || {
            let ahead = self.expected.iter().skip_while(|expect| **expect == Expect::Aside);
            ahead.take(self.ahead).any(|expect| *expect == Expect::Sync)
        };
        is_request_whole || has_sync()
    }

    /// The server refused what was sent ahead; `true` if that was its purpose.
    pub(crate) fn failed_ahead(&mut self) -> bool {
        let is_meant = self.expected.front() == Some(&Expect::Failure);
        if is_meant {
            self.advance_ahead();
        }
        is_meant
    }

    fn advance_ahead(&mut self) {
        self.expected.pop_front();
        self.ahead -= 1;
    }

    /// The server answered something that was sent ahead.
    pub(super) fn answered_ahead(&mut self, tag: u8, body: &[u8]) -> Result<Heard, Unexpected> {
        match (tag, self.expected.front()) {
            (tag::PARSE_COMPLETE, Some(Expect::Parse(..)))
            | (tag::BIND_COMPLETE, Some(Expect::Bind))
            | (tag::CLOSE_COMPLETE, Some(Expect::Close(..))) => {}
            // What is executed ahead is a `BEGIN`, and no `ReadyForQuery` tells of it.
            (tag::COMMAND_COMPLETE, Some(Expect::Execute)) => {
                self.transaction = TransactionState::Open;
            }
            (tag::READY_FOR_QUERY, Some(Expect::Sync)) => self.transaction = transaction(body),
            _ => return Err(Unexpected),
        }
        self.advance_ahead();
        Ok(Heard { shown: Shown::Nobody, done: None })
    }
}
