//! The settings that a session carries from one server connection to the next, and what a client
//! has been told of them.
//!
//! Pure. What equals is the same `Arc`: so that taking a server connection whose settings are the
//! session's already costs one comparison of pointers, and nothing else.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

mod replay;

pub(crate) use replay::{put_quoted, steps};

/// A setting and its value.
pub(crate) type Setting = (Box<[u8]>, Box<[u8]>);

/// The one setting that every session has of its own from its beginning.
pub(crate) const APPLICATION_NAME: &[u8] = b"application_name";

/// What our connections call themselves until they serve a session. A session that resets its
/// `application_name` finds this, and by it we know.
pub(crate) const OUR_NAME: &[u8] = b"surgetank";

/// Sets of settings whose meaning is numbered; beyond that numbers are given anew.
const MEANINGS_MAX: usize = 10_000;

/// Under equal ones the same text, prepared, is the same statement: `'2026-01-01'::timestamptz` is
/// another instant in another time zone, `FROM t` another table with another `search_path`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Meaning(u64);

/// Settings that differ from a server connection's own, by name.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Sorted by name; names in lower case.
    values: Vec<Setting>,
    meaning: Meaning,
}

/// What it takes until a server connection with other settings has a session's, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// The request waits until PostgreSQL has changed them.
    Awaited,
    /// Another name, which goes out with the request.
    Name,
    /// They are the same.
    Nothing,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for Settings {}

impl Hash for Settings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.values.hash(state);
    }
}

impl Settings {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        get(&self.values, name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.values.iter().map(|(name, _)| &**name)
    }

    /// The names of those whose values depend on `client_encoding`.
    pub(crate) fn not_ascii(&self) -> impl Iterator<Item = &[u8]> {
        self.values.iter().filter(|(_, value)| !value.is_ascii()).map(|(name, _)| &**name)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn meaning(&self) -> Meaning {
        self.meaning
    }

    /// By pointer first: both are of the same [`Registry`]. `custom` are the custom settings that
    /// the server connection knows.
    pub(crate) fn way_to(&self, to: &Self, custom: &CustomNames) -> Way {
        if std::ptr::eq(self, to) {
            return Way::Nothing;
        }
        let mut names = self.names().chain(to.names()).filter(|name| *name != APPLICATION_NAME);
        let is_name =
            to.get(APPLICATION_NAME).is_some() && !names.any(|name| self.differs(to, name, custom));
        if is_name { Way::Name } else { Way::Awaited }
    }

    /// Whether a setting must be changed on the way to others. A custom setting that has lost its
    /// value is the empty string for ever, to whoever asks.
    fn differs(&self, to: &Self, name: &[u8], custom: &CustomNames) -> bool {
        let (from, to) = (self.get(name), to.get(name));
        if !is_custom(name) {
            return from != to;
        }
        match to {
            Some(value) if !value.is_empty() => from != to,
            Some(_) => from.map_or(!custom.has(name), |value| !value.is_empty()),
            None => from.is_some_and(|value| !value.is_empty()),
        }
    }

    /// Whether there are custom settings.
    pub(crate) fn has_custom(&self) -> bool {
        self.names().any(is_custom)
    }

    /// Whether there are custom settings among these that the session does not know.
    pub(crate) fn lacks_any(&self, custom: &CustomNames) -> bool {
        custom.0.iter().any(|name| self.get(name).is_none())
    }

    /// The values after a change: `None` takes a setting away.
    pub(crate) fn changed<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Vec<Setting> {
        let mut values = self.values.clone();
        for (name, value) in changes {
            let place = values.binary_search_by(|(known, _)| (**known).cmp(name));
            match (place, value) {
                (Ok(index), Some(value)) => values[index].1 = value.into(),
                (Ok(index), None) => {
                    values.remove(index);
                }
                (Err(index), Some(value)) => values.insert(index, (name.into(), value.into())),
                (Err(_), None) => {}
            }
        }
        values
    }
}

/// Whether a setting is an app's own (`app.tenant`), or an extension's: PostgreSQL knows it in a
/// session from the first time that it is set there, and never forgets it.
pub(crate) fn is_custom(name: &[u8]) -> bool {
    name.contains(&b'.')
}

/// Custom settings that a server connection knows, with or without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CustomNames(BTreeSet<Box<[u8]>>);

impl CustomNames {
    fn has(&self, name: &[u8]) -> bool {
        self.0.contains(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The server connection has got these settings.
    pub(crate) fn add_all(&mut self, settings: &Settings) {
        for name in settings.names().filter(|name| is_custom(name)) {
            if !self.has(name) {
                self.0.insert(name.into());
            }
        }
    }
}

fn get<'a>(values: &'a [Setting], name: &[u8]) -> Option<&'a [u8]> {
    values.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
}

/// What the server has said of its settings by `ParameterStatus`, or what a client has been told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reported {
    values: Vec<Setting>,
}

