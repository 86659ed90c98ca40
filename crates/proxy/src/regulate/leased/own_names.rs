//! Statements under the client's own names, for SQL that names them.
//!
//! `DEALLOCATE`, `EXECUTE` and the view `pg_prepared_statements` know statements by the
//! names that they have on the server. Before such SQL is run, all copies are closed and the
//! session's statements are prepared under their own names; names then pass as they are. When the
//! server connection is given back, PostgreSQL is asked which of them are left.

use std::sync::Arc;

use sql::{Effects, SessionEffect as Effect};
use trace::TransactionState;
use wire::frontend::{self, tag};

use super::Leased;
use super::asides::Aside;
use crate::conversation::{Expect, Shown, Times};
use crate::statements::{self, Statement, UnnamedOnServer};

/// Asks for the names that are left, then removes them.
const TAKE_BACK: &[u8] = b"SELECT name FROM pg_catalog.pg_prepared_statements; DEALLOCATE ALL";

/// Whether a statement with these effects knows statements by their names on the server.
fn needs_own_names(effects: Effects) -> bool {
    let named = [Effect::Prepare, Effect::Execute, Effect::Deallocate, Effect::ReadsStatementNames];
    named.into_iter().any(|effect| effects.has(effect))
}

impl Leased<'_> {
    /// Whether the session's statements are on the server under its own names.
    pub(super) fn has_own_names(&self) -> bool {
        self.own_names.is_some()
    }

    /// Before a statement with these effects is prepared or run: from now on the server knows the
    /// session's statements, and no others, by its own names. `false` if that must wait until the
    /// server has answered what came before in the same batch, which may fail.
    pub(super) fn take_own_names(&mut self, effects: Effects, times: Times) -> bool {
        let conversation = &self.talk.conversation;
        // In a failed transaction PostgreSQL refuses whatever needs them.
        let is_failed = conversation.transaction() == TransactionState::Failed;
        if !needs_own_names(effects) || self.has_own_names() || is_failed {
            return true;
        }
        if conversation.is_anything_due() {
            frontend::put_bare(&mut self.talk.inserted, tag::FLUSH);
            return false;
        }
        let is_between = conversation.is_quiet();
        let names = self.talk.names.iter();
        let named: Vec<(Box<[u8]>, Arc<Statement>)> =
            names.map(|(name, statement)| (name.into(), Arc::clone(statement))).collect();
        self.own_names = Some(Vec::new());
        for copy in self.server.statements.take_all() {
            copy.put_close(&mut self.talk.inserted);
            if !is_between {
                self.expect(Expect::Close(Some(copy), Shown::Nobody), times);
            }
        }
        for (name, statement) in named {
            statements::put_parse(&mut self.talk.inserted, &name, statement.content());
            if is_between {
                // Each for itself: one that PostgreSQL would refuse now leaves the others alone.
                self.end_aside();
            } else {
                self.expect(Expect::Parse(None, Shown::Nobody), times);
            }
        }
        if is_between {
            self.end_aside();
        }
        true
    }

    fn end_aside(&mut self) {
        frontend::put_bare(&mut self.talk.inserted, tag::SYNC);
        self.talk.conversation.aside();
        self.asides.push_back(Aside::Prepare);
    }

    /// Nothing holds the session to the server connection: asks which of its names are left there.
    /// `true` if they are under way.
    pub(super) fn give_own_names_back(&mut self, out: &mut Vec<u8>) -> bool {
        if self.own_names.is_none() {
            return false;
        }
        let is_asked = self.asides.iter().any(|aside| matches!(aside, Aside::NamesLeft));
        if !is_asked {
            self.say(out, TAKE_BACK, Aside::NamesLeft);
        }
        true
    }

    /// A name that is left.
    pub(super) fn hear_name_left(&mut self, name: &[u8]) {
        if let Some(left) = &mut self.own_names {
            left.push(name.into());
        }
    }

    /// All names that are left were told, and are gone from the server.
    pub(super) fn own_names_given_back(&mut self) {
        let left = self.own_names.take().unwrap_or_default();
        self.talk.names.retain(|name| left.iter().any(|one| **one == *name));
        self.server.statements.clear();
        self.server.statements.unnamed = UnnamedOnServer::Free;
    }
}
