//! Recordings written by hand: the events of an incident whose cause is known.
//!
//! ```
//! use testkit::golden::{Ask, Story, ms};
//!
//! let mut story = Story::new();
//! story.setting("max_connections", "20");
//! let (web, other) = (story.dyno("web.1"), story.dyno("web.2"));
//! let select = story.statement("SELECT * FROM orders WHERE id = $1");
//! let held = story.connection(web, ms(0), ms(10_000));
//! story.every(ms(50), ms(100), ms(9_000), |story, at| {
//!     story.request(held, Ask::at(at).of(select).server(ms(4)));
//! });
//! story.refused_connect(other, ms(5_000));
//! let events = story.events();
//! ```
//!
//! All times are spans from the story's beginning. `pg_stat_activity` samples are derived from the
//! connections and requests, ten times a second, so that they cannot contradict each other.

mod ask;

use std::ops::Range;

pub use ask::Ask;
use trace::{
    ActivitySampled, BackendPid, BackendSample, DynoId, DynoState, Event, Fingerprint, HttpServed,
    LockWaitSampled, LogLine, Micros, PlanSeen, PoolSampled, Request, RequestKind, SessionId,
    SqlState, StatementSampled, StatementSeen, TableSampled, TraceId, TransactionState,
};

/// The wall-clock time at which all stories begin: 2026-01-01 00:00:00 UTC.
pub const BEGIN: Micros = Micros::from_secs(1_767_225_600);

/// How often the database is sampled.
pub const SAMPLE_EVERY: Micros = Micros::from_millis(100);

/// Milliseconds from the story's beginning, or a span of them.
#[must_use]
pub const fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

/// A client connection with a server connection of its own (`observe` mode), open for a span of the
/// story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client connection.
    pub session: SessionId,
    /// The server connection.
    pub backend: BackendPid,
    /// Whose.
    pub dyno: DynoId,
    /// Its place in the story.
    index: usize,
}

/// An incident in the making.
#[derive(Clone, Debug, Default)]
pub struct Story {
    events: Vec<Event>,
    dynos: u16,
    sessions: u32,
    held: Vec<Held>,
}

/// What is known of a connection, for the samples.
#[derive(Clone, Debug)]
struct Held {
    connection: Connection,
    application: Box<str>,
    open: Range<Micros>,
    requests: Vec<Request>,
    lock_waits: Vec<Range<Micros>>,
}

impl Story {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A dyno by the name of `web.1`; it is up from the beginning.
    pub fn dyno(&mut self, name: &str) -> DynoId {
        self.dynos += 1;
        let dyno = DynoId(self.dynos);
        self.events.push(Event::DynoNamed { at: BEGIN, dyno, name: name.into() });
        self.dyno_state(dyno, Micros::ZERO, DynoState::Up);
        dyno
    }

    /// A dyno changes its state.
    pub fn dyno_state(&mut self, dyno: DynoId, at: Micros, state: DynoState) {
        self.events.push(Event::DynoStateChanged { at: BEGIN + at, dyno, state });
    }

    /// A dyno is of this size from the beginning.
    pub fn size(&mut self, dyno: DynoId, size: &str) {
        self.events.push(Event::DynoSized { at: BEGIN, dyno, size: size.into() });
    }

    /// A release is live, with config vars of these names.
    pub fn release(&mut self, version: u64, config: &[&str]) {
        let config = config.iter().map(|&name| name.into()).collect();
        self.events.push(Event::ReleaseDeployed { at: BEGIN, version, config });
    }

    /// A setting of the server.
    pub fn setting(&mut self, name: &str, value: &str) {
        let (name, value) = (name.into(), value.into());
        self.events.push(Event::SettingSeen { at: BEGIN, name, value });
    }

