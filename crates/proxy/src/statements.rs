//! Prepared statements in `regulate` mode: a client's names are mapped to names that mean the same
//! on every server connection.
//!
//! Statements are told apart by their content (text and parameter types, compared in full, so that
//! no collision of a hash can ever run another statement). Each content has one number and one name
//! on the server, `surgetank_<number>`; each server connection remembers which of them it has, and
//! one that it lacks is prepared on it when a client needs it. Where settings decide what a text
//! means, statements prepared under different ones are different statements.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use trace::{Fingerprint, SessionId};
use wire::frontend::{Parse, Target};

use crate::journal::Reading;
use crate::settings::Meaning;
use trace::numbers::NumberMap;

/// What our names on the server begin with.
pub(crate) const OUR_PREFIX: &str = "surgetank_";

/// Statements that one server connection keeps; the least recently used one makes room.
const SERVER_MAX: usize = 200;

/// Names that one session may hold at once.
pub(crate) const CLIENT_MAX: usize = 10_000;

/// A statement's number: equal if and only if text and parameter types are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StatementId(u64);

impl StatementId {
    #[cfg(test)]
    pub(crate) fn test(number: u64) -> Self {
        Self(number)
    }

    fn name(self) -> Box<[u8]> {
        format!("{OUR_PREFIX}{}", self.0).into_bytes().into()
    }

    /// Appends a `Close` of the statement.
    pub(crate) fn put_close(self, out: &mut Vec<u8>) {
        Target::Statement(&self.name()).put_close(out);
    }
}

/// A statement that some session has prepared.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: StatementId,
    /// Its name on every server connection.
    pub(crate) name: Box<[u8]>,
    /// What follows the name in a `Parse` message.
    content: Arc<[u8]>,
    /// By which settings it was prepared.
    pub(crate) meaning: Meaning,
    pub(crate) reading: Reading,
}

impl Prepared {
    /// What follows the name in a `Parse` message.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Its text.
    pub(crate) fn text(&self) -> &[u8] {
        text(&self.content)
    }

    /// Appends a `Parse` of the statement under its name on the server.
    pub(crate) fn put_parse(&self, out: &mut Vec<u8>) {
        put_parse(out, &self.name, &self.content);
    }
}

/// Appends a `Parse` with this name and content.
pub(crate) fn put_parse(out: &mut Vec<u8>, name: &[u8], content: &[u8]) {
    wire::frame::put(out, wire::frontend::tag::PARSE, |out| {
        wire::frame::put_text(out, name);
        out.extend_from_slice(content);
    });
}

/// What follows the name in the body of a `Parse` message.
pub(crate) fn content<'a>(body: &'a [u8], parse: &Parse<'_>) -> &'a [u8] {
    body.get(parse.name.len() + 1..).unwrap_or_default()
}

/// The text at the beginning of what follows the name in a `Parse` message.
pub(crate) fn text(content: &[u8]) -> &[u8] {
    content.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// All statements that any session holds.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of the most common meaning, and of others.
    plain: HashMap<Arc<[u8]>, Weak<Prepared>>,
    others: HashMap<(Meaning, Arc<[u8]>), Weak<Prepared>>,
    last: u64,
    /// How many were alive when the dead ones were last thrown out.
    alive: usize,
}

impl Registry {
    /// The statement with this content, prepared under settings of this meaning.
    pub(crate) fn intern(
        &self,
        content: &[u8],
        meaning: Meaning,
        read: impl FnOnce() -> Reading,
    ) -> Arc<Prepared> {
        let mut known = self.known.lock();
        if let Some(prepared) = known.get(content, meaning) {
            return prepared;
        }
        known.last += 1;
        let id = StatementId(known.last);
        let content: Arc<[u8]> = content.into();
        let prepared = Arc::new(Prepared {
            id,
            name: id.name(),
            content: Arc::clone(&content),
            meaning,
            reading: read(),
        });
        known.put(content, meaning, Arc::downgrade(&prepared));
        prepared
    }

