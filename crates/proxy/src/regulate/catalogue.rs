//! What statements reach in the database beyond what their text says: users' functions, by name or
//! through triggers, views, defaults, policies, constraints, operators and types.
//!
//! A statement is harmless only if PostgreSQL's catalogue shows that: none of the names in its text
//! is that of a function which is not built in (extensions' functions that are declared not to
//! change anything count as built in), or of anything that calls one. What another function does
//! to its session is asked after each execution, since it may depend on its arguments.
//!
//! Names are compared without schemas and without their places in the text: that shows too much to
//! be reached, never too little. A statement counts as harmless from the first look at the
//! catalogue that began after the statement was first seen, and until DDL passes or a later look,
//! once a second, finds the catalogue changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use sql::Identifier;
use trace::Fingerprint;
use trace::numbers::{NumberMap, NumberSet};
use xxhash_rust::xxh3::xxh3_64;

mod load;

/// Statements whose names are kept; beyond that all are forgotten and seen anew.
const STATEMENTS_MAX: usize = 20_000;

/// What a statement reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Built-in functions only.
    Harmless,
    /// Built-in functions only, as far as is known yet.
    Unproven,
    /// Others' functions, which may do this to the session's settings.
    Functions(Arc<Changes>),
    /// The catalogue was not read yet.
    Unknown,
}

/// What functions may do to the session's settings, as far as their source says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// They may change these.
    pub(super) settings: Vec<Box<[u8]>>,
    /// They may change others.
    pub(super) any_setting: bool,
    /// They may change some of which PostgreSQL cannot be asked: custom ones of computed names.
    pub(super) unknowable: bool,
}

/// The hash of a name.
type NameHash = u64;

/// What the catalogue says.
#[expect(clippy::struct_excessive_bools, reason = "facts, each for itself")]
#[derive(Debug, Default, PartialEq, Eq)]
struct Catalogue {
    /// Equal as long as nothing has changed.
    signature: String,
    /// What may be reached by each name.
    reached: HashMap<NameHash, Arc<Changes>>,
    /// Relations of which something looks at settings.
    readers: NumberSet<NameHash>,
    /// Whether a name beyond ASCII is among them: then all of those count.
    is_ascii: bool,
    /// Whether a function is called for casts, which have no name.
    casts: bool,
    /// Relations of which something calls `lastval` or `currval`, and whether a function does.
    sequence_readers: NumberSet<NameHash>,
    functions_read_sequences: bool,
}

/// How the names of a statement are spelt, the most difficult first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spelling {
    /// In a way that only PostgreSQL can read.
    Unreadable,
    NotAscii,
    Ascii,
}

/// A statement that was seen.
#[derive(Debug)]
struct Seen {
    names: Box<[NameHash]>,
    spelling: Spelling,
    reach: Reach,
    reads_settings: bool,
    /// Looks at the catalogue that had begun when it was first seen.
    since: u64,
}

#[derive(Debug, Default)]
struct State {
    catalogue: Option<Catalogue>,
    statements: NumberMap<Fingerprint, Seen>,
    /// Looks at the catalogue that have begun.
    looks: u64,
    /// How many had begun when DDL was last run: what an older one has found is outdated.
    outdated: u64,
}

/// What is known of one database.
#[derive(Debug, Default)]
pub(super) struct Reaches {
    state: RwLock<State>,
    /// Rises when what was known may have changed.
    version: AtomicU64,
}

impl Reaches {
    /// Changes when [`Self::of`] may say something else of a statement.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What a statement reaches.
    pub(super) fn of(&self, statement: Fingerprint, text: &[u8]) -> Reach {
        if let Some(seen) = self.state.read().statements.get(&statement) {
            return seen.reach.clone();
        }
        let mut seen = Seen::read(text);
        let mut state = self.state.write();
        if state.statements.len() >= STATEMENTS_MAX {
            state.statements.clear();
        }
        seen.since = state.looks;
        let look = state.looks;
        seen.judge(state.catalogue.as_ref().filter(|_| look > state.outdated), look);
        let reach = seen.reach.clone();
        state.statements.insert(statement, seen);
        reach
    }

    /// Whether a statement may look at settings otherwise than its text says.
    pub(super) fn reads_settings(&self, statement: Fingerprint) -> bool {
        self.state.read().statements.get(&statement).is_none_or(|seen| {
            let is_builtin = matches!(seen.reach, Reach::Harmless | Reach::Unproven);
            !is_builtin || seen.reads_settings
        })
    }

