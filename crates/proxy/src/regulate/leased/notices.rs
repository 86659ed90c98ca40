//! What the server says that concerns more than the request at hand.

use trace::TransactionState;

use wire::backend;

use super::{Leased, Replies};
use crate::buffer::Outbox;

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

    /// The server is ready. Of a session that listens its client is not told so before all has
    /// arrived that was notified until now, its own notifications among them.
    pub(super) fn withholds_ready(&mut self) -> bool {
        let is_idle = self.talk.conversation.transaction() == TransactionState::Idle;
        if !is_idle || self.talk.listening.is_none() {
            return false;
        }
        self.transaction_ended(true);
        self.waits.ready_withheld = self.talk.listening.as_ref().is_some_and(|own| own.is_active());
        self.waits.ready_withheld
    }

    /// Waits for all that was notified until now, then tells the client that the server is ready.
    pub(in crate::regulate) async fn catch_up(&mut self, to_client: Option<&mut Outbox>) {
        if let Some(listening) = &self.talk.listening {
            listening.catch_up().await;
        }
        self.waits.ready_withheld = false;
        if let Some(outbox) = to_client {
            self.talk.deliver(outbox);
            backend::put_ready(outbox.bytes(), b'I');
        }
    }

    /// What was notified while the proxy itself asked something.
    pub(super) fn deliver_late(&mut self, replies: &mut Replies<'_>) {
        if self.talk.listening.is_some()
            && self.talk.conversation.is_quiet()
            && self.talk.conversation.transaction() == TransactionState::Idle
        {
            replies.0.settle(replies.1);
            self.talk.deliver(replies.1);
        }
    }

    /// Something was notified while the session holds its server connection.
    pub(in crate::regulate) fn tell_news(&self, to_client: Option<&mut Outbox>) {
        if let Some(outbox) = to_client.filter(|_| self.talk.conversation.is_quiet()) {
            self.talk.deliver(outbox);
        }
    }

    /// Whether a notification of the server's (the session is pinned and listens there too) comes
    /// by way of the listener anyway.
    pub(super) fn is_heard_elsewhere(&self, content: &[u8]) -> bool {
        let channel = content.get(4..).unwrap_or_default().split(|byte| *byte == 0).next();
        let own = self.talk.listening.as_ref();
        own.is_some_and(|own| channel.is_some_and(|channel| own.has(channel)))
    }
}
