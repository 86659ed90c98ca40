//! The events of a recording, indexed by what the diagnosis asks of them.
//!
//! Built in one pass over the events and one over the requests of each backend; everything after it
//! reads, nothing changes it.

pub(crate) mod holds;
pub(crate) mod locks;

use std::collections::BTreeMap;

use trace::{
    ActivitySampled, BackendPid, DynoId, DynoState, Event, Fingerprint, HttpServed, Micros,
    PlanSeen, PoolSampled, Request, RequestKind, SessionId, StatementSampled, TableSampled,
};

use holds::{Connection, Holds};
use locks::LockGraph;

/// How long before and after a change of its state a dyno's requests may end because of it.
const AROUND_A_RESTART: Micros = Micros::from_secs(1);

/// A recording, indexed.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    pub(crate) from: Micros,
    pub(crate) to: Micros,
    /// In the order of their ends.
    pub(crate) requests: Vec<&'a Request>,
    pub(crate) http: Vec<&'a HttpServed>,
    pub(crate) names: BTreeMap<DynoId, &'a str>,
    pub(crate) statements: BTreeMap<Fingerprint, &'a str>,
    /// Who held which server connection when, doing what.
    pub(crate) holds: Holds,
    pub(crate) locks: LockGraph<'a>,
    pub(crate) activity: Vec<&'a ActivitySampled>,
    /// Each dyno's changes of state, in time.
    pub(crate) states: BTreeMap<DynoId, Vec<(Micros, DynoState)>>,
    pub(crate) settings: BTreeMap<&'a str, &'a str>,
    /// First and last sample of each table.
    pub(crate) tables: BTreeMap<&'a str, [&'a TableSampled; 2]>,
    /// First and last sample of each statement.
    pub(crate) samples: BTreeMap<Fingerprint, [&'a StatementSampled; 2]>,
    /// The last plan of each statement.
    pub(crate) plans: BTreeMap<Fingerprint, &'a PlanSeen>,
    pub(crate) pool: Vec<&'a PoolSampled>,
    pub(crate) marks: Vec<(Micros, &'a str)>,
}

/// What a session is known for.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) dyno: DynoId,
    pub(crate) closed: Micros,
    /// Since when it was pinned, and until when.
    pub(crate) pins: Vec<(Micros, Micros)>,
}

impl Session {
    /// Until when it was pinned that was pinned at this moment.
    pub(crate) fn pinned_until(&self, at: Micros) -> Option<Micros> {
        let pin = self.pins.iter().find(|(since, until)| *since <= at && at < *until);
        pin.map(|(_, until)| *until)
    }
}

/// Whether clients own their server connections or borrow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One server connection per client.
    Observe,
    /// Leases of a pool.
    Regulate,
}

impl<'a> Story<'a> {
    /// Indexes the events, which are in the order of [`Event::at`]; the story is told from the
    /// first to the last happening, as facts may be older.
    pub(crate) fn read(events: &'a [Event], span: (Micros, Micros)) -> Self {
        let mut draft = Draft::default();
        for event in events {
            draft.take(event);
        }
        draft.finish(span)
    }

    /// The dyno's name; a nameless one is told by its number.
    pub(crate) fn dyno_name(&self, dyno: DynoId) -> String {
        self.names.get(&dyno).map_or_else(|| format!("dyno {}", dyno.0), |name| (*name).to_owned())
    }

    /// A numeric setting of the server.
    pub(crate) fn setting(&self, name: &str) -> Option<u32> {
        self.settings.get(name)?.parse().ok()
    }

    /// Connection slots an ordinary role can have: `max_connections` less what is reserved (manual
    /// §20.3.1).
    pub(crate) fn usable_slots(&self) -> Option<u32> {
        let reserved = ["superuser_reserved_connections", "reserved_connections"];
        let reserved = reserved.iter().filter_map(|name| self.setting(name)).sum();
        Some(self.setting("max_connections")?.saturating_sub(reserved))
    }

    /// Whether the dyno was up, and not just starting or stopping, in all of this time and a second
    /// around it. A dyno of which no state was recorded counts as up.
    pub(crate) fn was_up(&self, dyno: DynoId, from: Micros, to: Micros) -> bool {
        let Some(states) = self.states.get(&dyno) else { return true };
        let (from, to) = (from - AROUND_A_RESTART, to + AROUND_A_RESTART);
        let first = states.partition_point(|(at, _)| *at < from).saturating_sub(1);
        states[first..]
            .iter()
            .take_while(|(at, _)| *at <= to)
            .all(|(_, state)| *state == DynoState::Up)
    }
}

/// `web` of `web.1`.
pub(crate) fn process_type(dyno: &str) -> &str {
    dyno.rsplit_once('.').map_or(dyno, |(kind, _)| kind)
}