    /// From now on these statements, prepared again, are others: what the server connections have
    /// under their names has gone stale ("cached plan must not change result type").
    pub(crate) fn forget(&self, fingerprint: Fingerprint) {
        let is_another = |statement: Arc<Prepared>| statement.reading.fingerprint != fingerprint;
        let stays = |known: &Weak<Prepared>| known.upgrade().is_some_and(is_another);
        let mut known = self.known.lock();
        known.plain.retain(|_, statement| stays(statement));
        known.others.retain(|_, statement| stays(statement));
    }
}

impl Known {
    fn get(&self, content: &[u8], meaning: Meaning) -> Option<Arc<Prepared>> {
        let found = if meaning == Meaning::default() {
            self.plain.get(content)
        } else {
            self.others.get(&(meaning, content.into()))
        };
        found.and_then(Weak::upgrade)
    }

    fn put(&mut self, content: Arc<[u8]>, meaning: Meaning, prepared: Weak<Prepared>) {
        if meaning == Meaning::default() {
            self.plain.insert(content, prepared);
        } else {
            self.others.insert((meaning, content), prepared);
        }
        if self.len() > 2 * self.alive + 64 {
            self.plain.retain(|_, statement| statement.strong_count() > 0);
            self.others.retain(|_, statement| statement.strong_count() > 0);
            self.alive = self.len();
        }
    }

    fn len(&self) -> usize {
        self.plain.len() + self.others.len()
    }
}

/// The unnamed statement of a session: `Parse` number so-and-so without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnnamedId {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
}

/// What a server connection has as its unnamed statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnServer {
    /// None.
    #[default]
    Nobodys,
    /// This one.
    Of(UnnamedId),
    /// After an error: perhaps the one before, which may be another session's.
    Unknown,
}

/// The statements that one server connection has.
#[derive(Debug, Default)]
pub(crate) struct ServerStatements {
    used: NumberMap<StatementId, u64>,
    clock: u64,
    /// The unnamed one.
    pub(crate) unnamed: OnServer,
    /// Whether names may be taken that are not in `used`.
    doubtful: bool,
    /// Names that are taken by statements which mean something else.
    spoilt: HashSet<StatementId>,
    /// Those of `used` of which it was not seen yet that they could be prepared.
    unproven: HashSet<StatementId>,
}

/// What an error has undone: the server discarded it unread.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Undone {
    /// These were to be prepared.
    pub(crate) parses: Vec<StatementId>,
    /// Something of ours was to be closed.
    pub(crate) closes: bool,
}

/// What must be closed before a statement can be prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Nothing.
    Free,
    /// This one: it was least recently used, or may be there unknown to us.
    Close(StatementId),
}

impl ServerStatements {
    /// Whether the statement is there; if so, it counts as used.
    pub(crate) fn has(&mut self, id: StatementId) -> bool {
        self.clock += 1;
        self.used.get_mut(&id).map(|used| *used = self.clock).is_some()
    }

    /// Notes that the statement is being prepared.
    pub(crate) fn add(&mut self, id: StatementId) -> Room {
        let room = if self.used.len() >= SERVER_MAX { self.evict() } else { Room::Free };
        self.clock += 1;
        self.used.insert(id, self.clock);
        self.unproven.insert(id);
        // Closing what does not exist is no error, so this is safe either way.
        if self.spoilt.remove(&id) || self.doubtful { Room::Close(id) } else { room }
    }

    /// The statement is there, but was prepared while a transaction had settings of its own that
    /// made it another one: nobody may use it from now on.
    pub(crate) fn spoil(&mut self, id: StatementId) {
        if self.used.remove(&id).is_some() {
            self.spoilt.insert(id);
        }
    }

    /// Whether it is not known yet that the server has taken a statement.
    pub(crate) fn is_unproven(&self, id: StatementId) -> bool {
        !self.unproven.is_empty() && self.unproven.contains(&id)
    }