impl Reported {
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.values.iter_mut().find(|(known, _)| **known == *name) {
            Some(known) => known.1 = value.into(),
            None => self.values.push((name.into(), value.into())),
        }
    }

    /// All of them, or those that `told` lacks or has otherwise. Our own name is nobody's business.
    pub(crate) fn unlike<'a>(
        &'a self,
        told: &'a Self,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let news = self.values.iter().filter(|(name, value)| {
            let is_ours = **name == *APPLICATION_NAME && **value == *OUR_NAME;
            !is_ours && get(&told.values, name) != Some(value)
        });
        news.map(|(name, value)| (&**name, &**value))
    }
}

/// Whether statements may mean something else once this setting has another value. Only what is
/// known to have no such power is left out.
fn has_meaning(name: &[u8]) -> bool {
    let powerless: [&[u8]; 9] = [
        APPLICATION_NAME,
        b"client_min_messages",
        b"idle_in_transaction_session_timeout",
        b"idle_session_timeout",
        b"lock_timeout",
        b"statement_timeout",
        b"transaction_timeout",
        b"maintenance_work_mem",
        b"work_mem",
    ];
    // An extension's or an app's own; nothing that the parser looks at.
    !is_custom(name) && !powerless.contains(&name)
}

/// Whether constants in a statement are read according to this setting when it is prepared, once
/// and for all. (Names are looked up anew when `search_path` or `role` has changed: PostgreSQL
/// sees to that itself.)
pub(crate) fn shapes_constants(name: &[u8]) -> bool {
    let shaping: [&[u8]; 10] = [
        b"array_nulls",
        b"backslash_quote",
        b"client_encoding",
        b"datestyle",
        b"intervalstyle",
        b"lc_monetary",
        b"standard_conforming_strings",
        b"timezone",
        b"timezone_abbreviations",
        b"xmloption",
    ];
    shaping.contains(&name)
}

/// Keeps one of each value that anybody holds.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    known: HashSet<Arc<T>>,
    /// How many were alive when the dead ones were last thrown out.
    alive: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), alive: 0 }
    }
}

impl<T: Eq + Hash> Interner<T> {
    pub(crate) fn intern(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.known.get(&value) {
            return Arc::clone(known);
        }
        let new = Arc::new(value);
        self.known.insert(Arc::clone(&new));
        if self.known.len() > 2 * self.alive + 64 {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.alive = self.known.len();
        }
        new
    }
}

#[derive(Debug, Default)]
struct Known {
    settings: Interner<Settings>,
    reported: Interner<Reported>,
    meanings: HashMap<Vec<Setting>, Meaning>,
    last: u64,
}

impl Known {
    fn meaning(&mut self, values: &[Setting]) -> Meaning {
        let with: Vec<Setting> =
            values.iter().filter(|(name, _)| has_meaning(name)).cloned().collect();
        if with.is_empty() {
            return Meaning::default();
        }
        if self.meanings.len() >= MEANINGS_MAX {
            self.meanings.clear();
        }
        let last = &mut self.last;
        *self.meanings.entry(with).or_insert_with(|| {
            *last += 1;
            Meaning(*last)
        })
    }
}

/// All settings that any session or server connection has. Locked only where something changes.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    known: Mutex<Known>,
}

impl Registry {
    /// The settings with these values, sorted by name.
    pub(crate) fn settings(&self, values: Vec<Setting>) -> Arc<Settings> {
        let mut known = self.known.lock();
        let meaning = known.meaning(&values);
        known.settings.intern(Settings { values, meaning })
    }

    /// Those with nothing but a name.
    pub(crate) fn only_name(&self, application_name: &[u8]) -> Arc<Settings> {
        self.settings(vec![(APPLICATION_NAME.into(), application_name.into())])
    }

    pub(crate) fn reported(&self, reported: Reported) -> Arc<Reported> {
        self.known.lock().reported.intern(reported)
    }