    /// A statement, by its text without literals. Its identity is the story's own (FNV-1a of the
    /// text), not that of the room `sql`.
    pub fn statement(&mut self, text: &str) -> Fingerprint {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let fingerprint = Fingerprint(hash.max(1));
        let seen = StatementSeen { at: BEGIN, fingerprint, text: text.into() };
        self.events.push(Event::StatementSeen(Box::new(seen)));
        fingerprint
    }

    /// A connection that a dyno opens and holds; opening takes a millisecond.
    pub fn connection(&mut self, dyno: DynoId, from: Micros, until: Micros) -> Connection {
        let session = self.next_session();
        let pid = i32::try_from(1000 + session.0).expect("stories are short");
        let backend = BackendPid(pid);
        let connection = Connection { session, backend, dyno, index: self.held.len() };
        let (at, end) = (BEGIN + from, BEGIN + until);
        self.events.extend([
            Event::SessionOpened { at, session, dyno },
            Event::ServerOpened { at, backend, session },
            Event::ServerClosed { at: end, backend },
            Event::SessionClosed { at: end, session },
        ]);
        self.held.push(Held {
            connection,
            application: "app".into(),
            open: at..end,
            requests: Vec::new(),
            lock_waits: Vec::new(),
        });
        let connect = Ask::at(from).kind(RequestKind::Connect).rows(0);
        self.events.push(Event::Request(connect.tell(session, dyno, backend)));
        connection
    }

    /// `count` connections of one dyno over the same span: its pool.
    pub fn connections(
        &mut self,
        count: usize,
        dyno: DynoId,
        from: Micros,
        until: Micros,
    ) -> Vec<Connection> {
        (0..count).map(|_| self.connection(dyno, from, until)).collect()
    }

    /// A request over a connection. Requests of one connection must not overlap.
    pub fn request(&mut self, over: Connection, ask: Ask) {
        let request = ask.tell(over.session, over.dyno, over.backend);
        self.held[over.index].requests.push(request);
        self.events.push(Event::Request(request));
    }

    /// A connect that the server refuses at once because all slots are taken (53300).
    pub fn refused_connect(&mut self, dyno: DynoId, at: Micros) {
        self.failed_connect(dyno, Ask::at(at).error(SqlState::TOO_MANY_CONNECTIONS));
    }

    /// A connect that fails as `ask` says.
    pub fn failed_connect(&mut self, dyno: DynoId, ask: Ask) {
        let session = self.next_session();
        let ask = ask.kind(RequestKind::Connect).rows(0);
        let request = ask.tell(session, dyno, BackendPid::NONE);
        self.events.extend([
            Event::SessionOpened { at: request.arrived, session, dyno },
            Event::Request(request),
            Event::SessionClosed { at: request.done, session },
        ]);
    }

    /// `waiter` waits for a lock that `blockers` hold, for a span; the request that waits is told
    /// apart from this, with [`request`](Self::request).
    pub fn lock_wait(
        &mut self,
        waiter: Connection,
        blockers: &[Connection],
        span: Range<Micros>,
        target: &str,
    ) {
        let (from, until) = (BEGIN + span.start, BEGIN + span.end);
        self.held[waiter.index].lock_waits.push(from..until);
        for at in samples(from..until) {
            let sample = LockWaitSampled {
                at,
                waiter: waiter.backend,
                blockers: blockers.iter().map(|blocker| blocker.backend).collect(),
                mode: "ShareLock".into(),
                target: target.into(),
            };
            self.events.push(Event::LockWaitSampled(Box::new(sample)));
        }
    }

    /// An HTTP request that a dyno answered at `done`, `service` after it had come.
    pub fn http(&mut self, dyno: DynoId, done: Micros, service: Micros, path: &str, status: u16) {
        self.events.push(Event::HttpServed(Box::new(HttpServed {
            at: BEGIN + done,
            dyno,
            method: "GET".into(),
            path: path.into(),
            status,
            code: if status < 500 { "".into() } else { "H13".into() },
            service,
            request_id: "".into(),
            trace: TraceId::NONE,
        })));
    }

