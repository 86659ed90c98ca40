//! A database, a proxy in front of it, and everything that it records.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy::{Config, Mode, Proxy, Upstream};
use testkit::{Database, Session, TestPostgres};
use trace::{Clock, DynoNames, Event, PinCause, Request, RequestKind, Sink};

/// How long a condition may take to come true: it only ends a test that hangs, so it is far beyond
/// what a busy machine needs.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// Both modes, for what must hold in either.
pub(crate) const MODES: [Mode; 2] = [Mode::Observe, Mode::Regulate];

/// Keeps all events.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

impl Sink for Events {
    fn record(&self, event: Event) -> bool {
        self.0.lock().expect("no test panics in here").push(event);
        true
    }
}

impl Events {
    /// All so far.
    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().expect("no test panics in here").clone()
    }

    /// The requests that are done.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let requests = self.all().into_iter();
        requests
            .filter_map(|event| match event {
                Event::Request(request) => Some(request),
                _ => None,
            })
            .collect()
    }
}

/// A proxy in front of a database of its own.
pub(crate) struct Fixture {
    pub(crate) postgres: Arc<TestPostgres>,
    pub(crate) database: Database,
    pub(crate) proxy: Proxy,
    pub(crate) addr: SocketAddr,
    pub(crate) events: Arc<Events>,
}

/// Starts a proxy that passes `upstream` on, with `change` made to its configuration.
pub(crate) fn start(
    mode: Mode,
    upstream: &str,
    change: impl FnOnce(&mut Config),
) -> (Proxy, Arc<Events>) {
    let upstream = Upstream::parse(upstream).expect("the test's URL is sound");
    let mut config = Config::new(mode, upstream);
    config.workers = NonZeroUsize::MIN;
    // Nobody is refused because the machine is busy.
    (config.queue_timeout, config.connect_timeout) = (SOON, SOON);
    change(&mut config);
    let (clock, events) = (Clock::start(), Arc::new(Events::default()));
    let names = Arc::new(DynoNames::new(clock));
    let sink = Arc::clone(&events) as Arc<dyn Sink>;
    let proxy = Proxy::start(config, names, clock, sink).expect("the proxy starts");
    (proxy, events)
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// Sets the limit.
pub(crate) fn limit(count: u32) -> impl FnOnce(&mut Config) {
    move |config| config.limit = NonZeroU32::new(count)
}

impl Fixture {
    pub(crate) async fn start(mode: Mode) -> Self {
        Self::start_with(mode, |_| {}).await
    }

    pub(crate) async fn start_with(mode: Mode, change: impl FnOnce(&mut Config)) -> Self {
        Self::on(testkit::postgres().await, mode, change).await
    }

    pub(crate) async fn on(
        postgres: Arc<TestPostgres>,
        mode: Mode,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let database = postgres.database().await;
        let (proxy, events) = start(mode, &database.url(), change);
        let addr = proxy.listen(loopback(), None).expect("a free loopback port");
        Self { postgres, database, proxy, addr, events }
    }

    /// The owner's URL through the proxy.
    pub(crate) fn url(&self) -> String {
        self.database.url_through(self.addr)
    }

    /// A session through the proxy.
    pub(crate) async fn connect(&self) -> Session {
        testkit::connect(&self.url()).await
    }

    /// A session through the proxy that says which dyno it is.
    pub(crate) async fn connect_as(&self, dyno: &str) -> Session {
        testkit::connect(&format!("{}?application_name={dyno}", self.url())).await
    }

    /// From now on requests wait so long for a server connection. Where refusals are the test's
    /// business, all that is needed for them is there before anybody is impatient.
    pub(crate) async fn patience(&self, queue_timeout: Duration) {
        let control = self.proxy.control();
        let config = Config { queue_timeout, ..control.config() };
        control.reload(config).await.expect("it can be changed while it runs");
    }

    /// Why sessions were pinned, in order.
    pub(crate) fn pins(&self) -> Vec<PinCause> {
        let events = self.all_events().into_iter();
        events
            .filter_map(|event| match event {
                Event::SessionPinned { cause, .. } => Some(cause),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn all_events(&self) -> Vec<Event> {
        self.events.all()
    }

    /// The requests that are done, connects left out.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let all = self.requests_and_connects().into_iter();
        all.filter(|request| request.kind != RequestKind::Connect).collect()
    }

    pub(crate) fn requests_and_connects(&self) -> Vec<Request> {
        self.events.requests()
    }

    /// Server connections to this test's database, as PostgreSQL sees them.
    pub(crate) async fn server_connections(&self, watcher: &Session) -> i64 {
        let text = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = $1 AND backend_type = 'client backend'";
        let row = watcher.query_one(text, &[&self.database.name]).await.expect("a count");
        row.get(0)
    }

    /// Waits until PostgreSQL has so many connections to this test's database.
    pub(crate) async fn until_connections(&self, watcher: &Session, expected: i64) {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let now = self.server_connections(watcher).await;
            if now == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{now} connections, not {expected}");
        }
    }

    /// Ends the proxy and checks what every run must satisfy.
    pub(crate) async fn end(self) {
        let Self { proxy, events, .. } = self;
        proxy.shutdown(Duration::from_millis(500)).await;
        check(&events.all());
    }
}

/// What holds of every recording: phases are in order, what was opened was closed, texts come once.
fn check(events: &[Event]) {
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    for event in events {
        if let Event::Request(request) = event {
            let phases =
                [request.arrived, request.assigned, request.sent, request.first_byte, request.done];
            assert!(phases.is_sorted(), "{request:?}");
            assert_eq!(request.blame, request.outcome.blame());
        }
    }
    assert_eq!(
        count(|event| matches!(event, Event::SessionOpened { .. })),
        count(|event| matches!(event, Event::SessionClosed { .. })),
    );
    assert_eq!(
        count(|event| matches!(event, Event::ServerOpened { .. })),
        count(|event| matches!(event, Event::ServerClosed { .. })),
    );
    let mut told: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::StatementSeen(seen) => Some(seen.fingerprint.0),
            _ => None,
        })
        .collect();
    let all = told.len();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), all, "a statement was told twice");
}

/// The SQLSTATE of an error that PostgreSQL or the proxy has answered with.
pub(crate) fn code(error: &tokio_postgres::Error) -> String {
    match error.code() {
        Some(code) => code.code().to_owned(),
        None => format!("{error:?}"),
    }
}
