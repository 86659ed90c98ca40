//! Prepared statements in `regulate` mode.
//!
//! Every `Parse` of a client goes to the server, so a statement means what it means to PostgreSQL
//! at that moment. On the server it has a name of ours, `surgetank_<number>`, which is used once
//! and never again. The hidden `Describe` that follows says what PostgreSQL made of the text: the
//! types of its parameters and the columns of its result.
//!
//! ```text
//!   Statement: what a session holds under a name ──described──▶ Described: shared by all sessions
//!                                                                  │ whose statements are equal
//!   ServerStatements: the copies that one server connection has ◀──┘
//! ```
//!
//! Sessions share a copy on a server connection if PostgreSQL described their statements alike and
//! the copy is at least as new as the session's own `Parse`: an older one may mean something else
//! (a table that was altered, another one earlier in `search_path`). A copy that a server
//! connection lacks is prepared there with the parameter types that the session was told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use trace::SessionId;
use wire::frontend::Parse;

use crate::journal::Reading;
use crate::settings::{Interner, Meaning};

mod columns;
mod server;

pub(crate) use columns::same_result;
pub(crate) use server::{CopyNumber, CopyState, ServerCopy, ServerStatements, Undone};

/// What our names on the server begin with.
pub(crate) const OUR_PREFIX: &str = "surgetank_";

/// Names that one session may hold at once.
pub(crate) const CLIENT_STATEMENTS_MAX: usize = 10_000;

/// Longest text of names that PostgreSQL keeps, in bytes (`NAMEDATALEN` - 1).
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// The number of a statement; equal if sessions may share its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StatementId(u64);

/// When a `Parse` was sent, counted over all sessions of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ParseNumber(u64);

/// What follows the name in a `Parse` message: the text, its end, and the types of its parameters.
pub(crate) type Content = Arc<Box<[u8]>>;

/// A statement that a client has prepared.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Its number until PostgreSQL has described it.
    own: StatementId,
    content: Content,
    /// The settings that it was prepared under.
    meaning: Meaning,
    parsed: ParseNumber,
    pub(crate) reading: Reading,
    described: OnceLock<Arc<Described>>,
}

/// A statement as PostgreSQL described it.
#[derive(Debug)]
pub(crate) struct Described {
    id: StatementId,
    /// With the types that PostgreSQL gave the parameters.
    content: Content,
    /// The body of its `RowDescription`; empty if it has no result.
    columns: Box<[u8]>,
}

impl Statement {
    pub(crate) fn id(&self) -> StatementId {
        self.described.get().map_or(self.own, |described| described.id)
    }

    /// What follows the name in a `Parse` that prepares it once more.
    pub(crate) fn content(&self) -> &[u8] {
        self.described.get().map_or(&self.content, |described| &described.content)
    }

    /// Its text.
    pub(crate) fn text(&self) -> &[u8] {
        text(&self.content)
    }

    /// A copy that is older than this may mean something else.
    pub(crate) fn parsed(&self) -> ParseNumber {
        self.parsed
    }

    pub(crate) fn meaning(&self) -> Meaning {
        self.meaning
    }

