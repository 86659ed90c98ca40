//! Who held which server connection, from when to when, and what it did meanwhile.
//!
//! A connection's life is cut into holds at each request: executing while one runs (waiting for a
//! lock where the samples say so), then idle or idle in a transaction until the next. In `observe`
//! mode the dyno holds its connection all that time; in `regulate` mode only from lease to the end
//! of the transaction, and the pool itself between.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use trace::{
    ActivitySampled, BackendPid, BackendSample, DynoId, Fingerprint, Micros, Request, RequestKind,
    SessionId, TransactionState,
};

use super::locks::LockGraph;
use super::{Mode, Session};
use crate::finding::HolderState;
use crate::stats;

/// How long one look at `pg_stat_activity` speaks for what follows it, at most.
const SAMPLE_HOLDS_FOR: Micros = Micros::from_secs(1);
/// How far the proxy's and the server's idea of a connection's life may differ.
const SAME_CONNECTION: Micros = Micros::from_secs(1);

/// A server connection's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// For whom it was opened, if that was seen.
    pub(crate) session: Option<SessionId>,
    pub(crate) opened: Micros,
    pub(crate) closed: Micros,
}

/// Who can hold something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// A dyno.
    Dyno(DynoId),
    /// A client that does not go through Surgetank, by its `application_name`.
    Outside(Box<str>),
    /// Nobody: a free connection of Surgetank's pool.
    FreePool,
    /// The server itself.
    Postgres,
}

/// What blame is charged to: holder × state × statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HoldKey {
    pub(crate) holder: Holder,
    pub(crate) state: HolderState,
    pub(crate) statement: Fingerprint,
}

/// One stretch of a connection's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// Into [`Holds::keys`].
    pub(crate) key: usize,
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

/// All holds.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// By backend, then by time.
    pub(crate) list: Vec<Hold>,
    pub(crate) keys: Vec<HoldKey>,
    of_backend: BTreeMap<BackendPid, Range<usize>>,
    /// Backends that the proxy opened.
    ours: BTreeSet<BackendPid>,
}

/// What the holds are worked out from.
pub(crate) struct Sources<'s, 'a> {
    pub(crate) mode: Mode,
    pub(crate) sessions: &'s BTreeMap<SessionId, Session>,
    pub(crate) connections: &'s BTreeMap<BackendPid, Vec<Connection>>,
    pub(crate) requests: &'s [&'a Request],
    pub(crate) locks: &'s LockGraph<'a>,
    pub(crate) activity: &'s [&'a ActivitySampled],
}

impl Holds {
    pub(crate) fn build(sources: &Sources<'_, '_>) -> Self {
        let ours = sources.connections.keys().copied().collect();
        let holds = Self { ours, ..Self::default() };
        let mut builder = Builder { sources, holds, ids: BTreeMap::new() };
        builder.own_connections();
        builder.outside_connections();
        builder.holds
    }

    /// Whether the proxy ever opened this backend.
    pub(crate) fn is_ours(&self, backend: BackendPid) -> bool {
        self.ours.contains(&backend)
    }

    /// What the backend was doing at this time, for whom.
    pub(crate) fn at(&self, backend: BackendPid, at: Micros) -> Option<&HoldKey> {
        let holds = &self.list[self.of_backend.get(&backend)?.clone()];
        let next = holds.partition_point(|hold| hold.from <= at);
        let hold = holds[..next].last()?;
        (at <= hold.to).then(|| &self.keys[hold.key])
    }
}

/// The usual time from one look at `pg_stat_activity` to the next.
pub(crate) fn period(activity: &[&ActivitySampled]) -> Micros {
    let mut steps: Vec<Micros> = activity.windows(2).map(|w| w[1].at.since(w[0].at)).collect();
    stats::percentile(&mut steps, 50).unwrap_or(Micros::from_millis(100))
}

struct Builder<'b, 'a> {
    sources: &'b Sources<'b, 'a>,
    holds: Holds,
    ids: BTreeMap<HoldKey, usize>,
}

/// What a connection does after a request, until something else happens.
struct Rest {
    key: HoldKey,
    /// When the session ends and lets go of it.
    until: Micros,
}

impl Builder<'_, '_> {
    fn own_connections(&mut self) {
        let waits = self.sources.locks.waits();
        let mut served: BTreeMap<BackendPid, Vec<&Request>> = BTreeMap::new();
        for request in self.sources.requests {
            if request.backend != BackendPid::NONE {
                served.entry(request.backend).or_default().push(request);
            }
        }
        for (backend, connections) in self.sources.connections {
            let mut requests = served.remove(backend).unwrap_or_default();
            requests.sort_by_key(|request| (request.sent, request.done));
            let waits = waits.get(backend).map_or(&[][..], Vec::as_slice);
            let start = self.holds.list.len();
            for connection in connections {
                let first = requests.partition_point(|request| request.done < connection.opened);
                let last = requests.partition_point(|request| request.sent <= connection.closed);
                self.life(connection, &requests[first..last.max(first)], waits);
            }
            self.holds.of_backend.insert(*backend, start..self.holds.list.len());
        }
    }

    /// Cuts one connection's life into holds.
    fn life(&mut self, connection: &Connection, requests: &[&Request], waits: &[(Micros, Micros)]) {
        let end = connection.closed;
        let mut at = connection.opened;
        let mut rest = self.at_first(connection);
        for request in requests {
            let start = self.taken(request).clamp(at, end);
            self.rest(&rest, at, start);
            let done = request.done.clamp(start, end);
            self.execution(request, start, done, waits);
            rest = self.after(request);
            at = done;
        }
        self.rest(&rest, at, end);
    }