    /// DDL was run: what was proven is proven no more.
    pub(super) fn changed(&self) {
        let mut state = self.state.write();
        let now = state.looks;
        state.outdated = now;
        for seen in state.statements.values_mut() {
            (seen.since, seen.reach) = (now, Reach::Unknown);
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Whether a look is needed before anything can be said.
    pub(super) fn is_outdated(&self) -> bool {
        let state = self.state.read();
        state.catalogue.is_none() || state.looks <= state.outdated
    }

    /// Whether a statement may call `lastval` or `currval` otherwise than in its text.
    pub(super) fn reads_sequences(&self, statement: Fingerprint) -> bool {
        let state = self.state.read();
        let Some(catalogue) = &state.catalogue else { return false };
        if !catalogue.functions_read_sequences && catalogue.sequence_readers.is_empty() {
            return false;
        }
        state.statements.get(&statement).is_none_or(|seen| match seen.reach {
            Reach::Functions(_) | Reach::Unknown if catalogue.functions_read_sequences => true,
            _ => seen.names.iter().any(|name| catalogue.sequence_readers.contains(name)),
        })
    }

    /// A look at the catalogue begins; gives its number.
    fn begin(&self) -> u64 {
        let mut state = self.state.write();
        state.looks += 1;
        state.looks
    }

    /// The signature that is known.
    fn signature(&self) -> Option<String> {
        self.state.read().catalogue.as_ref().map(|catalogue| catalogue.signature.clone())
    }

    /// A look has ended: with another catalogue, or with the one that is known.
    fn end(&self, look: u64, found: Option<Catalogue>) {
        let mut state = self.state.write();
        if let Some(found) = found {
            state.catalogue = Some(found);
        }
        if look <= state.outdated {
            return;
        }
        let State { catalogue, statements, .. } = &mut *state;
        for seen in statements.values_mut() {
            seen.judge(catalogue.as_ref(), look);
        }
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl Seen {
    fn read(text: &[u8]) -> Self {
        let mut names = NumberSet::default();
        let mut spelling = Spelling::Ascii;
        sql::identifiers(&String::from_utf8_lossy(text), |identifier| match identifier {
            Identifier::Name(name) => {
                if !name.is_ascii() {
                    spelling = spelling.min(Spelling::NotAscii);
                }
                names.insert(name_hash(name));
            }
            Identifier::Operator(operator) => {
                names.insert(operator_hash(operator));
            }
            Identifier::Unreadable => spelling = Spelling::Unreadable,
        });
        Self {
            names: names.into_iter().collect(),
            spelling,
            reach: Reach::Unknown,
            reads_settings: true,
            since: 0,
        }
    }

    /// By what the look of this number has found.
    fn judge(&mut self, catalogue: Option<&Catalogue>, look: u64) {
        let Some(catalogue) = catalogue else { return };
        let mut found = self.names.iter().filter_map(|name| catalogue.reached.get(name));
        let is_doubtful = match self.spelling {
            Spelling::Unreadable => true,
            Spelling::NotAscii => catalogue.casts || !catalogue.is_ascii,
            Spelling::Ascii => catalogue.casts,
        };
        self.reads_settings = self.names.iter().any(|name| catalogue.readers.contains(name));
        self.reach = match found.next() {
            Some(first) => Reach::Functions(Changes::all(first, found)),
            None if is_doubtful => Reach::Functions(Arc::default()),
            None if self.since < look => Reach::Harmless,
            None => Reach::Unproven,
        };
    }
}

impl Changes {
    fn all<'a>(first: &'a Arc<Self>, others: impl Iterator<Item = &'a Arc<Self>>) -> Arc<Self> {
        others.fold(Arc::clone(first), |sum, other| match sum == *other {
            true => sum,
            false => Arc::new(sum.with(other)),
        })
    }

    fn with(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        let known = |sum: &Self, name: &[u8]| sum.settings.iter().any(|one| **one == *name);
        for name in &other.settings {
            if !known(&sum, name) {
                sum.settings.push(name.clone());
            }
        }
        sum.any_setting |= other.any_setting;
        sum.unknowable |= other.unknowable;
        sum
    }
}

fn name_hash(name: &str) -> NameHash {
    xxh3_64(name.as_bytes())
}

/// Operators are other names than words.
fn operator_hash(operator: &str) -> NameHash {
    !xxh3_64(operator.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(names: &[&str]) -> Catalogue {
        let reached = names.iter().map(|name| (name_hash(name), Arc::default())).collect();
        Catalogue { reached, is_ascii: true, ..Catalogue::default() }
    }

    fn of(reaches: &Reaches, text: &str) -> Reach {
        reaches.of(Fingerprint(sql::fingerprint(text)), text.as_bytes())
    }

    #[test]
    fn a_statement_is_harmless_once_a_later_look_has_found_nothing() {
        let reaches = Reaches::default();
        let text = "SELECT a FROM t WHERE b = 1";
        assert_eq!(of(&reaches, text), Reach::Unknown);
        let look = reaches.begin();
        reaches.end(look, Some(catalogue(&["f"])));
        assert_eq!(of(&reaches, text), Reach::Harmless);
        // First seen after the look.
        let other = "SELECT c FROM t";
        assert_eq!(of(&reaches, other), Reach::Unproven);
        let look = reaches.begin();
        assert_eq!(of(&reaches, "SELECT d FROM t"), Reach::Unproven);
        reaches.end(look, None);
        assert_eq!(of(&reaches, other), Reach::Harmless);
        assert_eq!(of(&reaches, "SELECT d FROM t"), Reach::Unproven, "while it was on its way");
        let version = reaches.version();
        reaches.changed();
        assert_ne!(reaches.version(), version);
        assert_eq!(of(&reaches, text), Reach::Unknown);
        assert!(reaches.is_outdated());
    }

    #[test]
    fn whatever_names_a_function_reaches_it() {
        let reaches = Reaches::default();
        let look = reaches.begin();
        reaches.end(look, Some(catalogue(&["f", "with_trigger"])));
        let none = Reach::Functions(Arc::default());
        for text in [
            "SELECT f(1)",
            "SELECT public . \"f\" (1)",
            "INSERT INTO with_trigger VALUES (1)",
            "SELECT U&\"\\0066\"(1)",
        ] {
            assert_eq!(of(&reaches, text), none, "{text}");
        }
        assert_eq!(of(&reaches, "SELECT 'f(1)'"), Reach::Unproven);
    }

    #[test]
    fn what_several_functions_do_adds_up() {
        let changes = |name: &str, any_setting| {
            Arc::new(Changes {
                settings: vec![name.as_bytes().into()],
                any_setting,
                unknowable: false,
            })
        };
        let (one, other) = (changes("a", false), changes("b", true));
        let sum = Changes::all(&one, [&one, &other].into_iter());
        assert_eq!(sum.settings.len(), 2);
        assert!(sum.any_setting);
    }
}
