//! `lastval` and `currval`: the session's own numbers, or none.

use sql::SessionEffect;
use trace::{SqlState, TransactionState};
use wire::frontend::{self, tag};

use super::asides::Aside;
use super::{Fate, Leased};
use crate::answer::Answer;
use crate::conversation::Times;
use crate::journal::Reading;
use crate::pool::Need;
use crate::sequences::Owner;

/// Makes the server connection forget what `lastval` and `currval` say, in a transaction too.
const FORGET: &[u8] = b"DISCARD SEQUENCES";

impl Leased<'_> {
    /// Before a statement is prepared or run: sees to it that it can read no other session's
    /// numbers. Gives what becomes of the message if it is not passed on now.
    pub(super) fn settle_sequences(&mut self, reading: Reading, times: Times) -> Option<Fate> {
        let is_clear = self.server.sequences.is_clear();
        if is_clear || !self.reads_sequences(reading) {
            return None;
        }
        let owner = self.server.sequences.owner(&self.talk.sequences);
        let conversation = &self.talk.conversation;
        let transaction = conversation.transaction();
        if owner == Owner::Own || transaction == TransactionState::Failed {
            return None;
        }
        if !conversation.is_anything_due() && conversation.is_quiet() {
            let is_first = transaction == TransactionState::Idle && self.talk.residue.is_clean();
            if is_first && matches!(self.got, Need::Any | Need::OwnSettingsIfRoom) {
                self.needs = Some(Need::OwnSequences);
                return Some(Fate::Hold);
            }
            let mut inserted = std::mem::take(&mut self.talk.inserted);
            self.say(&mut inserted, FORGET, Aside::Prepare);
            self.talk.inserted = inserted;
            self.server.sequences.clear();
            return None;
        }
        if conversation.is_between_batches() {
            // What was sent ahead has no Sync of its own.
            frontend::put_bare(&mut self.talk.inserted, tag::FLUSH);
            return Some(Fate::Hold);
        }
        let text = "lastval is not yet defined in this session";
        let mut answer = Answer::new(SqlState(*b"55000"), text);
        "surgetank: ask for it in the batch that took the number, or in one of its own"
            .clone_into(&mut answer.hint);
        self.refuse(answer, times);
        Some(Fate::Drop)
    }

    fn reads_sequences(&self, reading: Reading) -> bool {
        let executes_reader = || {
            self.talk.names.iter().any(|(_, statement)| {
                // Of what was only prepared so far it is not known yet what it reaches.
                self.house.reaches.of(statement.reading.fingerprint, statement.text());
                self.reads_sequences_itself(statement.reading)
            })
        };
        self.reads_sequences_itself(reading)
            || (reading.effects.has(SessionEffect::Execute) && executes_reader())
    }

    fn reads_sequences_itself(&self, reading: Reading) -> bool {
        reading.effects.has(SessionEffect::SequenceRead)
            || (!self.talk.is_harmless(reading.fingerprint, self.house.reaches.version())
                && self.house.reaches.reads_sequences(reading.fingerprint))
    }

    /// A statement is run that reaches functions: they may take numbers.
    pub(super) fn note_functions(&mut self) {
        self.server.sequences.set(&self.talk.sequences);
    }

    /// A statement is run that may take numbers.
    pub(super) fn note_sequences(&mut self, reading: Reading) {
        if reading.kind.may_use_sequences() || reading.effects.has(SessionEffect::SequenceUse) {
            self.server.sequences.set(&self.talk.sequences);
        }
    }
}
