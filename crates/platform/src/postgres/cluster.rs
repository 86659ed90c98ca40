//! A private PostgreSQL: made, started, and gone without a trace when dropped.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::keeper::{self, Order, Plan};
use super::{Address, Binaries, Credentials, Error, RunFolder};

/// The longest path of a socket: `sun_path` has 104 bytes on macOS (108 on Linux), one for the NUL.
const SOCKET_PATH_MAX: usize = 103;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where the cluster's run folder is made. Keep it short: the socket's path counts.
    pub parent_dir: PathBuf,
    /// Put the cluster into this run folder instead of one of its own (`parent_dir` is not used
    /// then).
    pub run_folder: Option<Arc<RunFolder>>,
    /// The name of the cluster's folder in the run folder; one cluster per name.
    pub name: String,
    /// The superuser.
    pub superuser: String,
    /// Whether data must survive a crash.
    pub durability: Durability,
    /// How sessions over the Unix socket prove who they are. Over TCP it is always SCRAM-SHA-256.
    pub local_auth: LocalAuth,
    /// Settings for `postgresql.conf`; a later one wins over an earlier one and over our own.
    pub settings: Vec<(String, String)>,
    /// Size of a write-ahead log segment in MiB, a power of two; `None` leaves PostgreSQL's 16.
    pub wal_segment_mib: Option<u32>,
    /// How long `initdb` may take, and then how long the start may take.
    pub start_limit: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            parent_dir: std::env::temp_dir(),
            run_folder: None,
            name: "postgres".to_owned(),
            superuser: "postgres".to_owned(),
            durability: Durability::None,
            local_auth: LocalAuth::Trust,
            settings: Vec::new(),
            wal_segment_mib: None,
            start_limit: Duration::from_secs(60),
        }
    }
}

/// Whether data must survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `fsync` and `synchronous_commit` as PostgreSQL has them.
    Full,
    /// Nothing is waited for: for demos and tests.
    None,
}

/// How sessions over the Unix socket prove who they are. Only the server's user and root can reach
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalAuth {
    /// Not at all.
    Trust,
    /// With their password.
    Scram,
}

/// A private PostgreSQL server with its data, reachable only from this machine.
///
/// Dropping it stops the server at once and removes its data; [`stop`](Self::stop) lets it say
/// goodbye to its sessions first. When this process is killed instead, the kernel stops the server
/// (on Linux) and the next [`sweep_leftovers`](super::sweep_leftovers) removes the data.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: first the server ends, then its folder goes.
    keeper: Keeper,
    folder: Folder,
    binaries: Binaries,
    address: Address,
    superuser: Credentials,
    log: PathBuf,
}

impl Cluster {
    /// Makes a cluster (`initdb`), starts its server and waits until it accepts connections: one to
    /// two seconds.
    ///
    /// Dropping the future stops and removes what there is of it; that, and dropping the
    /// cluster, block the thread for some tens of milliseconds.
    ///
    /// # Errors
    /// See [`Error`]; messages of `initdb` and of the server are part of it.
    pub async fn start(binaries: &Binaries, options: ClusterOptions) -> Result<Self, Error> {
        let superuser = Credentials::random(&options.superuser)?;
        let folder = Folder::create(&options)?;
        let config = config(binaries, &options);
        let plan = Plan {
            binaries: binaries.clone(),
            folder: folder.path.clone(),
            superuser: superuser.user.clone(),
            password: superuser.password.clone(),
            initdb: initdb_arguments(&options),
            config,
            limit: options.start_limit,
        };
        let (log, socket_dir) = (plan.log(), plan.sockets());
        let widest = Address { socket_dir, host: Ipv4Addr::LOCALHOST.into(), port: u16::MAX };
        let length = widest.socket().as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(Error::SocketPath {
                path: widest.socket(),
                excess: length - SOCKET_PATH_MAX,
            });
        }
        let (keeper, ready) = Keeper::spawn(plan)?;
        let port = ready.await.map_err(|_| Error::Cancelled)??;
        let address = Address { port, ..widest };
        tracing::info!(%binaries, port, data = %folder.path.display(), "postgresql started");
        Ok(Self { keeper, folder, binaries: binaries.clone(), address, superuser, log })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port
    }

    /// The folder of its Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.address.socket_dir
    }

    /// The superuser and its password (needed over TCP only, with [`LocalAuth::Trust`]).
    #[must_use]
    pub fn superuser(&self) -> &Credentials {
        &self.superuser
    }

    /// The superuser's URL of a database, over TCP.
    #[must_use]
    pub fn superuser_url(&self, database: &str) -> String {
        self.address.url(&self.superuser, database)
    }

    /// The path of one of its client programs (`psql`), whether or not it exists.
    #[must_use]
    pub fn bin(&self, name: &str) -> PathBuf {
        self.binaries.bin(name)
    }

    /// The server's log, until the cluster is dropped.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The run folder it lives in, for others to live in too.
    #[must_use]
    pub fn run_folder(&self) -> &Arc<RunFolder> {
        &self.folder.run
    }

    /// Stops the server, ending its sessions (a *fast* shutdown), at once if that takes more than
    /// ten seconds; removes its data.
    pub async fn stop(self) {
        self.keeper.stop(Duration::from_secs(10)).await;
    }
}

