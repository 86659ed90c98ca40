//! Several proxies in front of one database, each in a process of its own: who leads, who has how
//! many connections, and what happens when one is lost.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::fault::FaultProxy;
use testkit::{Database, Shutdown, TestPostgres, wait_until};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use super::metrics::scrape;
use super::{Process, SOON};

/// Three of the forty are reserved for superusers.
const SLOTS: u64 = 37;
const SPARE: u64 = 2;
/// The watcher of the fixture is to the proxies a stranger as well.
const WATCHERS: u64 = 1;

/// How long a client thinks in its transactions: its connection is held and executes nothing.
const THINKS: Duration = Duration::from_millis(5);

/// A small server, and what is seen of it.
struct Fixture {
    database: Database,
    /// The most connections of clients that there were since somebody asked.
    most: Arc<AtomicU64>,
    _watcher: JoinSet<()>,
    postgres: TestPostgres,
}

impl Fixture {
    async fn new() -> Self {
        let postgres = testkit::postgres_with(&[("max_connections", "40")]).await;
        let database = postgres.database().await;
        let most = Arc::new(AtomicU64::new(0));
        let (seen, url) = (Arc::clone(&most), postgres.superuser_url());
        let mut watcher = JoinSet::new();
        watcher.spawn(async move {
            let session = testkit::connect(&url).await;
            // It does not count itself.
            let text = "SELECT count(*) - 1 FROM pg_stat_activity \
                        WHERE backend_type = 'client backend'";
            let statement = session.prepare(text).await.expect("a statement");
            // Until the server ends.
            while let Ok(row) = session.query_one(&statement, &[]).await {
                seen.fetch_max(row.get::<_, i64>(0).unsigned_abs(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        Self { database, most, _watcher: watcher, postgres }
    }

    fn start(&self, url: &str) -> Proxy {
        self.start_with(url, &[])
    }

    fn start_with(&self, url: &str, options: &[&str]) -> Proxy {
        let words = ["--mode", "regulate", "--listen", "127.0.0.1:0", "--workers", "1"];
        let more = ["--queue-timeout", "30", "--metrics", "0"];
        let process = Process::start(&[&[url], &words[..], &more[..], options].concat());
        let metrics = process.metrics.expect("it says where");
        let url = self.database.url_through(process.addr);
        Proxy { process, metrics, url }
    }

    /// Most connections since the last time.
    fn most(&self) -> u64 {
        self.most.swap(0, Ordering::Relaxed)
    }

    /// What PostgreSQL said when it had no room for a connection.
    fn refusals(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.postgres.cluster().log_path()).expect("a log");
        let words = ["too many clients", "remaining connection slots", "too many connections"];
        let refusals = log.lines().filter(|line| words.iter().any(|words| line.contains(words)));
        refusals.map(str::to_owned).collect()
    }
}

/// One of several.
struct Proxy {
    process: Process,
    metrics: SocketAddr,
    url: String,
}

/// What a proxy says of the others.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Says {
    proxies: f64,
    leads: f64,
    limit: f64,
    total: f64,
    open: f64,
    room: f64,
}

impl Proxy {
    async fn says(&self) -> Says {
        let page = scrape(self.metrics).await;
        let get = |name: &str| page.get(&format!("surgetank_pool_{name}{{entry=\"*\"}}"));
        Says {
            proxies: get("proxies"),
            leads: get("leads"),
            limit: get("short_limit"),
            total: get("all_short_limit"),
            open: get("open"),
            room: get("all_room"),
        }
    }
}

/// Waits until what all say is right.
async fn until(proxies: &[&Proxy], is_right: impl Fn(&[Says]) -> bool) -> Vec<Says> {
    let deadline = Instant::now() + SOON;
    loop {
        let mut all = Vec::new();
        for proxy in proxies {
            all.push(proxy.says().await);
        }
        if is_right(&all) {
            return all;
        }
        assert!(Instant::now() < deadline, "{all:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All see one another, and one leads.
fn agree(all: &[Says]) -> bool {
    let count = all.iter().map(|_| 1.0).sum::<f64>();
    let leads: f64 = all.iter().map(|says| says.leads).sum();
    all.iter().all(|says| says.proxies == count) && leads == 1.0
}

fn leader(all: &[Says]) -> usize {
    all.iter().position(|says| says.leads == 1.0).expect("one leads")
}

/// Sessions that work as fast as they can; each failure is kept.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    fn start(proxy: &Proxy, clients: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (url, stop, done) = (proxy.url.clone(), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // A session whose proxy was killed ends, and so does the client.
                    if let Err(error) = work(&url, &stop, &done).await {
                        failures.push(format!("{error:?}"));
                        break;
                    }
                }
                failures
            });
        }
        Self { stop, done, clients: tasks }
    }