    /// The same with one value changed.
    pub(crate) fn reported_with(
        &self,
        reported: &Reported,
        name: &[u8],
        value: &[u8],
    ) -> Arc<Reported> {
        let mut changed = reported.clone();
        changed.set(name, value);
        self.reported(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(registry: &Registry, pairs: &[(&str, &str)]) -> Arc<Settings> {
        let values =
            pairs.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()));
        registry.settings(values.collect())
    }

    #[test]
    fn only_a_name_is_given_in_passing() {
        let registry = Registry::default();
        let of = |pairs: &[(&str, &str)]| settings(&registry, pairs);
        let (name, zone) = (("application_name", "web"), ("timezone", "UTC"));
        let ways = [
            (of(&[name, zone]), of(&[name, zone]), Way::Nothing),
            (of(&[name, zone]), of(&[("application_name", "job"), zone]), Way::Name),
            (of(&[zone]), of(&[name, zone]), Way::Name),
            (of(&[name, zone]), of(&[zone]), Way::Awaited),
            (of(&[name]), of(&[name, zone]), Way::Awaited),
        ];
        for (from, to, way) in ways {
            let none = CustomNames::default();
            assert_eq!(from.way_to(&to, &none), way, "{from:?} {to:?}");
            let steps = steps(&from, &to, &none);
            assert_eq!(steps.iter().any(|step| step.decides), way == Way::Awaited);
            assert_eq!(steps.is_empty(), way == Way::Nothing);
        }
    }

    #[test]
    fn a_custom_setting_that_was_cleared_is_the_empty_string_to_its_session() {
        let registry = Registry::default();
        let of = |pairs: &[(&str, &str)]| settings(&registry, pairs);
        let (name, set, cleared) = (("application_name", "web"), ("app.x", "1"), ("app.x", ""));
        let mut custom = CustomNames::default();
        let ways = [
            (of(&[name]), of(&[name, cleared]), Way::Awaited),
            (of(&[name, set]), of(&[name, cleared]), Way::Awaited),
            (of(&[name, set]), of(&[name]), Way::Awaited),
            (of(&[name, cleared]), of(&[name]), Way::Name),
        ];
        for (from, to, way) in ways {
            assert_eq!(from.way_to(&to, &custom), way, "{from:?} {to:?}");
        }
        custom.add_all(&of(&[set]));
        assert_eq!(of(&[name]).way_to(&of(&[name, cleared]), &custom), Way::Name);
        assert!(of(&[name]).lacks_any(&custom) && !of(&[name, cleared]).lacks_any(&custom));
    }

    #[test]
    fn what_equals_is_the_same() {
        let registry = Registry::default();
        let one = settings(&registry, &[("a", "1"), ("b", "2")]);
        let set: (&[u8], Option<&[u8]>) = (b"b", Some(b"2"));
        let other = settings(&registry, &[("a", "1"), ("c", "3")]);
        let changed = registry.settings(other.changed([set, (b"c", None), (b"d", None)]));
        assert!(Arc::ptr_eq(&one, &changed));
        for number in 0..1000 {
            settings(&registry, &[("a", &number.to_string())]);
        }
        assert!(registry.known.lock().settings.known.len() < 200, "the dead are thrown out");
    }

    #[test]
    fn only_what_the_parser_looks_at_gives_another_meaning() {
        let registry = Registry::default();
        let plain = settings(&registry, &[("app.user", "7"), ("application_name", "web")]);
        assert_eq!(plain.meaning(), Meaning::default());
        let zone = settings(&registry, &[("app.user", "7"), ("timezone", "Asia/Tokyo")]);
        let same = settings(&registry, &[("app.user", "8"), ("timezone", "Asia/Tokyo")]);
        assert_ne!(zone.meaning(), plain.meaning());
        assert_eq!(zone.meaning(), same.meaning());
    }

    #[test]
    fn what_a_client_was_not_told() {
        let mut reported = Reported::default();
        for (name, value) in [("TimeZone", "UTC"), ("application_name", "surgetank")] {
            reported.set(name.as_bytes(), value.as_bytes());
        }
        let mut told = reported.clone();
        told.set(b"application_name", b"web");
        assert_eq!(reported.unlike(&told).count(), 0);
        reported.set(b"TimeZone", b"GMT");
        assert_eq!(reported.unlike(&told).collect::<Vec<_>>(), [(&b"TimeZone"[..], &b"GMT"[..])]);
    }
}