    /// A dyno wrote a line.
    pub fn line(&mut self, dyno: DynoId, at: Micros, text: &str) {
        let line = LogLine { at: BEGIN + at, dyno, text: text.into() };
        self.events.push(Event::LineLogged(Box::new(line)));
    }

    /// Somebody marked the moment.
    pub fn mark(&mut self, at: Micros, text: &str) {
        self.events.push(Event::Marked { at: BEGIN + at, text: text.into() });
    }

    /// `pg_stat_statements` says so at that time: calls, execution time and rows so far.
    pub fn statement_totals(
        &mut self,
        at: Micros,
        statement: Fingerprint,
        calls: u64,
        exec: Micros,
        rows: u64,
    ) {
        let blocks = rows / 50 + calls;
        let sample = StatementSampled { at: BEGIN + at, statement, calls, exec, rows, blocks };
        self.events.push(Event::StatementSampled(Box::new(sample)));
    }

    /// `pg_stat_user_tables` says so at that time (the sample's own `at` is a span of the story).
    pub fn table(&mut self, sample: TableSampled) {
        let sample = TableSampled { at: BEGIN + sample.at, ..sample };
        self.events.push(Event::TableSampled(Box::new(sample)));
    }

    /// The plan of a statement.
    pub fn plan(&mut self, at: Micros, statement: Fingerprint, json: &str) {
        let plan = PlanSeen { at: BEGIN + at, statement, json: json.into() };
        self.events.push(Event::PlanSeen(Box::new(plan)));
    }

    /// The proxy's pool (the sample's own `at` is a span of the story).
    pub fn pool(&mut self, sample: PoolSampled) {
        self.events.push(Event::PoolSampled(PoolSampled { at: BEGIN + sample.at, ..sample }));
    }

    /// Any other event; its time is the wall clock's ([`BEGIN`] and on).
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Tells the same again and again: at `from`, and every `period` after it, before `until`.
    pub fn every(
        &mut self,
        period: Micros,
        from: Micros,
        until: Micros,
        mut tell: impl FnMut(&mut Self, Micros),
    ) {
        assert!(period > Micros::ZERO, "a period of zero never ends");
        let mut at = from;
        while at < until {
            tell(self, at);
            at = at + period;
        }
    }

    /// The recording: all events in the order of their times, samples of the database among them.
    #[must_use]
    pub fn events(mut self) -> Vec<Event> {
        let end = self.events.iter().map(Event::at).max().unwrap_or(BEGIN);
        for held in &mut self.held {
            held.requests.sort_by_key(|request| request.sent);
        }
        for at in samples(BEGIN..end) {
            let backends = self.held.iter().filter_map(|held| held.sample(at)).collect();
            self.events.push(Event::ActivitySampled(Box::new(ActivitySampled { at, backends })));
        }
        self.events.sort_by_key(Event::at);
        self.events
    }

    fn next_session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions)
    }
}

impl Held {
    /// Its row of `pg_stat_activity`.
    fn sample(&self, at: Micros) -> Option<BackendSample> {
        if !self.open.contains(&at) {
            return None;
        }
        let begun = self.requests.partition_point(|request| request.sent <= at);
        let (before, last) = match self.requests[..begun].split_last() {
            Some((last, before)) => (before, Some(last)),
            None => (&[][..], None),
        };
        let (state, in_transaction) = match last {
            Some(request) if at < request.done => ("active", true),
            Some(Request { transaction: TransactionState::Open, .. }) => {
                ("idle in transaction", true)
            }
            Some(Request { transaction: TransactionState::Failed, .. }) => {
                ("idle in transaction (aborted)", true)
            }
            Some(_) | None => ("idle", false),
        };
        // A transaction began with the first request after the last one that left none open.
        let began = before
            .iter()
            .rev()
            .take_while(|request| request.transaction != TransactionState::Idle)
            .last()
            .or(last);
        let transaction_age = match began {
            Some(request) if in_transaction => at.since(request.sent),
            Some(_) | None => Micros::ZERO,
        };
        let wait = if self.lock_waits.iter().any(|wait| wait.contains(&at)) {
            "Lock:transactionid"
        } else if state == "active" {
            ""
        } else {
            "Client:ClientRead"
        };
        Some(BackendSample {
            pid: self.connection.backend,
            state: state.into(),
            wait: wait.into(),
            transaction_age,
            statement: last.map_or(Fingerprint::NONE, |request| request.statement),
            application: self.application.clone(),
        })
    }
}