    /// Waits for so many transactions from now.
    async fn goes_on(&self, transactions: u64) {
        let until = self.done.load(Ordering::Relaxed) + transactions;
        wait_until(SOON, || self.done.load(Ordering::Relaxed) >= until).await;
    }

    async fn end(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(more) = self.clients.join_next().await {
            failures.extend(more.expect("no client panics"));
        }
        failures
    }
}

/// One session: transactions that hold their connections and think.
async fn work(url: &str, stop: &AtomicBool, done: &AtomicU64) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    while !stop.load(Ordering::Relaxed) {
        client.batch_execute("BEGIN; SELECT pg_sleep(0.002)").await?;
        tokio::time::sleep(THINKS).await;
        client.batch_execute("COMMIT").await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A connection of somebody who is no proxy.
struct Guest {
    client: tokio_postgres::Client,
    driver: JoinSet<Result<(), tokio_postgres::Error>>,
    /// The same socket: the server closes it when the backend has ended and its slot is free.
    socket: std::net::TcpStream,
}

impl Guest {
    async fn connect(url: &str) -> Result<Self, tokio_postgres::Error> {
        let config: tokio_postgres::Config = url.parse()?;
        let port = config.get_ports().first().copied().expect("a port");
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("a server");
        let stream = stream.into_std().expect("a socket");
        let socket = stream.try_clone().expect("a socket");
        let stream = TcpStream::from_std(stream).expect("a socket");
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { client, driver, socket })
    }

    /// Says farewell; what is left is to wait for the server.
    async fn leave(self) -> std::net::TcpStream {
        let Self { client, mut driver, socket } = self;
        drop(client);
        driver.join_next().await;
        socket
    }
}

/// How many connections the stranger has, and for how long.
const STRANGERS: u64 = 10;
const STAYS: &str = "SELECT pg_sleep(1.5)";

