//! A session's prepared statements by name.
//!
//! A `Parse` or `Close` counts only once the server has come to it: behind an error it is discarded
//! with the rest of its batch, and a name means what it meant before. So changes wait until they
//! are answered; what the client says next within the same batch sees them already, since an error
//! before would discard that, too.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use trace::SessionId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::journal::Reading;
use crate::statements::{CLIENT_STATEMENTS_MAX, Statement, UnnamedId, kept_name};

/// A session's unnamed statement.
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) id: UnnamedId,
    /// What follows the name in its `Parse`; nothing if that passed unread.
    pub(super) content: Option<Vec<u8>>,
    pub(super) reading: Reading,
}

/// What becomes of a name.
#[derive(Debug)]
enum Change {
    Named(Box<[u8]>, Option<Arc<Statement>>),
    Unnamed(Option<Unnamed>),
}

/// A change that the server has not come to yet.
#[derive(Debug)]
struct Pending {
    change: Change,
    /// The batch in which the client said it.
    batch: u64,
}

/// Hashes names with a key of the session's own, which a client cannot know. What is hashed is
/// short, and each `Bind` of a named statement does it: the standard hasher takes longer.
#[derive(Clone, Debug)]
struct NameHashing(u64);

impl Default for NameHashing {
    fn default() -> Self {
        Self(rand::random())
    }
}

impl BuildHasher for NameHashing {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher(self.0)
    }
}

/// The hash of what was written so far.
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// The length of a slice: of equal names it is equal, of others the hash differs anyway.
    fn write_usize(&mut self, _: usize) {}
}

/// A session's prepared statements.
#[derive(Debug, Default)]
pub(super) struct Names {
    named: HashMap<Box<[u8]>, Arc<Statement>, NameHashing>,
    unnamed: Option<Unnamed>,
    /// How many `Parse`s without a name there were.
    unnamed_last: u64,
    pending: VecDeque<Pending>,
    /// The batch that the client speaks now.
    batch: u64,
    /// Memory for the next unnamed statement.
    spare: Vec<u8>,
}

impl Names {
    /// The statement of this name, if what is under way succeeds.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        let name = kept_name(name);
        if self.pending.is_empty() {
            return self.named.get(name);
        }
        for pending in self.pending.iter().rev() {
            match &pending.change {
                Change::Named(known, statement) if **known == *name => return statement.as_ref(),
                Change::Named(..) | Change::Unnamed(_) => {}
            }
        }
        self.named.get(name)
    }

    /// The unnamed statement, if what is under way succeeds.
    pub(super) fn unnamed(&self) -> Option<&Unnamed> {
        for pending in self.pending.iter().rev() {
            if let Change::Unnamed(unnamed) = &pending.change {
                return unnamed.as_ref();
            }
        }
        self.unnamed.as_ref()
    }

    /// Whether an earlier batch, which the server may yet discard, decides what this name means;
    /// the unnamed statement has the empty name.
    pub(super) fn is_open(&self, name: &[u8]) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let name = kept_name(name);
        self.pending.iter().any(|pending| {
            let is_same = match &pending.change {
                Change::Named(known, _) => **known == *name,
                Change::Unnamed(_) => name.is_empty(),
            };
            is_same && pending.batch != self.batch
        })
    }

    /// Whether there is room for another name.
    pub(super) fn has_room(&self) -> bool {
        self.named.len() + self.pending.len() < CLIENT_STATEMENTS_MAX
    }

    /// The client has ended its batch.
    pub(super) fn next_batch(&mut self) {
        self.batch += 1;
    }

    /// What a name will mean; the caller marks the place among the answers.
    pub(super) fn set_later(&mut self, name: &[u8], statement: Option<Arc<Statement>>) {
        self.push(Change::Named(kept_name(name).into(), statement));
    }

    /// What the unnamed statement will be, and its identity; the caller marks the place.
    pub(super) fn set_unnamed_later(
        &mut self,
        session: SessionId,
        content: Option<&[u8]>,
        reading: Reading,
    ) -> UnnamedId {
        let unnamed = self.new_unnamed(session, content, reading);
        let id = unnamed.id;
        self.push(Change::Unnamed(Some(unnamed)));
        id
    }

    /// The unnamed statement will be gone; `false` if there is none, and so nothing to mark.
    #[inline]
    pub(super) fn drop_unnamed_later(&mut self) -> bool {
        if self.unnamed.is_none() && self.pending.is_empty() {
            return false;
        }
        let is_there = self.unnamed().is_some();
        if is_there {
            self.push(Change::Unnamed(None));
        }
        is_there
    }

    fn push(&mut self, change: Change) {
        self.pending.push_back(Pending { change, batch: self.batch });
    }

    fn new_unnamed(
        &mut self,
        session: SessionId,
        content: Option<&[u8]>,
        reading: Reading,
    ) -> Unnamed {
        self.unnamed_last += 1;
        let content = content.map(|content| {
            let mut kept = std::mem::take(&mut self.spare);
            kept.clear();
            kept.extend_from_slice(content);
            kept
        });
        Unnamed { id: UnnamedId { session, number: self.unnamed_last }, content, reading }
    }

    /// The server has come to so many of the changes that wait.
    pub(super) fn confirm(&mut self, count: usize) {
        for _ in 0..count {
            match self.pending.pop_front().map(|pending| pending.change) {
                Some(Change::Named(name, Some(statement))) => {
                    self.named.insert(name, statement);
                }
                Some(Change::Named(name, None)) => {
                    self.named.remove(&name);
                }
                Some(Change::Unnamed(unnamed)) => self.replace_unnamed(unnamed),
                None => return,
            }
        }
    }

    /// The server has discarded so many of the changes that wait. `failed` says that the first of
    /// them was refused instead: a `Parse` without a name destroys the one before first.
    pub(super) fn discard(&mut self, count: usize, failed: bool) {
        let mut discarded = self.pending.drain(..count.min(self.pending.len()));
        let first = discarded.next().map(|pending| pending.change);
        drop(discarded);
        if failed && matches!(first, Some(Change::Unnamed(_))) {
            self.replace_unnamed(None);
        }
    }

    /// Nothing of what waits has reached a server: it will be said again.
    pub(super) fn unsay(&mut self) {
        self.pending.clear();
    }

    fn replace_unnamed(&mut self, unnamed: Option<Unnamed>) {
        let before = std::mem::replace(&mut self.unnamed, unnamed);
        if let Some(Unnamed { content: Some(content), .. }) = before {
            self.spare = content;
        }
    }

    // === while nothing is under way ===

    /// The name means this from now on; `false` if there is no room for it.
    pub(super) fn set(&mut self, name: &[u8], statement: Arc<Statement>) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.named.insert(kept_name(name).into(), statement);
        }
        has_room
    }

    /// The name means nothing any more; `false` if it meant nothing before.
    pub(super) fn remove(&mut self, name: &[u8]) -> bool {
        self.named.remove(kept_name(name)).is_some()
    }

    /// The unnamed statement is this one from now on.
    pub(super) fn set_unnamed(&mut self, session: SessionId, content: &[u8], reading: Reading) {
        let unnamed = self.new_unnamed(session, Some(content), reading);
        self.replace_unnamed(Some(unnamed));
    }

    /// There is no unnamed statement any more.
    pub(super) fn drop_unnamed(&mut self) {
        self.replace_unnamed(None);
    }

    /// There are no statements any more.
    pub(super) fn clear(&mut self) {
        self.named.clear();
        self.drop_unnamed();
    }

    /// Only these names are left.
    pub(super) fn retain(&mut self, is_left: impl Fn(&[u8]) -> bool) {
        self.named.retain(|name, _| is_left(name));
    }

    /// All names that the server has confirmed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Arc<Statement>)> {
        self.named.iter().map(|(name, statement)| (&**name, statement))
    }

    /// Another statement in the place of one, under whatever name.
    pub(super) fn replace(&mut self, name: &[u8], statement: &Arc<Statement>) {
        let name = kept_name(name);
        for pending in self.pending.iter_mut().rev() {
            match &mut pending.change {
                Change::Named(known, place) if **known == *name => {
                    *place = Some(Arc::clone(statement));
                    return;
                }
                Change::Named(..) | Change::Unnamed(_) => {}
            }
        }
        if let Some(place) = self.named.get_mut(name) {
            *place = Arc::clone(statement);
        }
    }
}

