//! A recording as diagnosis, report and load see it: all events in the order of their times.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use trace::{DynoId, Event, Fingerprint, Micros};

use crate::dictionary::Key;
use crate::error::Error;
use crate::segment::{self, End, OtherVersion};

/// Everything that was recorded, in memory.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    events: Vec<Event>,
    names: HashMap<DynoId, Box<str>>,
    ids: HashMap<Box<str>, DynoId>,
    statements: HashMap<Fingerprint, Box<str>>,
    lost: u64,
    truncated: Option<String>,
    finished: bool,
}

impl Recording {
    /// Reads the segments in `dir`. A damaged segment is read up to its damage, and the others
    /// wholly; [`truncated`](Self::truncated) says so. A recording still being written may be read.
    ///
    /// # Errors
    /// If there is no segment, one cannot be read, or one is of another version.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let mut damage = Vec::new();
        let mut events = Vec::new();
        let mut last_end = End::Unmarked;
        let segments = segments(dir)?;
        let mut expected = segments.keys().next().copied();
        for (&number, path) in &segments {
            let name = segment::file_name(number);
            if expected != Some(number) {
                damage.push(format!("segments before {name} are missing"));
            }
            expected = number.checked_add(1);
            let bytes =
                fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            last_end = segment::read(&bytes, &mut events).map_err(|OtherVersion(found)| {
                Error::Version { path: path.clone(), found, known: segment::VERSION }
            })?;
            let is_last = segments.keys().next_back() == Some(&number);
            match &last_end {
                End::Torn(what) => damage.push(format!("{name}: {what}")),
                End::Unmarked if !is_last => damage.push(format!("{name}: its end is missing")),
                End::Unmarked | End::Marked => {}
            }
        }
        let mut recording = Self::from_events(without_repeats(events));
        recording.finished = last_end == End::Marked;
        recording.truncated = (!damage.is_empty()).then(|| damage.join("; "));
        Ok(recording)
    }

    /// A recording from events that are at hand, in any order.
    #[must_use]
    pub fn from_events(mut events: Vec<Event>) -> Self {
        events.sort_by_key(Event::at);
        let mut recording = Self { finished: true, ..Self::default() };
        for event in &events {
            match event {
                Event::DynoNamed { dyno, name, .. } => {
                    recording.names.insert(*dyno, name.clone());
                    recording.ids.insert(name.clone(), *dyno);
                }
                Event::StatementSeen(seen) => {
                    recording.statements.entry(seen.fingerprint).or_insert(seen.text.clone());
                }
                Event::EventsLost { count, .. } => {
                    recording.lost = recording.lost.saturating_add(*count);
                }
                _ => {}
            }
        }
        recording.events = events;
        recording
    }

    /// All events, by [`Event::at`]; those of one time in the order in which they were recorded.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The dyno's name; empty for the nameless dyno and for ids that were never named.
    #[must_use]
    pub fn dyno_name(&self, dyno: DynoId) -> &str {
        self.names.get(&dyno).map_or("", |name| name)
    }

    /// The id that a dyno's name has in this recording.
    #[must_use]
    pub fn dyno_id(&self, name: &str) -> Option<DynoId> {
        self.ids.get(name).copied()
    }

    /// The statement's text without literals, if it was seen.
    #[must_use]
    pub fn statement(&self, fingerprint: Fingerprint) -> Option<&str> {
        self.statements.get(&fingerprint).map(|text| &**text)
    }

    /// The time from the first to the last happening; facts (names, texts, settings, plans) may be
    /// older, as they outlive deleted segments. Both are zero if nothing happened.
    #[must_use]
    pub fn span(&self) -> (Micros, Micros) {
        let happening = |event: &&Event| Key::of(event).is_none();
        let first = self.events.iter().find(happening).map(Event::at);
        let last = self.events.iter().rev().find(happening).map(Event::at);
        (first.unwrap_or_default(), last.unwrap_or_default())
    }

    /// Events that the recorder had no room for, as it counted them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What of the recording is damaged or missing, if anything is.
    #[must_use]
    pub fn truncated(&self) -> Option<&str> {
        self.truncated.as_deref()
    }

    /// Whether its recorder ended it; if not, the recorder still runs or was killed.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }
}

/// The segments of a folder by number.
fn segments(dir: &Path) -> Result<BTreeMap<u32, PathBuf>, Error> {
    let cannot = |source| Error::Read { path: dir.to_owned(), source };
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if let Some(number) = segment::number_of(&path) {
            segments.insert(number, path);
        }
    }
    if segments.is_empty() {
        return Err(Error::NoRecording { dir: dir.to_owned() });
    }
    Ok(segments)
}

/// Takes out the facts that a later segment told again.
fn without_repeats(mut events: Vec<Event>) -> Vec<Event> {
    let mut last_told: BTreeMap<Key, Event> = BTreeMap::new();
    events.retain(|event| {
        let Some(key) = Key::of(event) else { return true };
        if last_told.get(&key) == Some(event) {
            return false;
        }
        last_told.insert(key, event.clone());
        true
    });
    events
}
