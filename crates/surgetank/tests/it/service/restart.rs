//! Restarts: nobody is refused, nothing fails, and what goes wrong leaves the old process serving.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;
use testkit::{Database, TestPostgres, wait_until};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::{Process, SOON};
use crate::cli::surgetank;

/// A database and where its proxies hand over.
pub(super) struct Fixture {
    postgres: Arc<TestPostgres>,
    pub(super) database: Database,
    folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let postgres = testkit::postgres().await;
        let database = postgres.database().await;
        Self { postgres, database, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("handover.sock")
    }

    pub(super) fn words(&self, mode: &str) -> Vec<String> {
        let path = self.path().display().to_string();
        let words = ["--handover", &path, "--listen", "127.0.0.1:0", "--mode", mode];
        let more = ["--limit", "6", "--workers", "2", "--queue-timeout", "20"];
        [self.database.url()]
            .into_iter()
            .chain(words.map(str::to_owned))
            .chain(more.map(str::to_owned))
            .collect()
    }

    pub(super) fn start(&self, mode: &str) -> Process {
        let words = self.words(mode);
        Process::start(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// On a Unix socket, too.
    fn start_on_both(&self, mode: &str) -> Process {
        let (words, path) = (self.words(mode), self.unix_socket().display().to_string());
        let words = words.iter().map(String::as_str).chain(["--listen", path.as_str()]);
        Process::start(&words.collect::<Vec<_>>())
    }

    fn unix_socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.6432")
    }

    /// How to connect over it, as libpq's words.
    fn over_unix_socket(&self) -> String {
        let (folder, owner) = (self.folder.path().display(), &self.database.owner);
        let (user, password, name) = (&owner.user, &owner.password, &self.database.name);
        format!("host='{folder}' port=6432 user='{user}' password='{password}' dbname='{name}'")
    }
}

/// Clients that come, ask and go, as fast as they can; each failure is kept.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    pub(super) fn start(url: &str, clients: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (url, stop, done) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match visit(&url).await {
                        Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.push(format!("{error:?}")),
                    }
                }
                failures
            });
        }
        Self { stop, done, clients: tasks }
    }

    /// Waits for so many visits from now.
    pub(super) async fn goes_on(&self, visits: u64) {
        let until = self.done.load(Ordering::Relaxed) + visits;
        wait_until(SOON, || self.done.load(Ordering::Relaxed) >= until).await;
    }

    pub(super) async fn end(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(more) = self.clients.join_next().await {
            failures.extend(more.expect("no client panics"));
        }
        failures
    }
}

/// Connects, asks, leaves.
async fn visit(url: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    client.simple_query("SELECT 1").await?;
    drop(client);
    driver.join_next().await;
    Ok(())
}

/// The most server connections that PostgreSQL ever had to the database.
fn watch(fixture: &Fixture) -> (Arc<AtomicU64>, JoinSet<()>) {
    let most = Arc::new(AtomicU64::new(0));
    let (seen, name) = (Arc::clone(&most), fixture.database.name.clone());
    let url = fixture.postgres.superuser_url();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let watcher = testkit::connect(&url).await;
        let text = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = $1 AND backend_type = 'client backend'";
        let statement = watcher.prepare(text).await.expect("a statement");
        loop {
            let row = watcher.query_one(&statement, &[&name]).await.expect("a count");
            seen.fetch_max(row.get::<_, i64>(0).unsigned_abs(), Ordering::Relaxed);
        }
    });
    (most, tasks)
}

async fn three_restarts(mode: &str) -> u64 {
    let _alone = crate::MACHINE.lock().await;
    let fixture = Fixture::new().await;
    let mut processes = vec![fixture.start_on_both(mode)];
    let url = fixture.database.url_through(processes[0].addr);
    let (load, unix_load) = (Load::start(&url, 2), Load::start(&fixture.over_unix_socket(), 2));
    let (most, watcher) = watch(&fixture);
    load.goes_on(20).await;

    let mut stayed = Vec::new();
    for _ in 0..3 {
        let session = testkit::connect(&url).await;
        session.batch_execute("BEGIN; CREATE TEMP TABLE t(n) AS SELECT 1").await.expect("a start");
        stayed.push(session);
        let next = fixture.start_on_both(mode);
        assert_eq!(next.addr, processes[0].addr, "the same sockets");
        processes.push(next);
        load.goes_on(20).await;
        unix_load.goes_on(20).await;
    }
    // Each belongs to another generation; the first one's cancel request passes through all.
    for session in &mut stayed {
        session.batch_execute("UPDATE t SET n = n + 1").await.expect("its transaction goes on");
        session.batch_execute("SAVEPOINT s").await.expect("its transaction goes on");
        let token = session.cancel_token();
        let (slept, ()) = tokio::join!(session.batch_execute("SELECT pg_sleep(60)"), async {
            // A request that comes before the statement does hits nothing: again, until it hits.
            fixture.until_sleeping().await;
            token.cancel_query(NoTls).await.expect("it is taken");
        });
        let error = slept.expect_err("it is cancelled");
        assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
        session.batch_execute("ROLLBACK TO s; COMMIT").await.expect("its transaction ends well");
    }
    drop(stayed);
    let last = processes.pop().expect("four were started");
    for mut old in processes {
        assert!(old.ended().await.success());
    }
    load.goes_on(20).await;
    unix_load.goes_on(20).await;
    let failures = [load.end().await, unix_load.end().await].concat();
    assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), failures.first());
    drop(watcher);
    last.signal(Signal::SIGTERM);
    let mut last = last;
    assert!(last.ended().await.success());
    for path in [fixture.path(), fixture.unix_socket()] {
        assert!(!path.exists(), "nothing is left behind");
    }
    most.load(Ordering::Relaxed)
}