    /// The body of its `RowDescription`; nothing if it has none, or it is not known.
    pub(crate) fn columns(&self) -> Option<&[u8]> {
        self.described.get().map(|described| &*described.columns).filter(|body| !body.is_empty())
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

/// A name as PostgreSQL keeps it: it cuts longer ones.
pub(crate) fn kept_name(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

/// All statements that any session of a database holds.
#[derive(Debug, Default)]
pub(crate) struct StatementRegistry {
    last_id: AtomicU64,
    last_parse: AtomicU64,
    known: Mutex<Known>,
}

/// The settings, the `Parse` and the `RowDescription` of a statement.
type Identity = (Meaning, Content, Box<[u8]>);

#[derive(Debug, Default)]
struct Known {
    contents: Interner<Box<[u8]>>,
    described: HashMap<Identity, Weak<Described>>,
    /// How many were left when unused ones were last removed.
    left: usize,
}

impl StatementRegistry {
    /// A new statement, of a `Parse` that a client sends now.
    pub(crate) fn parsed(
        &self,
        content: &[u8],
        meaning: Meaning,
        reading: Reading,
    ) -> Arc<Statement> {
        let content = self.known.lock().contents.intern(content.into());
        Arc::new(Statement {
            own: self.next_id(),
            content,
            meaning,
            parsed: self.next_parse(),
            reading,
            described: OnceLock::new(),
        })
    }

    /// The same statement under other settings, which its next copy will have.
    pub(crate) fn with_meaning(&self, statement: &Statement, meaning: Meaning) -> Arc<Statement> {
        let known = statement.described.get();
        Arc::new(Statement {
            own: self.next_id(),
            content: Arc::clone(known.map_or(&statement.content, |known| &known.content)),
            meaning,
            parsed: statement.parsed,
            reading: statement.reading,
            described: OnceLock::new(),
        })
    }

    /// PostgreSQL has described a statement: the bodies of its `ParameterDescription` and, if it
    /// has a result, its `RowDescription`.
    pub(crate) fn describe(&self, statement: &Statement, parameters: &[u8], columns: &[u8]) {
        let content = [text(&statement.content), &[0], parameters].concat();
        let mut known = self.known.lock();
        let content = known.contents.intern(content.into());
        let identity = (statement.meaning, content, columns.into());
        let described = known.described.get(&identity).and_then(Weak::upgrade);
        let described = described.unwrap_or_else(|| {
            let (_, content, columns) = identity.clone();
            let new = Arc::new(Described { id: self.next_id(), content, columns });
            known.insert(identity, &new);
            new
        });
        // Described once more, on another server connection: the first one counts.
        let _ = statement.described.set(described);
    }

    fn next_id(&self) -> StatementId {
        StatementId(self.last_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of a `Parse` that is sent now.
    pub(crate) fn next_parse(&self) -> ParseNumber {
        ParseNumber(self.last_parse.fetch_add(1, Ordering::Relaxed))
    }
}

impl Known {
    fn insert(&mut self, identity: Identity, described: &Arc<Described>) {
        self.described.insert(identity, Arc::downgrade(described));
        if self.described.len() > 2 * self.left + 64 {
            self.described.retain(|_, described| described.strong_count() > 0);
            self.left = self.described.len();
        }
    }
}

/// The unnamed statement of a session: which of its `Parse`s without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnnamedId {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
}

/// What a server connection has as its unnamed statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UnnamedOnServer {
    /// No client's.
    #[default]
    Free,
    /// This one.
    Of(UnnamedId),
    /// After an error: perhaps the one before, which may be another session's.
    Unknown,
}

#[cfg(test)]
mod tests {
    use trace::Fingerprint;

    use super::*;

    fn reading() -> Reading {
        Reading {
            fingerprint: Fingerprint(1),
            kind: sql::Kind::Select,
            effects: sql::Effects::NONE,
        }
    }

    fn parsed(registry: &StatementRegistry, text: &str) -> Arc<Statement> {
        let content = format!("{text}\0\0\0");
        registry.parsed(content.as_bytes(), Meaning::default(), reading())
    }

    #[test]
    fn statements_are_shared_if_postgresql_describes_them_alike() {
        let registry = StatementRegistry::default();
        let statements = [(); 4].map(|()| parsed(&registry, "select $1"));
        assert_ne!(statements[0].id(), statements[1].id(), "not described yet");
        let [int, bigint]: [&[u8]; 2] = [b"\0\x01\0\0\0\x17", b"\0\x01\0\0\0\x14"];
        let descriptions = [(int, b"a"), (int, b"a"), (bigint, b"a"), (int, b"b")];
        for (statement, (parameters, columns)) in statements.iter().zip(descriptions) {
            registry.describe(statement, parameters, columns);
        }
        let [first, same, other_types, other_columns] = &statements;
        assert_eq!(first.id(), same.id());
        assert_ne!(first.id(), other_types.id());
        assert_ne!(first.id(), other_columns.id());
        assert_eq!(first.content(), b"select $1\0\0\x01\0\0\0\x17", "with its types");
        assert!(first.parsed() < same.parsed());
    }

    #[test]
    fn statements_that_nobody_holds_are_removed() {
        let registry = StatementRegistry::default();
        for number in 0..1000 {
            let statement = parsed(&registry, &format!("select {number}"));
            registry.describe(&statement, b"\0\0", b"");
        }
        assert!(registry.known.lock().described.len() < 200);
    }

    #[test]
    fn names_end_where_postgresql_cuts_them() {
        assert_eq!(kept_name(&[b'a'; 70]).len(), 63);
        assert_eq!(kept_name(b"a"), b"a");
    }
}
