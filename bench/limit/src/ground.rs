//! One PostgreSQL on a core of its own, its tables, and the proxies that are tried in front of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use bench_kit::poolers::{PgBouncer, Pooler, Site, pgbouncer_version};
use bench_kit::talk;
use platform::postgres::{Binaries, Cluster, ClusterOptions, Durability, Search};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use crate::machine;
use crate::statistics::mean;
use crate::work::{SCALE, Work};

/// What stands in front of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// `surgetank proxy --mode regulate`, nothing configured.
    Adaptive,
    /// The same with a pool of this size and no law: what differs is the law alone.
    Static(u32),
    /// PgBouncer with a pool of this size.
    PgBouncer(u32),
}

impl std::fmt::Display for Arm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Adaptive => f.pad("adaptive"),
            Self::Static(size) => f.pad(&format!("static {size}")),
            Self::PgBouncer(size) => f.pad(&format!("PgBouncer {size}")),
        }
    }
}

/// What commits wait for. What a disk takes that others use, too, changes by a factor of four
/// within minutes, and with it all that commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Disk {
    /// The machine's own disk
    Own,
    /// None: files are in memory, and each flush of the log takes a millisecond
    Memory,
}

/// Where files are in memory, and what a flush takes there, in microseconds: as with a disk all
/// transactions that are ready share one.
const IN_MEMORY: &str = "/dev/shm";
const FLUSH: &str = "1000";

/// The server with what is needed to measure on it.
#[derive(Debug)]
pub(crate) struct Ground {
    binaries: Binaries,
    cluster: Cluster,
    pinned: bool,
    disk: Disk,
    surgetank: PathBuf,
    pub(crate) version: String,
    pub(crate) pgbouncer: Option<(u32, u32)>,
}

/// Most connections of the server: two proxies have theirs beside each other.
const MAX_CONNECTIONS: &str = "500";

impl Ground {
    /// Starts the server, moves it to its core and fills it.
    pub(crate) async fn prepare(
        surgetank: Option<PathBuf>,
        pg_bin: Option<PathBuf>,
        pinned: bool,
        disk: Disk,
    ) -> anyhow::Result<Self> {
        let surgetank = match surgetank {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("surgetank"),
        };
        if !surgetank.is_file() {
            bail!("{}: build it first (cargo build --release --workspace)", surgetank.display());
        }
        let binaries = Binaries::discover(&Search::this_machine(pg_bin))?;
        Self::raise(surgetank, binaries, pinned, disk).await
    }

    /// Another server like this one, on the same core: proxies in front of one database know of
    /// each other, those of two do not.
    pub(crate) async fn twin(&self) -> anyhow::Result<Self> {
        let (surgetank, binaries) = (self.surgetank.clone(), self.binaries.clone());
        Self::raise(surgetank, binaries, self.pinned, self.disk).await
    }

    async fn raise(
        surgetank: PathBuf,
        binaries: Binaries,
        pinned: bool,
        disk: Disk,
    ) -> anyhow::Result<Self> {
        let mut options =
            ClusterOptions { durability: Durability::Full, ..ClusterOptions::default() };
        let mut settings = vec![
            ("max_connections", MAX_CONNECTIONS),
            ("shared_buffers", "256MB"),
            // Neither is to fall into one arm's block and not into another's.
            ("autovacuum", "off"),
            ("checkpoint_timeout", "1h"),
            ("max_wal_size", "16GB"),
            // A report is one process, as a short statement is.
            ("max_parallel_workers_per_gather", "0"),
            ("jit", "off"),
        ];
        if disk == Disk::Memory {
            options.parent_dir = IN_MEMORY.into();
            settings.extend([("commit_delay", FLUSH), ("commit_siblings", "0")]);
        }
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        options.settings = settings.into_iter().map(owned).collect();
        let cluster = Cluster::start(&binaries, options).await?;
        if pinned {
            machine::move_server(&cluster)?;
        }
        talk(&format!("pgbench -i -s {SCALE} …"));
        let mut pgbench = Command::new(cluster.bin("pgbench"));
        pgbench.args(["-i", "-q", "-s", &SCALE.to_string(), &cluster.superuser_url("postgres")]);
        let output = pgbench.output().context("pgbench")?;
        if !output.status.success() {
            bail!("pgbench -i: {}", String::from_utf8_lossy(&output.stderr));
        }
        let (version, pgbouncer) = (binaries.version().to_string(), pgbouncer_version());
        let ground = Self { binaries, cluster, pinned, disk, surgetank, version, pgbouncer };
        ground
            .run(
                "CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 10);
                 INSERT INTO hot VALUES (1, 0), (2, 0); VACUUM ANALYZE hot; CHECKPOINT",
            )
            .await?;
        Ok(ground)
    }