impl Fixture {
    /// Waits until a statement sleeps in the database.
    async fn until_sleeping(&self) {
        let watcher = testkit::connect(&self.postgres.superuser_url()).await;
        let text = "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'";
        let deadline = tokio::time::Instant::now() + SOON;
        while watcher.query(text, &[&self.database.name]).await.expect("an answer").is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "nothing sleeps");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_restarts_under_load_fail_nobody_and_keep_the_limit() {
    let most = three_restarts("regulate").await;
    assert!((1..=6).contains(&most), "{most} server connections under a limit of 6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_restarts_in_observe_mode_fail_nobody() {
    three_restarts("observe").await;
}

#[tokio::test]
async fn a_successor_that_cannot_start_changes_nothing() {
    let fixture = Fixture::new().await;
    let mut old = fixture.start("regulate");
    let url = fixture.database.url_through(old.addr);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    for (word, wrong) in [("--listen", taken.as_str()), ("--limit", "none"), ("--handover", "/")] {
        let mut words = fixture.words("regulate");
        let at = words.iter().position(|w| w == word).expect("it is among the words");
        words[at + 1] = wrong.to_owned();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = surgetank(&[&["proxy"], words.as_slice()].concat()).output().expect("it runs");
        assert!(!output.status.success(), "{word} {wrong}");
        visit(&url).await.expect("the old one serves on");
    }
    assert!(old.child.try_wait().expect("our child").is_none(), "the old one runs");
    // And it can still be succeeded.
    let new = fixture.start("regulate");
    assert!(old.ended().await.success());
    visit(&url).await.expect("the new one serves");
    drop(new);
}

/// A successor that says just so much, then dies.
fn die_after(path: &Path, said: &[&str]) -> String {
    let mut stream = UnixStream::connect(path).expect("a proxy waits there");
    let mut answers = BufReader::new(stream.try_clone().expect("a copy"));
    let mut heard = String::new();
    for word in said {
        writeln!(stream, "{word}").expect("it listens");
        answers.read_line(&mut heard).expect("it answers");
    }
    heard
}

#[tokio::test]
async fn a_successor_that_dies_before_it_accepts_changes_nothing() {
    let fixture = Fixture::new().await;
    for mode in ["observe", "regulate"] {
        let old = fixture.start(mode);
        let url = fixture.database.url_through(old.addr);
        let load = Load::start(&url, 2);
        let hello = r#"{"Hello":{"protocol":1,"version":"x","pid":1}}"#;
        for said in [&[][..], &[hello], &[hello, "\"Ready\""]] {
            let heard = die_after(&fixture.path(), said);
            assert_eq!(heard.lines().count(), said.len(), "{heard}");
            load.goes_on(10).await;
        }
        let later = r#"{"Hello":{"protocol":99,"version":"x","pid":1}}"#;
        let heard = die_after(&fixture.path(), &[later]);
        assert!(heard.contains("speaks protocol 99"), "{heard}");
        let mut killed = surgetank(&["proxy"])
            .args(fixture.words(mode))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        killed.kill().expect("it ran");
        killed.wait().expect("our child");
        load.goes_on(10).await;
        let failures = load.end().await;
        assert!(failures.is_empty(), "{mode}: {} failed: {:?}", failures.len(), failures.first());
        old.signal(Signal::SIGINT);
        let mut old = old;
        assert!(old.ended().await.success());
    }
}

#[tokio::test]
async fn a_predecessor_that_dies_when_all_is_handed_over_changes_nothing() {
    let fixture = Fixture::new().await;
    let control = UnixListener::bind(fixture.path()).expect("a path");
    let old = std::thread::spawn(move || {
        let (mut stream, _) = control.accept().expect("a successor comes");
        let mut heard = BufReader::new(stream.try_clone().expect("a copy")).lines();
        let answers = [r#"{"Sockets":{"pid":1,"places":[]}}"#, r#"{"Yours":{"held":[["*",6]]}}"#];
        for answer in answers {
            heard.next().expect("it speaks").expect("UTF-8");
            writeln!(stream, "{answer}").expect("it listens");
        }
    });
    let new = fixture.start("regulate");
    old.join().expect("it said all it had to");
    visit(&fixture.database.url_through(new.addr)).await.expect("the whole limit is its own");
}

#[tokio::test]
async fn sigterm_gives_sessions_their_grace_and_a_second_one_does_not() {
    let fixture = Fixture::new().await;
    let mut proxy = fixture.start("regulate");
    let url = fixture.database.url_through(proxy.addr);
    let session = testkit::connect(&url).await;
    session.batch_execute("BEGIN").await.expect("a transaction");
    proxy.signal(Signal::SIGTERM);
    let deadline = tokio::time::Instant::now() + SOON;
    while tokio::net::TcpStream::connect(proxy.addr).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "it goes on listening");
    }
    session.batch_execute("COMMIT").await.expect("there is time for it");
    proxy.signal(Signal::SIGTERM);
    assert!(proxy.ended().await.success());
    let error = session.batch_execute("SELECT 1").await.expect_err("the session has ended");
    assert!(error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN), "{error:?}");
}