/// What is gathered before the holds can be worked out.
#[derive(Default)]
struct Draft<'a> {
    requests: Vec<&'a Request>,
    http: Vec<&'a HttpServed>,
    names: BTreeMap<DynoId, &'a str>,
    statements: BTreeMap<Fingerprint, &'a str>,
    sessions: BTreeMap<SessionId, Session>,
    connections: BTreeMap<BackendPid, Vec<Connection>>,
    locks: LockGraph<'a>,
    activity: Vec<&'a ActivitySampled>,
    states: BTreeMap<DynoId, Vec<(Micros, DynoState)>>,
    settings: BTreeMap<&'a str, &'a str>,
    tables: BTreeMap<&'a str, [&'a TableSampled; 2]>,
    samples: BTreeMap<Fingerprint, [&'a StatementSampled; 2]>,
    plans: BTreeMap<Fingerprint, &'a PlanSeen>,
    pool: Vec<&'a PoolSampled>,
    marks: Vec<(Micros, &'a str)>,
}

impl<'a> Draft<'a> {
    fn take(&mut self, event: &'a Event) {
        match event {
            Event::Request(request) => self.request(request),
            Event::SessionOpened { session, dyno, .. } => {
                self.session(*session, *dyno);
            }
            Event::SessionClosed { at, session } => {
                if let Some(known) = self.sessions.get_mut(session) {
                    known.closed = *at;
                }
            }
            Event::ServerOpened { at, backend, session } => {
                let closed = Micros(u64::MAX);
                let connection = Connection { session: Some(*session), opened: *at, closed };
                self.connections.entry(*backend).or_default().push(connection);
            }
            Event::ServerClosed { at, backend } => self.server_closed(*at, *backend),
            Event::SessionPinned { at, session, .. } => {
                if let Some(known) = self.sessions.get_mut(session) {
                    // A second cause before the first is gone changes nothing.
                    if known.pinned_until(*at).is_none() {
                        known.pins.push((*at, Micros(u64::MAX)));
                    }
                }
            }
            Event::SessionUnpinned { at, session } => {
                let known = self.sessions.get_mut(session);
                if let Some((_, until)) = known.and_then(|known| known.pins.last_mut()) {
                    *until = (*until).min(*at);
                }
            }
            Event::StatementSeen(seen) => {
                self.statements.insert(seen.fingerprint, &seen.text);
            }
            Event::PoolSampled(sample) => self.pool.push(sample),
            Event::ActivitySampled(sample) => self.activity.push(sample),
            Event::LockWaitSampled(sample) => self.locks.take(sample),
            Event::StatementSampled(sample) => {
                self.samples.entry(sample.statement).or_insert([sample, sample])[1] = sample;
            }
            Event::TableSampled(sample) => {
                self.tables.entry(&sample.table).or_insert([sample, sample])[1] = sample;
            }
            Event::PlanSeen(plan) => {
                self.plans.insert(plan.statement, plan);
            }
            Event::SettingSeen { name, value, .. } => {
                self.settings.insert(name, value);
            }
            Event::DynoNamed { dyno, name, .. } => {
                self.names.insert(*dyno, name);
            }
            Event::DynoStateChanged { at, dyno, state } => {
                self.states.entry(*dyno).or_default().push((*at, *state));
            }
            Event::HttpServed(served) => self.http.push(served),
            Event::Marked { at, text } => self.marks.push((*at, text)),
            // The refusal repeats what the failed request and the holds say; traces are for
            // `journeys`, error lines for people, sizes and releases for who imitates the place;
            // what was lost is told by the recording itself.
            Event::RequestRefused(_)
            | Event::RequestTraced(_)
            | Event::LimitChanged(_)
            | Event::LineLogged(_)
            | Event::DynoSized { .. }
            | Event::ReleaseDeployed { .. }
            | Event::EventsLost { .. } => {}
        }
    }

    fn request(&mut self, request: &'a Request) {
        self.session(request.session, request.dyno);
        self.requests.push(request);
        // A recording may begin when connections are already open.
        let served = request.backend != BackendPid::NONE && request.kind != RequestKind::Connect;
        if served && !self.connections.contains_key(&request.backend) {
            let session = Some(request.session);
            let whole = Connection { session, opened: Micros::ZERO, closed: Micros(u64::MAX) };
            self.connections.insert(request.backend, vec![whole]);
        }
    }

    fn session(&mut self, session: SessionId, dyno: DynoId) {
        let fresh = Session { dyno, closed: Micros(u64::MAX), pins: Vec::new() };
        self.sessions.entry(session).or_insert(fresh);
    }

    fn server_closed(&mut self, at: Micros, backend: BackendPid) {
        let connections = self.connections.entry(backend).or_default();
        match connections.last_mut() {
            Some(last) if last.closed == Micros(u64::MAX) => last.closed = at,
            Some(_) => {}
            // It was open before the recording began, and did nothing in it.
            None => {
                connections.push(Connection { session: None, opened: Micros::ZERO, closed: at });
            }
        }
    }

    fn finish(mut self, (from, to): (Micros, Micros)) -> Story<'a> {
        for connection in self.connections.values_mut().flatten() {
            connection.opened = connection.opened.max(from);
            connection.closed = connection.closed.min(to).max(connection.opened);
        }
        let mode = if self.pool.is_empty() { Mode::Observe } else { Mode::Regulate };
        self.locks.period = holds::period(&self.activity);
        let sources = holds::Sources {
            mode,
            sessions: &self.sessions,
            connections: &self.connections,
            requests: &self.requests,
            locks: &self.locks,
            activity: &self.activity,
        };
        let holds = Holds::build(&sources);
        Story {
            from,
            to,
            holds,
            requests: self.requests,
            http: self.http,
            names: self.names,
            statements: self.statements,
            locks: self.locks,
            activity: self.activity,
            states: self.states,
            settings: self.settings,
            tables: self.tables,
            samples: self.samples,
            plans: self.plans,
            pool: self.pool,
            marks: self.marks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_pinned_only_until_it_is_not() {
        let at = Micros::from_secs;
        let pins = vec![(at(2), at(5)), (at(7), Micros(u64::MAX))];
        let session = Session { dyno: DynoId(1), closed: at(9), pins };
        let until = [1, 2, 4, 5, 6, 8].map(|second| session.pinned_until(at(second)));
        let for_ever = Some(Micros(u64::MAX));
        assert_eq!(until, [None, Some(at(5)), Some(at(5)), None, None, for_ever]);
    }
}