    fn site(&self) -> Site<'_> {
        Site { cluster: &self.cluster, surgetank: &self.surgetank }
    }

    /// Starts an arm.
    pub(crate) fn start(&self, arm: Arm) -> anyhow::Result<Pooler> {
        let user = &self.cluster.superuser().user;
        // Who may look: it changes nothing of how the proxy works.
        let looks = ["--mode", "regulate", "--admin-users", user];
        match arm {
            Arm::Adaptive => self.site().surgetank(arm.to_string(), &looks),
            Arm::Static(size) => {
                let size = size.to_string();
                let arguments = [&looks[..], &["--static", "--limit", &size]].concat();
                self.site().surgetank(arm.to_string(), &arguments)
            }
            Arm::PgBouncer(size) => {
                let version = self.pgbouncer.context("PgBouncer is not installed")?;
                self.site().pgbouncer(PgBouncer { version, pool_mode: "transaction", size })
            }
        }
    }

    /// Statements past all poolers.
    pub(crate) async fn run(&self, statements: &str) -> anyhow::Result<()> {
        let mut config = tokio_postgres::Config::new();
        let address = self.cluster.address();
        config
            .host_path(self.cluster.socket_dir())
            .port(address.port)
            .user(&self.cluster.superuser().user)
            .dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        for statement in statements.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            client.simple_query(statement).await.with_context(|| statement.to_owned())?;
        }
        drop(client);
        driver.join_next().await;
        Ok(())
    }

    /// What updates have left behind, so that no arm works on another's litter.
    pub(crate) async fn tidy(&self) -> anyhow::Result<()> {
        self.run(
            "VACUUM hot; VACUUM pgbench_branches; VACUUM pgbench_tellers;
             VACUUM pgbench_accounts; CHECKPOINT",
        )
        .await
    }

    /// How long one of these takes when nobody else is there: the median of some, in seconds.
    pub(crate) async fn cost(&self, work: Work, times: usize) -> anyhow::Result<f64> {
        use rand::SeedableRng;
        let pooler = self.start(Arm::Static(1))?;
        let mut client =
            crate::client::Client::connect(pooler.address, &pooler.user, "web.1").await?;
        let mut chance = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let (mut text, mut seconds) = (String::new(), Vec::new());
        for _ in 0..times {
            let began = Instant::now();
            work.run(&mut client, &mut chance, &mut text).await?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        Ok(crate::statistics::median(&seconds))
    }

    /// Stops the server and removes it.
    pub(crate) async fn leave(self) {
        self.cluster.stop().await;
    }
}

/// How the limit of a proxy stood over time.
#[derive(Debug)]
pub(crate) struct Watch {
    start: Instant,
    seen: std::rc::Rc<std::cell::RefCell<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

/// One look at it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Since the watch began.
    pub(crate) at: Duration,
    pub(crate) limit: f64,
    /// Whether it finds the limit for all proxies of the database.
    pub(crate) leads: bool,
}

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Watch {
    /// Asks `SHOW LIMIT` again and again; `tells` all it says on stderr.
    pub(crate) async fn begin(pooler: &Pooler, tells: bool) -> anyhow::Result<Self> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(pooler.address.ip().to_string())
            .port(pooler.address.port())
            .user(&pooler.user)
            .dbname("pgbouncer");
        let (client, connection) = config.connect(NoTls).await.context("the admin database")?;
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn_local(async move {
            // Ends with the proxy.
            let _ = connection.await;
        });
        let (start, into) = (Instant::now(), std::rc::Rc::clone(&seen));
        tasks.spawn_local(async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                let Ok(rows) = client.simple_query("SHOW LIMIT").await else { return };
                for row in rows {
                    let tokio_postgres::SimpleQueryMessage::Row(row) = row else { continue };
                    let limit = row.get("limit").and_then(|text| text.parse().ok());
                    let (at, limit) = (start.elapsed(), limit.unwrap_or(f64::NAN));
                    let leads = row.get("rank") == Some("leader");
                    into.borrow_mut().push(Seen { at, limit, leads });
                    if tells {
                        tell(at, &row);
                    }
                }
            }
        });
        Ok(Self { start, seen, _tasks: tasks })
    }

    /// How long it has been looking.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// All looks so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Whether this proxy finds the limit for all, as of the last look.
    pub(crate) fn leads(&self) -> bool {
        self.seen.borrow().last().is_some_and(|last| last.leads)
    }

    /// The mean limit from a time on.
    pub(crate) fn limit(&self, from: Duration, to: Duration) -> f64 {
        let seen = self.seen.borrow();
        let within = seen.iter().filter(|one| one.at >= from && one.at < to);
        let limits: Vec<f64> = within.map(|one| one.limit).collect();
        mean(&limits)
    }
}

/// What one look showed.
fn tell(at: Duration, row: &tokio_postgres::SimpleQueryRow) {
    let shown = [
        "limit",
        "executing",
        "long",
        "idle_in_transaction",
        "held",
        "waiting",
        "open",
        "knee",
        "changed_from",
        "changed_to",
        "reason",
        "elasticity",
        "error",
        "rank",
        "share",
        "total",
    ];
    let cell = |name: &&str| format!("{name} {}", row.get(*name).unwrap_or("-"));
    let cells: Vec<String> = shown.iter().map(cell).collect();
    talk(&format!("{:>8.2} s  {}", at.as_secs_f64(), cells.join("  ")));
}