    /// When the connection was given to the request.
    fn taken(&self, request: &Request) -> Micros {
        match self.sources.mode {
            Mode::Observe => request.sent,
            Mode::Regulate => request.assigned,
        }
    }

    /// A connection before its first request.
    fn at_first(&self, connection: &Connection) -> Rest {
        let session = connection.session.and_then(|session| self.sources.sessions.get(&session));
        let holder = match (self.sources.mode, session) {
            (Mode::Observe, Some(session)) => Holder::Dyno(session.dyno),
            (Mode::Observe, None) => Holder::Outside("unknown".into()),
            (Mode::Regulate, _) => Holder::FreePool,
        };
        Rest { key: idle(holder, Fingerprint::NONE), until: Micros(u64::MAX) }
    }

    /// A connection after this request.
    fn after(&self, request: &Request) -> Rest {
        let holder = Holder::Dyno(request.dyno);
        let session = self.sources.sessions.get(&request.session);
        let closed = session.map_or(Micros(u64::MAX), |session| session.closed);
        let pinned = session.and_then(|session| session.pinned_until(request.done));
        if request.transaction != TransactionState::Idle {
            let state = HolderState::IdleInTransaction;
            return Rest {
                key: HoldKey { holder, state, statement: request.statement },
                until: closed,
            };
        }
        match (self.sources.mode, pinned) {
            (Mode::Observe, _) => Rest { key: idle(holder, request.statement), until: closed },
            (Mode::Regulate, Some(until)) => {
                Rest { key: idle(holder, request.statement), until: closed.min(until) }
            }
            (Mode::Regulate, None) => {
                Rest { key: idle(Holder::FreePool, Fingerprint::NONE), until: Micros(u64::MAX) }
            }
        }
    }

    fn rest(&mut self, rest: &Rest, from: Micros, to: Micros) {
        let released = match self.sources.mode {
            // The connection is the client's own: it ends with it, whatever the order of the two
            // events.
            Mode::Observe => to,
            Mode::Regulate => rest.until.clamp(from, to),
        };
        self.push(rest.key.clone(), from, released);
        self.push(idle(Holder::FreePool, Fingerprint::NONE), released, to);
    }

    /// One request's time on the connection, cut at the waits for locks.
    fn execution(
        &mut self,
        request: &Request,
        from: Micros,
        to: Micros,
        waits: &[(Micros, Micros)],
    ) {
        let holder = Holder::Dyno(request.dyno);
        if request.kind == RequestKind::Connect {
            return self.push(idle(holder, Fingerprint::NONE), from, to);
        }
        let key = |state| HoldKey { holder: holder.clone(), state, statement: request.statement };
        let mut at = from;
        let first = waits.partition_point(|(_, until)| *until <= from);
        for (wait_from, wait_to) in waits[first..].iter().take_while(|(start, _)| *start < to) {
            let (wait_from, wait_to) = ((*wait_from).clamp(at, to), (*wait_to).clamp(at, to));
            self.push(key(HolderState::Executing), at, wait_from);
            self.push(key(HolderState::LockWaiting), wait_from, wait_to);
            at = wait_to;
        }
        self.push(key(HolderState::Executing), at, to);
    }

    /// Backends that the proxy did not open, as far as `pg_stat_activity` shows them.
    fn outside_connections(&mut self) {
        let activity = self.sources.activity;
        let mut lives: BTreeMap<BackendPid, Vec<Hold>> = BTreeMap::new();
        for (i, sample) in activity.iter().enumerate() {
            let next = activity.get(i + 1).map_or(sample.at, |next| next.at);
            let to = next.min(sample.at + SAMPLE_HOLDS_FOR);
            for backend in &sample.backends {
                if self.is_ours(backend.pid, sample.at) {
                    continue;
                }
                let key = self.id(outside(backend));
                let life = lives.entry(backend.pid).or_default();
                match life.last_mut() {
                    Some(last) if last.key == key && last.to == sample.at => last.to = to,
                    _ => life.push(Hold { key, from: sample.at, to }),
                }
            }
        }
        for (backend, life) in lives {
            let start = self.holds.list.len();
            self.holds.list.extend(life);
            // A process id that also served us keeps our account of it, which is the exact one.
            let whole = start..self.holds.list.len();
            self.holds.of_backend.entry(backend).or_insert(whole);
        }
    }

    fn is_ours(&self, backend: BackendPid, at: Micros) -> bool {
        let lives = self.sources.connections.get(&backend);
        lives
            .into_iter()
            .flatten()
            .any(|life| life.opened - SAME_CONNECTION <= at && at <= life.closed + SAME_CONNECTION)
    }

    fn push(&mut self, key: HoldKey, from: Micros, to: Micros) {
        if from < to {
            let key = self.id(key);
            self.holds.list.push(Hold { key, from, to });
        }
    }

    fn id(&mut self, key: HoldKey) -> usize {
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = self.holds.keys.len();
        self.holds.keys.push(key.clone());
        self.ids.insert(key, id);
        id
    }
}

fn idle(holder: Holder, statement: Fingerprint) -> HoldKey {
    HoldKey { holder, state: HolderState::Idle, statement }
}

/// The key of a backend that is not ours, in the words of `pg_stat_activity.state`.
fn outside(backend: &BackendSample) -> HoldKey {
    let state = match &*backend.state {
        "active" | "fastpath function call" if backend.wait.starts_with("Lock:") => {
            HolderState::LockWaiting
        }
        "active" | "fastpath function call" => HolderState::Executing,
        "idle in transaction" | "idle in transaction (aborted)" => HolderState::IdleInTransaction,
        _ => HolderState::Idle,
    };
    let holder = Holder::Outside(backend.application.clone());
    HoldKey { holder, state, statement: backend.statement }
}
