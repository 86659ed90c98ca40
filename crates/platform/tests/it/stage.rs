//! A stage to play on: an app folder, dynos, a log, a router, and everything that was recorded.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::{
    App, ChildChange, ConfigVars, DrainOptions, DynoName, DynoOptions, Dynos, Formation, LogFilter,
    LogHub, OneOffTiming, Platform, Procfile, Router, RouterOptions, RouterTiming, Tracer,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trace::{Clock, DynoNames, DynoState, Event, HttpServed, Sink};

/// Everything that was recorded.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<Event>>);

impl Sink for Kept {
    fn record(&self, event: Event) -> bool {
        self.0.lock().expect("no test panics while it records").push(event);
        true
    }
}

impl Kept {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().expect("no test panics while it records").clone()
    }

    pub(crate) fn served(&self) -> Vec<HttpServed> {
        let served = |event| match event {
            Event::HttpServed(served) => Some(*served),
            _ => None,
        };
        self.events().into_iter().filter_map(served).collect()
    }
}

/// A deadline for everything that is waited for: it only ends a test that hangs, so it is far
/// beyond what a busy machine needs.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(120), wait).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

pub(crate) struct Stage {
    pub(crate) dir: TempDir,
    pub(crate) dynos: Arc<Dynos>,
    pub(crate) hub: LogHub,
    pub(crate) tracer: Tracer,
    pub(crate) kept: Arc<Kept>,
    pids: Arc<Mutex<Vec<i32>>>,
}

impl Stage {
    pub(crate) async fn new(
        procfile: &str,
        formation: &str,
        change: impl FnOnce(&mut DynoOptions),
    ) -> Self {
        let dir = tempfile::tempdir().expect("the temporary place can be written to");
        let clock = Clock::start();
        let kept = Arc::new(Kept::default());
        let sink: Arc<dyn Sink> = kept.clone();
        let tracer = Tracer::new(clock, Arc::new(DynoNames::new(clock)), sink);
        let hub = LogHub::new(clock);
        let pids = Arc::new(Mutex::new(Vec::new()));
        let mut options = DynoOptions::new(dir.path().to_owned());
        let seen = Arc::clone(&pids);
        options.child_pid = Arc::new(move |_, change| {
            if let ChildChange::Started(pid) = change {
                seen.lock().expect("no test panics while it notes").push(pid);
            }
        });
        change(&mut options);
        let procfile = Procfile::parse(procfile).expect("the test's Procfile is right");
        let formation = Formation::initial(&procfile).changed_by(formation);
        let formation = formation.expect("the test's formation is right");
        let dynos = Dynos::start(procfile, formation, options, hub.clone(), tracer.clone()).await;
        let dynos = Arc::new(dynos.expect("a thread can be started"));
        Self { dir, dynos, hub, tracer, kept, pids }
    }

    pub(crate) async fn router(&self, change: impl FnOnce(&mut RouterTiming)) -> Router {
        self.router_with(|options| change(&mut options.timing)).await
    }