/// The moments in `span` at which the database is sampled.
fn samples(span: Range<Micros>) -> impl Iterator<Item = Micros> {
    let step = SAMPLE_EVERY.0;
    let first = span.start.0.div_ceil(step);
    (first..span.end.0.div_ceil(step)).map(move |index| Micros(index * step))
}

#[cfg(test)]
mod tests {
    use trace::Outcome;

    use super::*;

    fn states(events: &[Event], pid: BackendPid) -> Vec<(u64, String, Micros)> {
        events
            .iter()
            .filter_map(|event| match event {
                Event::ActivitySampled(sample) => Some(sample),
                _ => None,
            })
            .flat_map(|sample| sample.backends.iter().map(|backend| (sample.at, backend)))
            .filter(|(_, backend)| backend.pid == pid)
            .map(|(at, row)| (at.since(BEGIN).0 / 1000, row.state.to_string(), row.transaction_age))
            .collect()
    }

    #[test]
    fn samples_follow_the_requests() {
        let mut story = Story::new();
        let web = story.dyno("web.1");
        let select = story.statement("SELECT 1");
        let held = story.connection(web, ms(0), ms(600));
        story.request(held, Ask::at(ms(50)).of(select).server(ms(20)).leaves_open());
        story.request(held, Ask::at(ms(250)).of(select).server(ms(100)));
        story.mark(ms(700), "end");
        let events = story.events();
        assert!(events.is_sorted_by_key(Event::at));
        let expected = [
            (0, "idle", ms(0)),
            (100, "idle in transaction", ms(50)),
            (200, "idle in transaction", ms(150)),
            (300, "active", ms(250)),
            (400, "idle", ms(0)),
            (500, "idle", ms(0)),
        ];
        let expected = expected.map(|(at, state, age)| (at, state.to_owned(), age));
        assert_eq!(states(&events, held.backend), expected);
    }

    #[test]
    fn a_refused_connect_never_had_a_backend() {
        let mut story = Story::new();
        let web = story.dyno("web.2");
        story.refused_connect(web, ms(10));
        let refused = story.events().into_iter().find_map(|event| match event {
            Event::Request(request) => Some(request),
            _ => None,
        });
        let refused = refused.unwrap();
        assert_eq!(refused.outcome, Outcome::Error(SqlState::TOO_MANY_CONNECTIONS));
        assert_eq!((refused.backend, refused.dyno), (BackendPid::NONE, web));
    }

    #[test]
    fn lock_waits_show_in_both_kinds_of_samples() {
        let mut story = Story::new();
        let web = story.dyno("web.1");
        let (blocker, waiter) =
            (story.connection(web, ms(0), ms(500)), story.connection(web, ms(0), ms(500)));
        story.request(waiter, Ask::at(ms(100)).server(ms(200)));
        story.lock_wait(waiter, &[blocker], ms(100)..ms(300), "transactionid");
        let events = story.events();
        let locks =
            events.iter().filter(|event| matches!(event, Event::LockWaitSampled(_))).count();
        assert_eq!(locks, 2);
        let waiting = events.iter().filter_map(|event| match event {
            Event::ActivitySampled(sample) => Some(&sample.backends),
            _ => None,
        });
        let waiting = waiting.flatten().filter(|row| &*row.wait == "Lock:transactionid").count();
        assert_eq!(waiting, 2);
    }
}