/// A client that is no proxy: opens ten connections, keeps them for a while, closes them.
/// Ends once it was refused.
async fn stranger(url: String) -> Vec<String> {
    let mut failures = Vec::new();
    loop {
        let mut guests = Vec::new();
        for _ in 0..STRANGERS {
            match Guest::connect(&url).await {
                Ok(guest) => guests.push(guest),
                Err(error) => failures.push(format!("{error:?}")),
            }
        }
        if let Some(guest) = guests.first() {
            let kept = guest.client.batch_execute(STAYS).await;
            failures.extend(kept.err().map(|error| format!("{error:?}")));
        }
        let mut leaving = Vec::new();
        for guest in guests {
            leaving.push(guest.leave().await);
        }
        // It never needs more than it says: backends that have not ended yet are its own.
        for socket in leaving {
            let mut socket = TcpStream::from_std(socket).expect("a socket");
            let mut rest = Vec::new();
            // However it ends, the server has closed it.
            let _ = socket.read_to_end(&mut rest).await;
        }
        if !failures.is_empty() {
            return failures;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_proxies_a_stranger_and_the_loss_of_leaders() {
    let _alone = crate::MACHINE.lock().await;
    let fixture = Fixture::new().await;
    let url = fixture.database.url();
    let mut proxies: Vec<Proxy> = (0..3).map(|_| fixture.start(&url)).collect();
    // The stranger comes first: what it needs is then known.
    let first = Load::start(&proxies[0], 1);
    first.goes_on(5).await;
    let mut strangers = JoinSet::new();
    strangers.spawn(stranger(url.clone()));
    let left = f64::from(u32::try_from(SLOTS - SPARE - STRANGERS - WATCHERS).expect("few"));
    until(&[&proxies[0]], |all| all[0].room <= left).await;

    // All want more than there is, and come to it one after the other.
    let mut loads = Vec::new();
    for proxy in &proxies {
        loads.push(Load::start(proxy, 40));
    }
    let all: Vec<&Proxy> = proxies.iter().collect();
    let says = until(&all, |all| {
        let open: f64 = all.iter().map(|says| says.open).sum();
        agree(all) && open >= 15.0
    })
    .await;
    // Each keeps to its part of what the leader has found, but for what the leader tries.
    assert!(says.iter().all(|says| says.limit <= 1.3 * says.total + 1.0), "{says:?}");
    for load in &loads {
        load.goes_on(200).await;
    }

    // The leader is killed.
    let killed = proxies.remove(leader(&says));
    let index = says.iter().position(|says| says.leads == 1.0).expect("one leads");
    let lost = loads.remove(index);
    killed.process.signal(Signal::SIGKILL);
    let since = Instant::now();
    let all: Vec<&Proxy> = proxies.iter().collect();
    let says = until(&all, agree).await;
    println!("after the leader was killed another leads within {:?}", since.elapsed());
    drop(killed);
    assert!(!lost.end().await.is_empty(), "its clients notice");
    for load in &loads {
        load.goes_on(200).await;
    }

    // A newcomer, when all is full.
    proxies.push(fixture.start(&url));
    loads.push(Load::start(&proxies[2], 40));
    let all: Vec<&Proxy> = proxies.iter().collect();
    let says_now = until(&all, |all| agree(all) && all[2].open >= 4.0).await;
    assert_eq!(leader(&says), leader(&says_now), "a newcomer follows");

    // The leader stops for a while. Another one leads, and when it goes on, it follows.
    let stopped = leader(&says_now);
    proxies[stopped].process.signal(Signal::SIGSTOP);
    let others: Vec<&Proxy> =
        (0..3).filter(|nth| *nth != stopped).map(|nth| &proxies[nth]).collect();
    let since = Instant::now();
    until(&others, |all| all.iter().map(|says| says.leads).sum::<f64>() == 1.0).await;
    println!("after the leader was stopped another leads within {:?}", since.elapsed());
    for (nth, load) in loads.iter().enumerate().filter(|(nth, _)| *nth != stopped) {
        assert_ne!(nth, stopped);
        load.goes_on(100).await;
    }
    proxies[stopped].process.signal(Signal::SIGCONT);
    let says = until(&all, agree).await;
    assert_ne!(leader(&says), stopped);
    for load in &loads {
        load.goes_on(200).await;
    }

    for load in loads {
        assert_eq!(load.end().await, Vec::<String>::new());
    }
    drop(first);
    assert_eq!(strangers.try_join_next().map(|ended| ended.expect("no panic")), None);
    assert_eq!(fixture.refusals(), Vec::<String>::new());
    let most = fixture.most();
    assert!(most <= SLOTS, "{most} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_between_the_leader_and_the_server() {
    let _alone = crate::MACHINE.lock().await;
    let fixture = Fixture::new().await;
    let port = fixture.postgres.cluster().port();
    let between = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let far = fixture.start(&fixture.database.url_through(between.address()));
    let near = fixture.start(&fixture.database.url());
    let far_load = Load::start(&far, 20);
    far_load.goes_on(50).await;
    until(&[&far], agree).await;
    let near_load = Load::start(&near, 20);
    let says = until(&[&far, &near], agree).await;
    assert_eq!(leader(&says), 0);
    // Both have half of what there is.
    until(&[&far, &near], |all| all.iter().all(|says| says.open >= 8.0)).await;

    between.block(true);
    let since = Instant::now();
    until(&[&near], |all| all[0].leads == 1.0).await;
    println!("after the leader was cut off another leads within {:?}", since.elapsed());
    near_load.goes_on(200).await;
    let most = fixture.most();
    assert!(most <= SLOTS - SPARE + 2, "{most} connections");

    between.block(false);
    let says = until(&[&far, &near], agree).await;
    assert_eq!(leader(&says), 1, "it has lost the lead");
    far_load.goes_on(100).await;
    near_load.goes_on(100).await;
    for load in [far_load, near_load] {
        assert_eq!(load.end().await, Vec::<String>::new());
    }
    assert_eq!(fixture.refusals(), Vec::<String>::new());
    let most = fixture.most();
    assert!(most <= SLOTS, "{most} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_a_proxy_and_of_the_server() {
    let _alone = crate::MACHINE.lock().await;
    let fixture = Fixture::new().await;
    let url = fixture.database.url();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("handover.sock").display().to_string();
    let other = fixture.start(&url);
    let other_load = Load::start(&other, 20);
    let mut old = fixture.start_with(&url, &["--handover", &path]);
    let old_load = Load::start(&old, 20);
    until(&[&other, &old], agree).await;
    until(&[&other, &old], |all| all.iter().all(|says| says.open >= 6.0)).await;

    // Until the old process has ended, both are there. Sessions stay where they are.
    let new = fixture.start_with(&url, &["--handover", &path]);
    let new_load = Load::start(&new, 20);
    new_load.goes_on(50).await;
    until(&[&other, &new], |all| all.iter().all(|says| says.proxies == 3.0)).await;
    for load in [&other_load, &old_load, &new_load] {
        load.goes_on(50).await;
    }
    assert_eq!(old_load.end().await, Vec::<String>::new());
    assert!(old.process.ended().await.success());
    until(&[&other, &new], agree).await;
    until(&[&other, &new], |all| all.iter().all(|says| says.open >= 8.0)).await;
    for load in [other_load, new_load] {
        assert_eq!(load.end().await, Vec::<String>::new());
    }
    assert_eq!(fixture.refusals(), Vec::<String>::new());
    let most = fixture.most();
    assert!(most <= SLOTS, "{most} connections");

    // A server that was restarted knows of nobody.
    let mut switch = fixture.postgres.switch();
    switch.stop(Shutdown::Fast).await;
    switch.start().await;
    let loads = [Load::start(&other, 20), Load::start(&new, 20)];
    until(&[&other, &new], agree).await;
    for load in loads {
        load.goes_on(100).await;
        assert_eq!(load.end().await, Vec::<String>::new());
    }
}