    /// The server has taken it.
    pub(crate) fn proven(&mut self, id: StatementId) {
        self.unproven.remove(&id);
    }

    fn evict(&mut self) -> Room {
        let oldest = self.used.iter().min_by_key(|(_, used)| **used).map(|(id, _)| *id);
        match oldest {
            Some(id) => {
                self.used.remove(&id);
                self.unproven.remove(&id);
                Room::Close(id)
            }
            None => Room::Free,
        }
    }

    /// Something was sent that may destroy all statements (`DEALLOCATE ALL`), or may fail.
    pub(crate) fn doubt(&mut self) {
        self.used.clear();
        self.unproven.clear();
        self.doubtful = true;
    }

    /// An error has undone what was sent before it: these statements are not there, and of those
    /// that were to be closed some may still be.
    pub(crate) fn undo(&mut self, undone: &Undone) {
        self.unnamed = OnServer::Unknown;
        for id in &undone.parses {
            self.used.remove(id);
            self.unproven.remove(id);
        }
        self.doubtful |= undone.closes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        Reading {
            fingerprint: Fingerprint(1),
            kind: sql::Kind::Select,
            effects: sql::Effects::NONE,
        }
    }

    #[test]
    fn the_same_content_is_the_same_statement() {
        let registry = Registry::default();
        let plain = Meaning::default();
        let first = registry.intern(b"select 1\0\0\0", plain, reading);
        let second = registry.intern(b"select 1\0\0\0", plain, || unreachable!("it is known"));
        let third = registry.intern(b"select 2\0\0\0", plain, reading);
        assert_eq!(first.id, second.id);
        assert_ne!(first.id, third.id);
    }

    #[test]
    fn a_forgotten_statement_comes_back_as_another() {
        let registry = Registry::default();
        let stale = registry.intern(b"select 1\0\0\0", Meaning::default(), reading);
        registry.forget(Fingerprint(2));
        assert_eq!(registry.intern(b"select 1\0\0\0", Meaning::default(), reading).id, stale.id);
        registry.forget(Fingerprint(1));
        assert_ne!(registry.intern(b"select 1\0\0\0", Meaning::default(), reading).id, stale.id);
    }

    #[test]
    fn statements_that_nobody_holds_are_forgotten() {
        let registry = Registry::default();
        for number in 0..1000 {
            let content = format!("select {number}\0\0\0");
            registry.intern(content.as_bytes(), Meaning::default(), reading);
        }
        assert!(registry.known.lock().len() < 200);
    }

    #[test]
    fn a_full_server_connection_closes_the_least_recently_used() {
        let mut statements = ServerStatements::default();
        for number in 0..SERVER_MAX as u64 {
            assert_eq!(statements.add(StatementId(number)), Room::Free);
        }
        assert!(statements.has(StatementId(0)), "and is used by that");
        assert_eq!(statements.add(StatementId(1000)), Room::Close(StatementId(1)));
        assert!(!statements.has(StatementId(1)));
        assert!(statements.has(StatementId(0)));
    }

    #[test]
    fn a_spoilt_statement_is_closed_before_it_is_prepared_again() {
        let mut statements = ServerStatements::default();
        statements.add(StatementId(7));
        statements.spoil(StatementId(7));
        assert!(!statements.has(StatementId(7)));
        assert_eq!(statements.add(StatementId(7)), Room::Close(StatementId(7)));
        assert!(statements.has(StatementId(7)));
        assert_eq!(statements.add(StatementId(8)), Room::Free);
    }

    #[test]
    fn after_deallocate_all_a_name_is_closed_before_it_is_prepared() {
        let mut statements = ServerStatements::default();
        statements.add(StatementId(7));
        statements.doubt();
        assert!(!statements.has(StatementId(7)));
        assert_eq!(statements.add(StatementId(7)), Room::Close(StatementId(7)));
    }
}
