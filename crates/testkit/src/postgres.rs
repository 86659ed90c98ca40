//! A real PostgreSQL for tests.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use platform::postgres::{
    Address, Binaries, Cluster, ClusterOptions, Credentials, Search, sweep_leftovers,
};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// The cluster that this test binary shares: alive while any test holds it.
///
/// A static, because tests have no common owner; a weak one, because statics are never dropped and
/// a server that outlives its tests is worse than a second `initdb`.
static SHARED: Mutex<Weak<TestPostgres>> = Mutex::const_new(Weak::new());

/// A PostgreSQL with settings fit for most tests, shared by all tests of this binary that run at
/// the same time. Give each test its own [`database`](TestPostgres::database).
///
/// It stops when the last test that holds it ends, also by a panic; if the test binary is killed,
/// the kernel stops the server and the next test run removes its folder.
///
/// # Panics
/// If there is no PostgreSQL on this machine, with what to do about it: a test that needs one
/// fails, it does not skip.
pub async fn postgres() -> Arc<TestPostgres> {
    let mut shared = SHARED.lock().await;
    if let Some(postgres) = shared.upgrade() {
        return postgres;
    }
    let postgres = Arc::new(TestPostgres::start(&[]).await);
    *shared = Arc::downgrade(&postgres);
    postgres
}

/// A PostgreSQL of its own with further settings (`("max_connections", "20")`), for one test.
///
/// # Panics
/// As [`postgres`].
pub async fn postgres_with(settings: &[(&str, &str)]) -> TestPostgres {
    TestPostgres::start(settings).await
}

/// A running PostgreSQL; ends when dropped.
#[derive(Debug)]
pub struct TestPostgres {
    cluster: Cluster,
    databases: AtomicU32,
}

impl TestPostgres {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let parent_dir = std::env::temp_dir();
        // What a killed test run left behind; the caller cannot be told, the log can.
        let _ = sweep_leftovers(&parent_dir);
        let pg_bin = std::env::var_os("SURGETANK_PG_BIN").map(PathBuf::from);
        let binaries = Binaries::discover(&Search::this_machine(pg_bin))
            .unwrap_or_else(|not_found| panic!("this test needs PostgreSQL\n{not_found}"));
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options = ClusterOptions {
            parent_dir,
            settings: settings.collect(),
            // Sixteen times less to write for initdb.
            wal_segment_mib: Some(1),
            // Many tests start one at the same time, on whatever machine.
            start_limit: Duration::from_secs(600),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(&binaries, options)
            .await
            .unwrap_or_else(|error| panic!("this test needs PostgreSQL: {error}"));
        Self { cluster, databases: AtomicU32::new(0) }
    }

    /// The server itself: its port, log and programs.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The superuser's URL of the database `postgres`, over TCP.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        self.cluster.superuser_url("postgres")
    }

    /// A session of the superuser in the database `postgres`.
    ///
    /// # Panics
    /// If the server does not let it in.
    pub async fn superuser(&self) -> Session {
        connect(&self.superuser_url()).await
    }

    /// A new, empty database, and a new role with a password that owns it.
    ///
    /// # Panics
    /// If it cannot be made.
    pub async fn database(&self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed) + 1;
        let owner = Credentials {
            user: format!("role_{number}"),
            // Characters that must be escaped in a URL: whoever builds URLs by hand finds out here.
            password: format!("p@ss/w:rd {number}"),
        };
        let name = format!("test_{number}");
        let superuser = self.superuser().await;
        for statement in [
            format!("CREATE ROLE {} LOGIN PASSWORD '{}'", owner.user, owner.password),
            format!("CREATE DATABASE {name} OWNER {}", owner.user),
        ] {
            superuser.batch_execute(&statement).await.expect("a superuser may make databases");
        }
        let superuser_url = self.cluster.superuser_url(&name);
        Database { name, owner, superuser_url, address: self.cluster.address().clone() }
    }
}

/// A database of a [`TestPostgres`] and the role that owns it.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The role that owns it (not a superuser) and its password.
    pub owner: Credentials,
    /// Where the server listens.
    pub address: Address,
    pub(crate) superuser_url: String,
}

impl Database {
    /// The owner's URL, over TCP with SCRAM.
    #[must_use]
    pub fn url(&self) -> String {
        self.address.url(&self.owner, &self.name)
    }

    /// The owner's URL through another address, a proxy's say.
    #[must_use]
    pub fn url_through(&self, proxy: std::net::SocketAddr) -> String {
        let address = Address { host: proxy.ip(), port: proxy.port(), ..self.address.clone() };
        address.url(&self.owner, &self.name)
    }

    /// The owner's URL over the Unix socket, where no password is asked for.
    #[must_use]
    pub fn socket_url(&self) -> String {
        self.address.socket_url(&self.owner.user, &self.name)
    }

    /// The superuser's URL of this database, over TCP.
    #[must_use]
    pub fn superuser_url(&self) -> &str {
        &self.superuser_url
    }

    /// A session of the owner.
    ///
    /// # Panics
    /// If the server does not let it in.
    pub async fn connect(&self) -> Session {
        connect(&self.url()).await
    }
}

/// A client and the task that drives its connection; dropping it ends both.
#[derive(Debug)]
pub struct Session {
    client: Client,
    // Aborted when dropped.
    _connection: JoinSet<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Opens a session.
///
/// # Panics
/// If the server does not let it in. Where refusal is what the test wants, use
/// `tokio_postgres::connect` itself.
pub async fn connect(url: &str) -> Session {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("no session with {url}: {error:?}"));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // How a connection ends is seen by the client's own calls.
        let _ = connection.await;
    });
    Session { client, _connection: tasks }
}
