//! What the server says that concerns more than the request at hand.

use trace::{Fingerprint, TransactionState};

use super::Leased;
use crate::buffer::{Inbox, Outbox};

impl Leased<'_> {
    /// The server hears this: it may end what the session listens to.
    pub(super) fn mind_unlisten(&mut self, text: &[u8], kind: sql::Kind) {
        let Some(own) = &mut self.talk.listening else { return };
        if kind == sql::Kind::Rollback {
            own.transaction_ended(false);
        } else if text.windows(8).any(|word| word.eq_ignore_ascii_case(b"unlisten")) {
            own.leave_later(text);
        }
    }

    pub(super) fn transaction_ended(&mut self, is_committed: bool) {
        if let Some(own) = &mut self.talk.listening {
            own.transaction_ended(is_committed);
        }
    }

    /// The client is about to be told that the server is ready: notifications come before that.
    pub(super) fn deliver(&mut self, server: &mut Inbox, to_client: &mut Outbox) {
        if self.talk.listening.is_none()
            || self.talk.conversation.transaction() != TransactionState::Idle
        {
            return;
        }
        self.transaction_ended(true);
        server.settle(to_client);
        self.talk.deliver(to_client);
    }

    /// 0A000 may be "cached plan must not change result type": a table has changed under a
    /// prepared statement, which can never be run again under its name. Its client prepares it
    /// again, as it must without a proxy, and must not be given the stale one. Where the server
    /// says that it is so (its message is translated, the function that raises it is not), it does
    /// not say for which statement: all that the session has are prepared anew here when they are
    /// needed next.
    pub(super) fn mind_stale_plan(&mut self, content: &[u8], statement: Fingerprint) {
        let raiser = b"RRevalidateCachedQuery\0";
        if content.windows(raiser.len()).any(|field| field == raiser) {
            for prepared in self.talk.names.values() {
                self.server.statements.spoil(prepared.id);
            }
        }
        self.house.statements.forget(statement);
    }

    /// Whether a notification of the server's (the session is pinned and listens there too) comes
    /// by way of the listener anyway.
    pub(super) fn is_heard_elsewhere(&self, content: &[u8]) -> bool {
        let channel = content.get(4..).unwrap_or_default().split(|byte| *byte == 0).next();
        let own = self.talk.listening.as_ref();
        own.is_some_and(|own| channel.is_some_and(|channel| own.has(channel)))
    }
}
