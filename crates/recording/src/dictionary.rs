//! What later events cannot be understood without: names, texts, settings, plans.
//!
//! Told again at the head of each segment, so that the oldest segments can be deleted, and so that
//! each segment can be read alone.

use std::collections::BTreeMap;

use trace::Event;

/// Identifies a fact; a later fact with the same key replaces the earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Dyno(u16),
    /// The size of a dyno.
    Size(u16),
    /// What is live.
    Release,
    Setting(Box<str>),
    Statement(u64),
    Plan(u64),
}

impl Key {
    /// `None` for an event that is no fact but a happening.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::DynoNamed { dyno, .. } => Some(Self::Dyno(dyno.0)),
            Event::DynoSized { dyno, .. } => Some(Self::Size(dyno.0)),
            Event::ReleaseDeployed { .. } => Some(Self::Release),
            Event::SettingSeen { name, .. } => Some(Self::Setting(name.clone())),
            Event::StatementSeen(seen) => Some(Self::Statement(seen.fingerprint.0)),
            Event::PlanSeen(plan) => Some(Self::Plan(plan.statement.0)),
            _ => None,
        }
    }
}

/// The facts so far, in a fixed order; names of dynos first.
#[derive(Debug)]
pub(crate) struct Dictionary {
    facts: BTreeMap<Key, Event>,
    /// Bytes of text held.
    bytes: usize,
    /// Most bytes of text to hold; an app that makes up statements cannot make this grow.
    max_bytes: usize,
}

impl Dictionary {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { facts: BTreeMap::new(), bytes: 0, max_bytes }
    }

    /// Keeps the event if it is a fact and there is room.
    pub(crate) fn remember(&mut self, event: &Event) {
        let Some(key) = Key::of(event) else { return };
        if let Some(replaced) = self.facts.remove(&key) {
            self.bytes -= text_bytes(&replaced);
        }
        let bytes = text_bytes(event);
        if self.bytes + bytes <= self.max_bytes {
            self.bytes += bytes;
            self.facts.insert(key, event.clone());
        }
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = &Event> {
        self.facts.values()
    }
}

fn text_bytes(event: &Event) -> usize {
    match event {
        Event::DynoNamed { name, .. } => name.len(),
        Event::DynoSized { size, .. } => size.len(),
        Event::ReleaseDeployed { config, .. } => config.iter().map(|name| name.len()).sum(),
        Event::SettingSeen { name, value, .. } => name.len() + value.len(),
        Event::StatementSeen(seen) => seen.text.len(),
        Event::PlanSeen(plan) => plan.json.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use trace::{DynoId, Event, Micros};

    use super::Dictionary;

    fn named(id: u16, name: &str) -> Event {
        Event::DynoNamed { at: Micros(1), dyno: DynoId(id), name: name.into() }
    }

    #[test]
    fn a_later_fact_replaces_and_room_is_bounded() {
        let mut dictionary = Dictionary::new(10);
        dictionary.remember(&named(2, "web.2"));
        dictionary.remember(&named(1, "web"));
        dictionary.remember(&named(1, "web.1"));
        let config = vec!["A_KEY".into()];
        dictionary.remember(&Event::ReleaseDeployed { at: Micros(1), version: 1, config });
        dictionary.remember(&named(3, "x"));
        dictionary.remember(&Event::SessionClosed { at: Micros(1), session: trace::SessionId(1) });
        let facts: Vec<&Event> = dictionary.facts().collect();
        assert_eq!(facts, [&named(1, "web.1"), &named(2, "web.2")]);
    }
}
