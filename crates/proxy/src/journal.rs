//! The proxy's hand on the recording: one clock, one sink, and what must be told only once.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};
use trace::{
    BackendPid, Clock, DynoId, DynoNames, Event, Fingerprint, Micros, Request, RequestTraced,
    SessionId, Sink, StatementSeen, TraceId,
};

use crate::readings::{Found, Readings};
use crate::roster::{Card, Roster};
use trace::numbers::NumberSet;

/// Statements that are told with their text; further ones are recorded by fingerprint alone, so
/// that an app that makes up statements cannot make memory grow.
const STATEMENTS_MAX: usize = 20_000;

/// Longest text of a statement that is told.
const TEXT_MAX: usize = 4096;

/// Records what happens in one proxy.
pub(crate) struct Journal {
    clock: Clock,
    sink: Arc<dyn Sink>,
    names: Arc<DynoNames>,
    /// The way back from id to name, for the hints of refusals.
    dynos: RwLock<HashMap<DynoId, Box<str>>>,
    seen: RwLock<NumberSet<u64>>,
    readings: Mutex<Readings>,
    sessions: AtomicU32,
    /// Who is here.
    pub(crate) roster: Arc<Roster>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

/// What a statement's text says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) kind: sql::Kind,
    pub(crate) effects: sql::Effects,
}

impl Reading {
    /// Of a text that was not read.
    pub(crate) const UNREAD: Self = Self {
        fingerprint: Fingerprint::NONE,
        kind: sql::Kind::Other,
        effects: sql::Effects::NONE,
    };
}

impl Journal {
    pub(crate) fn new(clock: Clock, sink: Arc<dyn Sink>, names: Arc<DynoNames>) -> Self {
        Self {
            clock,
            sink,
            names,
            dynos: RwLock::default(),
            seen: RwLock::default(),
            readings: Mutex::default(),
            sessions: AtomicU32::new(1),
            roster: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }

    pub(crate) fn record(&self, event: Event) {
        if let Event::SessionPinned { cause, .. } = &event {
            self.roster.pinned(*cause);
        }
        self.tell_sink(event);
    }

    fn tell_sink(&self, event: Event) {
        if !self.sink.record(event) {
            self.roster.lost();
        }
    }

    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.sessions.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of a dyno's name; takes locks, so once per connection.
    pub(crate) fn dyno(&self, name: &str) -> DynoId {
        let id = self.names.id(name, &*self.sink);
        self.dynos.write().entry(id).or_insert_with(|| name.into());
        id
    }

    /// The name behind an id.
    pub(crate) fn dyno_name(&self, id: DynoId) -> Box<str> {
        self.dynos.read().get(&id).cloned().unwrap_or_else(|| "(unnamed)".into())
    }

    /// Reads a statement and tells its text if it is new.
    pub(crate) fn read(&self, text: &[u8]) -> Reading {
        let found = self.readings.lock().find(text);
        if let Found::Reading(reading) = found {
            return reading;
        }
        let reading = match str::from_utf8(text) {
            Ok(text) => self.read_text(text),
            Err(_) => self.read_text(&String::from_utf8_lossy(text)),
        };
        if let Found::Nothing(place) = found {
            self.readings.lock().keep(place, text, reading);
        }
        reading
    }

    fn read_text(&self, text: &str) -> Reading {
        let statement = sql::read(text);
        if !self.seen.read().contains(&statement.fingerprint) {
            self.tell(text, statement.fingerprint);
        }
        Reading {
            fingerprint: Fingerprint(statement.fingerprint),
            kind: statement.kind,
            effects: statement.effects,
        }
    }

    #[cold]
    fn tell(&self, text: &str, fingerprint: u64) {
        let mut seen = self.seen.write();
        if seen.len() >= STATEMENTS_MAX || !seen.insert(fingerprint) {
            return;
        }
        drop(seen);
        let mut text = sql::normalise(text);
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        self.record(Event::StatementSeen(Box::new(StatementSeen {
            at: self.now(),
            fingerprint: Fingerprint(fingerprint),
            text: text.into(),
        })));
    }
}

/// A session's hand on the journal: its requests are counted on its card, then recorded.
#[derive(Clone, Debug)]
pub(crate) struct Scribe {
    journal: Arc<Journal>,
    pub(crate) card: Arc<Card>,
}

impl Scribe {
    pub(crate) fn new(journal: &Arc<Journal>, card: &Arc<Card>) -> Self {
        Self { journal: Arc::clone(journal), card: Arc::clone(card) }
    }

    /// Tells which trace a statement belongs to, if it says so in a comment at its end, where
    /// frameworks write it.
    pub(crate) fn mind_trace(&self, text: &[u8]) {
        let end = text.trim_ascii_end();
        if end.ends_with(b"*/") || end.ends_with(b"*/;") {
            self.read_trace(text);
        }
    }

    #[cold]
    fn read_trace(&self, text: &[u8]) {
        let tags = sql::comment_tags(&String::from_utf8_lossy(text));
        let named = tags.iter().find(|(key, _)| key == "traceparent");
        if let Some(trace) = named.and_then(|(_, value)| TraceId::of_traceparent(value)) {
            let (at, session) = (self.now(), self.card.badge.session);
            self.record(Event::RequestTraced(RequestTraced { at, session, trace }));
        }
    }

    /// Counts and records a request that is over.
    pub(crate) fn request(&self, request: Request) {
        self.card.counters.count(&request);
        if request.backend == BackendPid::NONE
            && let Some(code) = request.outcome.sql_state()
        {
            self.journal.roster.refused(code);
        }
        self.journal.tell_sink(Event::Request(request));
    }
}

impl Deref for Scribe {
    type Target = Arc<Journal>;

    fn deref(&self) -> &Self::Target {
        &self.journal
    }
}
