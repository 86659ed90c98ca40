//! Scrapes of a real proxy: under load, through restarts, at a service manager's socket.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::exposition::Page;
use super::restart::{Fixture, Load};
use super::{Process, SOON};

/// What `docs/metrics.md` lists, each in the first column of a table.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../../../../docs/metrics.md");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(|name| name.split('{').next().unwrap_or(name).to_owned()).collect()
}

pub(super) async fn scrape(addr: SocketAddr) -> Page {
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    Page::read(body)
}

/// Scrapes until a page is as it should be.
async fn until(addr: SocketAddr, is_right: impl Fn(&Page) -> bool) -> Page {
    let deadline = Instant::now() + SOON;
    loop {
        let page = scrape(addr).await;
        if is_right(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "{page:#?}");
    }
}

impl Fixture {
    fn start_with_metrics(&self, mode: &str) -> (Process, SocketAddr) {
        let mut words = self.words(mode);
        words.extend(["--metrics".to_owned(), "0".to_owned()]);
        let process = Process::start(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let metrics = process.metrics.expect("it says where");
        assert!(metrics.ip().is_loopback());
        (process, metrics)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_under_load_are_sound_and_sums_never_fall() {
    let _alone = crate::MACHINE.lock().await;
    let fixture = Fixture::new().await;
    for mode in ["observe", "regulate"] {
        let (process, metrics) = fixture.start_with_metrics(mode);
        let mut last = scrape(metrics).await;
        // The names are those of the page that explains them; a pool is in `regulate` mode only.
        let told: BTreeSet<String> = last.families.keys().cloned().collect();
        let mut expected = documented();
        if mode == "observe" {
            expected.retain(|name| !name.starts_with("surgetank_pool_"));
        }
        assert_eq!(told, expected);

        let url = fixture.database.url_through(process.addr);
        let load = Load::start(&url, 6);
        for _ in 0..10 {
            load.goes_on(5).await;
            let page = scrape(metrics).await;
            last.grows_to(&page);
            last = page;
        }
        assert!(load.end().await.is_empty());
        let session = testkit::connect(&format!("{url}?application_name=we\"b.1")).await;
        session.batch_execute("SELECT 1/0").await.expect_err("it fails");
        let database = &fixture.database;
        let own = format!("database=\"{}\",user=\"{}\"", database.name, database.owner.user);
        // Each session of `observe` mode holds a server connection to its end.
        let state = if mode == "observe" { "active" } else { "idle" };
        let sessions = format!("surgetank_sessions{{entry=\"*\",state=\"{state}\"}}");
        // What was answered is counted a moment later, and then the session rests.
        let errors = format!("surgetank_errors_total{{{own}}}");
        let page = until(metrics, |page| {
            let [opened, closed] = ["opened", "closed"]
                .map(|word| page.get(&format!("surgetank_sessions_{word}_total")));
            last.grows_to(page);
            page.get(&errors) == 1.0 && closed == opened - 1.0 && page.get(&sessions) == 1.0
        })
        .await;
        // Fifty visits at least, each a session with a request, and one that is still here.
        let opened = page.get("surgetank_sessions_opened_total");
        let requests = page.get(&format!("surgetank_requests_total{{{own}}}"));
        assert!(opened > 50.0 && requests >= opened, "{requests} requests of {opened} sessions");
        assert_eq!(page.get("surgetank_dyno_errors_total{dyno=\"we\\\"b.1\"}"), 1.0);
        let count = format!("surgetank_request_seconds_count{{database=\"{}\"}}", database.name);
        assert_eq!(page.get(&count), requests);
        assert_eq!(page.get(&format!("surgetank_info{{version=\"0.0.0\",mode=\"{mode}\"}}")), 1.0);
        if mode == "regulate" {
            assert_eq!(page.get("surgetank_pool_limit{entry=\"*\"}"), 6.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_refuse_no_scrape() {
    let _alone = crate::MACHINE.lock().await;
    let fixture = Fixture::new().await;
    let (mut old, metrics) = fixture.start_with_metrics("regulate");
    let mut scrapes = tokio::task::JoinSet::new();
    scrapes.spawn(async move {
        loop {
            scrape(metrics).await;
        }
    });
    for _ in 0..2 {
        let session = testkit::connect(&fixture.database.url_through(old.addr)).await;
        let before = scrape(metrics).await;
        let (new, same) = fixture.start_with_metrics("regulate");
        assert_eq!(same, metrics);
        // Both listen for a moment. Then the new one tells of itself: of no session yet, though
        // the old one still has one.
        let started = |page: &Page| page.get("process_start_time_seconds");
        let page = until(metrics, |page| started(page) > started(&before)).await;
        assert_eq!(page.get("surgetank_sessions{entry=\"*\",state=\"idle\"}"), 0.0);
        session.batch_execute("SELECT 1").await.expect("the old one goes on");
        drop(session);
        assert!(old.ended().await.success());
        old = new;
    }
    // Started without the option, the next one leaves the address.
    let new = fixture.start("regulate");
    assert!(old.ended().await.success());
    assert!(TcpStream::connect(metrics).await.is_err());
    let ended = scrapes.join_next().await.expect("one task");
    let why = ended.expect_err("refused at last").into_panic();
    let why = why.downcast_ref::<String>().expect("words");
    assert!(why.starts_with("it listens") || why.starts_with("it "), "{why}");
    drop(new);
}

#[tokio::test]
async fn a_service_managers_socket_at_that_address_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_surgetank"), "proxy"]);
    shell.args(["postgres://app@127.0.0.1:1/app", "--listen", "127.0.0.1:0"]);
    shell.args(["--metrics", &addr.to_string()]).stdin(Stdio::from(OwnedFd::from(listener)));
    let proxy = Process::spawn(&mut shell);
    assert_eq!(proxy.metrics, Some(addr));
    assert_ne!(proxy.addr, addr);
    scrape(addr).await;
    proxy.signal(Signal::SIGINT);
}
