//! Whether anything executes: an open transaction of which nothing does takes no place from others.

use trace::{Fingerprint, Micros, TransactionState};

use super::Leased;
use crate::gate::Last;

impl Leased<'_> {
    /// What the session did last with its lease.
    pub(in crate::regulate) fn last(&self) -> Last {
        self.last
    }

    /// A request is answered; of several at once the first counts.
    pub(super) fn note_statement(&mut self, statement: Fingerprint) {
        if self.last.statement == Fingerprint::NONE {
            self.last.statement = statement;
        }
    }

    /// The client was heard.
    pub(super) fn note_work(&mut self, now: Micros) {
        if self.is_resting && self.talk.conversation.is_anything_due() {
            self.is_resting = false;
            self.last.statement = Fingerprint::NONE;
            self.lease.works(now);
        }
    }

    /// All is sent that there is to send, and the lease is kept. A batch may be left without its
    /// `Sync` for long, with all of it answered: asyncpg prepares by `Parse`, `Describe`, `Flush`.
    pub(super) fn note_rest(&mut self) {
        let conversation = &self.talk.conversation;
        if !self.is_resting && !conversation.is_anything_due() {
            self.is_resting = true;
            let is_within = conversation.transaction() != TransactionState::Idle
                || !conversation.is_between_batches();
            self.lease.rests(self.last, is_within);
        }
    }
}