#[cfg(test)]
mod tests {
    use trace::Fingerprint;

    use super::*;
    use crate::settings::Meaning;
    use crate::statements::StatementRegistry;

    const SESSION: SessionId = SessionId(1);

    fn reading() -> Reading {
        Reading {
            fingerprint: Fingerprint(1),
            kind: sql::Kind::Select,
            effects: sql::Effects::NONE,
        }
    }

    fn statement(text: &str) -> Arc<Statement> {
        let content = format!("{text}\0\0\0");
        let registry = StatementRegistry::default();
        registry.parsed(content.as_bytes(), Meaning::default(), reading())
    }

    fn text(names: &Names) -> Option<&[u8]> {
        names.get(b"z").map(|statement| statement.text())
    }

    #[test]
    fn a_change_counts_once_the_server_has_come_to_it() {
        let mut names = Names::default();
        names.set_later(b"z", Some(statement("A")));
        assert_eq!(text(&names), Some(&b"A"[..]), "within the batch");
        assert!(!names.is_open(b"z"));
        names.next_batch();
        assert!(names.is_open(b"z") && !names.is_open(b"y"));
        names.set_later(b"z", None);
        assert_eq!(text(&names), None);
        names.confirm(1);
        names.discard(1, false);
        assert_eq!(text(&names), Some(&b"A"[..]));
        names.set_later(b"z", Some(statement("B")));
        names.unsay();
        assert_eq!(text(&names), Some(&b"A"[..]));
    }

    #[test]
    fn a_parse_that_fails_destroys_the_unnamed_statement_and_one_that_is_discarded_does_not() {
        let mut names = Names::default();
        names.set_unnamed_later(SESSION, Some(b"A"), reading());
        names.confirm(1);
        let content = |names: &Names| names.unnamed().and_then(|one| one.content.clone());
        names.set_unnamed_later(SESSION, Some(b"B"), reading());
        assert_eq!(content(&names), Some(b"B".to_vec()));
        names.discard(1, false);
        assert_eq!(content(&names), Some(b"A".to_vec()));
        names.set_unnamed_later(SESSION, Some(b"C"), reading());
        names.discard(1, true);
        assert_eq!(content(&names), None);
        assert!(!names.drop_unnamed_later(), "there is none");
    }

    #[test]
    fn names_are_cut_as_postgresql_cuts_them() {
        let mut names = Names::default();
        assert!(names.set(&[b'a'; 70], statement("A")));
        assert!(names.get(&[b'a'; 65]).is_some() && names.get(&[b'a'; 62]).is_none());
        assert!(names.remove(&[b'a'; 63]));
    }
}
