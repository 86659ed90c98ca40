//! A transaction block that no server knows of.
//!
//! ```text
//!            BEGIN                   COMMIT, ROLLBACK
//!   Closed ────────▶ Deferred ──────────────────────────▶ Closed
//!                       │ │ a request is refused                ▲
//!                       │ └───────────────▶ Failed ─────────────┤ COMMIT, ROLLBACK
//!                       │ any other request   │ any other       │
//!                       ▼                     ▼                 │
//!                   the block is opened on a server connection, ahead of the request
//! ```
//!
//! A `BEGIN` is answered here and sent ahead of the first request that needs a server, in the same
//! write: a client that thinks between the two holds no server connection meanwhile. What it sees
//! differs in one point from a `BEGIN` that PostgreSQL heard at once: `now()` is the time of the
//! first request.

use trace::{Fingerprint, TransactionState};

use super::plain::{Begin, Plain};
use super::talk::{Mail, Place, Talk};
use crate::buffer::Outbox;

/// The answer to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// `CommandComplete`.
    Command(&'static [u8]),
    /// `EmptyQueryResponse`.
    Nothing,
}

/// What of the session's transaction block exists here only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Block {
    /// Nothing: what there is is on the server.
    #[default]
    Closed,
    /// It has begun.
    Deferred(Begin),
    /// It has begun, and its first request was refused.
    Failed(Begin),
}

impl Talk {
    /// Does what a simple query asks for where that needs no server connection, while none is held.
    /// An empty query outside of a block is none of these: pools ask it to see that the server is
    /// there.
    pub(super) fn answer(&mut self, text: &[u8]) -> Option<(Done, Fingerprint)> {
        if let Some((command, statement)) = self.tidy_up(text, Place::WithoutServer) {
            return Some((Done::Command(command), statement));
        }
        let plain = Plain::read(text)?;
        if let Plain::Unlisten(channel) = &plain {
            self.unlisten(channel.as_deref())?;
        }
        let (block, done) = match (plain, self.block) {
            (Plain::Unlisten(_), block) => (block, Done::Command(b"UNLISTEN")),
            (Plain::Empty, block @ (Block::Deferred(_) | Block::Failed(_))) => {
                (block, Done::Nothing)
            }
            (Plain::Begin(begin), Block::Closed) => {
                (Block::Deferred(begin), Done::Command(begin.command()))
            }
            (Plain::Commit, Block::Deferred(_)) => (Block::Closed, Done::Command(b"COMMIT")),
            (Plain::Rollback, Block::Deferred(_))
            | (Plain::Commit | Plain::Rollback, Block::Failed(_)) => {
                (Block::Closed, Done::Command(b"ROLLBACK"))
            }
            // PostgreSQL has a warning or an error for these.
            (Plain::Listen(_), _)
            | (Plain::Empty, Block::Closed)
            | (Plain::Begin(_), Block::Deferred(_) | Block::Failed(_))
            | (Plain::Commit | Plain::Rollback, Block::Closed) => return None,
        };
        self.block = block;
        // "A simple Query message also destroys the unnamed statement."
        self.names.drop_unnamed();
        Some((done, self.journal.read(text).fingerprint))
    }

    /// Whether a query may leave a channel of which something is still on its way: PostgreSQL would
    /// have told it already. Asked again after the wait, it says no.
    pub(super) fn needs_news(&mut self, text: &[u8]) -> bool {
        if std::mem::take(&mut self.mail) == Mail::AllHere {
            return false;
        }
        let is_active = self.listening.as_ref().is_some_and(|own| own.is_active());
        let leaves =
            |word: &[u8]| text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
        is_active && (leaves(b"unlisten") || leaves(b"discard"))
    }

    /// Leaves what the session listens to, if that is known here alone; else the server must hear
    /// it too.
    fn unlisten(&mut self, channel: Option<&[u8]>) -> Option<()> {
        if self.block != Block::Closed {
            return None;
        }
        match (&mut self.listening, channel) {
            (Some(own), Some(channel)) if own.has(channel) => own.leave(Some(channel)),
            // The server knows better how to read a name.
            (_, Some(_)) => return None,
            (Some(own), None) => own.leave(None),
            (None, None) => {}
        }
        Some(())
    }

    /// Hands out notifications, if the client may hear them now.
    pub(super) fn deliver(&self, outbox: &mut Outbox) {
        if let Some(own) = &self.listening
            && self.transaction() == TransactionState::Idle
        {
            own.empty_into(outbox);
        }
    }

    /// A request was refused: in a transaction block that is an error like any other.
    pub(super) fn fail_block(&mut self) {
        if let Block::Deferred(begin) = self.block {
            self.block = Block::Failed(begin);
        }
    }

    /// The transaction as the client knows it.
    pub(super) fn transaction(&self) -> TransactionState {
        match self.block {
            Block::Closed => self.conversation.transaction(),
            Block::Deferred(_) => TransactionState::Open,
            Block::Failed(_) => TransactionState::Failed,
        }
    }

    /// The transaction status that a `ReadyForQuery` tells now.
    pub(super) fn status(&self) -> u8 {
        match self.transaction() {
            TransactionState::Idle => b'I',
            TransactionState::Open => b'T',
            TransactionState::Failed => b'E',
        }
    }
}