    pub(crate) async fn router_with(&self, change: impl FnOnce(&mut RouterOptions)) -> Router {
        let mut options = RouterOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), 1);
        change(&mut options);
        let started =
            Router::start(options, &self.dynos, self.hub.clone(), self.tracer.clone()).await;
        started.expect("port 0 can be bound")
    }

    /// What the app keeps in its folder, opened.
    pub(crate) fn platform(&self, change: impl FnOnce(&mut OneOffTiming)) -> Arc<Platform> {
        self.platform_with(change, drain_options())
    }

    /// As [`Stage::platform`], with drains of one's own.
    pub(crate) fn platform_with(
        &self,
        change: impl FnOnce(&mut OneOffTiming),
        drains: DrainOptions,
    ) -> Arc<Platform> {
        let mut timing = OneOffTiming::default();
        change(&mut timing);
        self.open(self.hub.clone(), timing, drains)
    }

    /// As [`Stage::platform`], with another log, as another run has it.
    pub(crate) fn platform_on(&self, hub: LogHub) -> Arc<Platform> {
        self.open(hub, OneOffTiming::default(), drain_options())
    }

    fn open(&self, hub: LogHub, timing: OneOffTiming, drains: DrainOptions) -> Arc<Platform> {
        let app = App {
            dir: self.dir.path().to_owned(),
            user: "ann@example.com".to_owned(),
            attached: ConfigVars::default().with("DATABASE_URL", "postgres://shop"),
        };
        let dynos = Arc::clone(&self.dynos);
        let opened = Platform::open(app, dynos, hub, Clock::start(), timing, drains);
        Arc::new(opened.expect("the folder can be written to"))
    }

    /// Waits until the dyno is in this state.
    pub(crate) async fn until(&self, dyno: &str, state: DynoState) {
        let name: DynoName = dyno.parse().expect("the test names a dyno");
        let fits = |dynos: &[platform::DynoInfo]| {
            dynos.iter().any(|dyno| dyno.name == name && dyno.state == state)
        };
        soon(&format!("{dyno} {state:?}"), self.dynos.wait_until(fits)).await;
    }

    /// Waits for a line, also one of the past.
    pub(crate) async fn line(&self, part: &str) -> String {
        let mut tail = self.hub.tail(LogFilter::default().last(1500));
        let search = async {
            while let Some(entry) = tail.next().await {
                let line = entry.to_string();
                if line.contains(part) {
                    return line;
                }
            }
            panic!("the log ended without: {part}");
        };
        soon(part, search).await
    }

    /// All lines of one process up to now, without their times.
    pub(crate) fn lines(&self, dyno: &str) -> Vec<String> {
        let filter = LogFilter::default().dyno(dyno).last(1500);
        let history = self.hub.history(&filter);
        let line = |entry: &Arc<platform::LogEntry>| {
            format!("{}[{}]: {}", entry.source.as_str(), entry.process, entry.text)
        };
        history.iter().map(line).collect()
    }

    /// Those of them that the platform itself wrote. What a process writes comes when it comes,
    /// also between two lines that the platform writes one after the other.
    pub(crate) fn heroku_lines(&self, dyno: &str) -> Vec<String> {
        let mut lines = self.lines(dyno);
        lines.retain(|line| line.starts_with("heroku["));
        lines
    }

    /// Drops everything as it is, like a panic would. Returns where the groups that were started
    /// are noted.
    pub(crate) fn abandon(self) -> Arc<Mutex<Vec<i32>>> {
        Arc::clone(&self.pids)
    }

    /// The process groups that were started.
    pub(crate) fn groups(&self) -> Vec<i32> {
        self.pids.lock().expect("no test panics while it notes").clone()
    }
}

/// Whether a process of the group runs (a zombie does not).
pub(crate) fn runs(group: i32) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        let group = nix::unistd::Pid::from_raw(group);
        return nix::sys::signal::killpg(group, None).is_ok();
    };
    processes.flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
        let fields: Vec<&str> = fields.split(' ').collect();
        fields.get(2) == Some(&group.to_string().as_str()) && fields.first() != Some(&"Z")
    })
}

/// Drains that do not let a test wait.
pub(crate) fn drain_options() -> DrainOptions {
    let (backoff_base, backoff_cap) = (Duration::from_millis(5), Duration::from_millis(50));
    DrainOptions { backoff_base, backoff_cap, ..DrainOptions::default() }
}

/// Waits until none of the groups runs.
pub(crate) async fn gone(groups: &[i32]) {
    assert!(!groups.is_empty(), "nothing was started at all");
    let all_gone = async {
        while groups.iter().any(|group| runs(*group)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("all process groups gone", all_gone).await;
}

/// Sends one request on a connection of its own and returns everything that comes back.
pub(crate) async fn get(router: SocketAddr, path: &str) -> String {
    request(router, &format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n")).await
}

/// As [`get`], with a head of one's own (without its last line).
pub(crate) async fn request(router: SocketAddr, head: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(router).await.expect("the router listens");
        let head = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("the router reads");
        let mut answer = Vec::new();
        // An answer that is cut off is what some tests want.
        let _cut = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    soon("an answer", exchange).await
}