/// The cluster's folder within a run folder.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    run: Arc<RunFolder>,
}

impl Folder {
    fn create(options: &ClusterOptions) -> Result<Self, Error> {
        let run = match &options.run_folder {
            Some(run) => Arc::clone(run),
            None => Arc::new(
                RunFolder::create(&options.parent_dir)
                    .map_err(|source| Error::Folder { path: options.parent_dir.clone(), source })?,
            ),
        };
        let path = run.path().join(&options.name);
        // The server's user walks through as through the run folder itself.
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::metadata(run.path())?.permissions()))
            .map_err(|source| Error::Folder { path: path.clone(), source })?;
        Ok(Self { path, run })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cluster's folder not removed");
        }
    }
}

/// Our end of the keeper thread.
#[derive(Debug)]
struct Keeper {
    orders: Option<mpsc::SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn spawn(plan: Plan) -> Result<(Self, oneshot::Receiver<Result<u16, Error>>), Error> {
        // At most one order is ever given.
        let (orders, queue) = mpsc::sync_channel(1);
        let (ready, readiness) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("postgres-keeper".to_owned())
            .spawn(move || keeper::keep(&plan, &queue, ready))
            .map_err(|source| Error::Spawn { program: "postgres-keeper".into(), source })?;
        Ok((Self { orders: Some(orders), thread: Some(thread) }, readiness))
    }

    async fn stop(&self, grace: Duration) {
        let (done, stopped) = oneshot::channel();
        if let Some(orders) = &self.orders
            && orders.try_send(Order::Stop { grace, done }).is_ok()
        {
            // An error means that the keeper has ended: what we want to hear.
            let _ = stopped.await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that kept postgresql has panicked");
        }
    }
}

fn initdb_arguments(options: &ClusterOptions) -> Vec<String> {
    let local = match options.local_auth {
        LocalAuth::Trust => "trust",
        LocalAuth::Scram => "scram-sha-256",
    };
    let mut arguments =
        vec!["--auth-host=scram-sha-256".to_owned(), format!("--auth-local={local}")];
    if options.durability == Durability::None {
        arguments.push("--no-sync".to_owned());
    }
    if let Some(mib) = options.wal_segment_mib {
        arguments.push(format!("--wal-segsize={mib}"));
    }
    arguments
}

/// Our lines of `postgresql.conf`. PostgreSQL takes the last of several lines for one setting.
fn config(binaries: &Binaries, options: &ClusterOptions) -> String {
    let mut settings = vec![
        ("listen_addresses", "127.0.0.1"),
        ("password_encryption", "scram-sha-256"),
        ("logging_collector", "off"),
        ("log_line_prefix", "%m [%p] %q%u@%d %a "),
        ("track_io_timing", "on"),
    ];
    if options.durability == Durability::None {
        settings.extend([
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
        ]);
    }
    // Version 13 computes identifiers only inside pg_stat_statements and does not know the setting.
    if binaries.version().major >= 14 {
        settings.push(("compute_query_id", "on"));
    }
    if binaries.has_library("pg_stat_statements") {
        settings.push(("shared_preload_libraries", "pg_stat_statements"));
    }
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    settings
        .into_iter()
        .chain(given)
        .map(|(name, value)| {
            format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''"))
        })
        .collect()
}
