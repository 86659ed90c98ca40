//! The PostgreSQL of a staging: found or obtained, private, with a role and a database for the app.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use platform::postgres::{
    Binaries, Cluster, ClusterOptions, Credentials, LocalAuth, RunFolder, Search,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};

use crate::cli::PostgresArgs;
use crate::exit::Unavailable;
use crate::progress::Progress;

/// Statements that take longer are told in the log, as Heroku Postgres has it.
const SLOW: &str = "2s";
/// Role and database of the app.
const APP: &str = "app";
/// Slots the server keeps for superusers, which our own observer is.
const RESERVED: u32 = 3;
/// The quickest of so many answers says how far the server is.
const ROUND_TRIPS: usize = 20;
/// Slots left free for people (psql) and for a connection that is just being replaced.
const SPARE: u32 = 2;

/// A private PostgreSQL with the app's database.
pub(crate) struct Database {
    cluster: Cluster,
    app: Credentials,
    version: String,
    max_connections: u32,
}

/// A session with the server; dropping it ends it.
pub(crate) struct Session {
    client: Client,
    /// Moves the connection's bytes, and ends with the session.
    _driver: JoinSet<()>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The app's URL, of which only the address differs from dyno to dyno.
#[derive(Clone)]
pub(crate) struct AppUrl {
    credentials: Credentials,
}

impl AppUrl {
    /// The URL through a listener of the proxy.
    pub(crate) fn through(&self, address: SocketAddr) -> String {
        let Credentials { user, password } = &self.credentials;
        format!("postgres://{user}:{password}@{address}/{APP}")
    }
}

/// Finds PostgreSQL's server programs, or obtains them if the user agrees.
async fn find_postgres(args: &PostgresArgs, progress: &Progress) -> anyhow::Result<Binaries> {
    let search = Search::this_machine(args.pg_bin.clone());
    let missing = match Binaries::discover(&search) {
        Ok(binaries) => return Ok(binaries),
        Err(missing) => missing,
    };
    let asks = missing.may_be_obtained() && !args.yes && crate::cli::can_ask();
    let agreed = if asks {
        progress.line(&missing.to_string());
        crate::cli::agree("Obtain PostgreSQL now?")
    } else {
        missing.may_be_obtained() && args.yes
    };
    if !agreed {
        let why = if asks { "PostgreSQL is needed".to_owned() } else { missing.to_string() };
        return Err(Unavailable(why).into());
    }
    let told = progress.clone();
    let obtain = move || platform::postgres::obtain(&search, &mut |step| told.line(step));
    let obtained = tokio::task::spawn_blocking(obtain).await.context("obtaining PostgreSQL")?;
    obtained.map_err(|error| Unavailable(error.to_string()).into())
}

impl Database {
    /// Finds PostgreSQL, sweeps what a killed run left behind, and starts a private one with the
    /// app's role and database; tells each step.
    pub(crate) async fn find_and_start(
        args: &PostgresArgs,
        settings: &[(String, String)],
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        progress.now("looking for PostgreSQL");
        let binaries = find_postgres(args, progress).await?;
        progress.now(&format!("starting PostgreSQL {}", binaries.version()));
        let parent = std::env::temp_dir();
        for swept in platform::postgres::sweep_leftovers(&parent) {
            progress.line(&format!("cleaned up after an earlier run: {swept}"));
        }
        Self::start(&binaries, parent, settings).await
    }

    /// Starts a private PostgreSQL and makes the app's role and database in it.
    async fn start(
        binaries: &Binaries,
        parent: PathBuf,
        settings: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let setting = |name: &str, value: String| (name.to_owned(), value);
        let options = ClusterOptions {
            parent_dir: parent,
            local_auth: LocalAuth::Scram,
            settings: [
                setting("superuser_reserved_connections", RESERVED.to_string()),
                setting("shared_buffers", "256MB".to_owned()),
                // As Heroku Postgres' lines look, which begin with a time of their own in the log.
                setting("log_line_prefix", "[%p-%l] %q%u [%d] ".to_owned()),
                setting("log_min_duration_statement", SLOW.to_owned()),
            ]
            .into_iter()
            .chain(settings.iter().cloned())
            .collect(),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start(binaries, options).await?;
        let app = Credentials::random(APP)?;
        let version = binaries.version().to_string();
        let mut database = Self { cluster, app, version, max_connections: 0 };
        database.max_connections = database.ask_max_connections().await?;
        database.create_app().await.context("making the app's role and database")?;
        Ok(database)
    }

    async fn ask_max_connections(&self) -> anyhow::Result<u32> {
        let client = self.superuser("postgres").await?;
        let row = client.query_one("SELECT current_setting('max_connections')::int", &[]).await?;
        Ok(u32::try_from(row.get::<_, i32>(0))?)
    }

    async fn create_app(&self) -> anyhow::Result<()> {
        let client = self.superuser("postgres").await?;
        // Both names are our own and plain; the password is hexadecimal.
        let role = format!("CREATE ROLE {APP} LOGIN PASSWORD '{}'", self.app.password);
        client.batch_execute(&role).await?;
        client.batch_execute(&format!("CREATE DATABASE {APP} OWNER {APP}")).await?;
        Ok(())
    }

    /// A superuser's session in the app's database.
    pub(crate) async fn admin(&self) -> anyhow::Result<Session> {
        self.superuser(APP).await
    }

    async fn superuser(&self, database: &str) -> anyhow::Result<Session> {
        let mut config = self.superuser_config(database);
        config.application_name("surgetank");
        let (client, connection) = config.connect(NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What ends the connection is told to the client's next request.
            let _ended = connection.await;
        });
        Ok(Session { client, _driver: driver })
    }

    fn superuser_config(&self, database: &str) -> tokio_postgres::Config {
        let address = self.cluster.address();
        let superuser = self.cluster.superuser();
        let mut config = tokio_postgres::Config::new();
        config.host_path(&address.socket_dir).port(address.port);
        config.user(&superuser.user).password(&superuser.password).dbname(database);
        config
    }

    /// What the observer connects with.
    pub(crate) fn observer_config(&self) -> tokio_postgres::Config {
        self.superuser_config(APP)
    }

    /// What the proxy connects to: the app's role over the Unix socket, or over one in `folder`
    /// that leads there.
    pub(crate) fn upstream(&self, folder: Option<&Path>) -> anyhow::Result<proxy::Upstream> {
        let mut url = url::Url::parse(&self.direct_url())?;
        let folder = folder.unwrap_or(self.cluster.socket_dir()).display().to_string();
        url.query_pairs_mut().append_pair("host", &folder);
        Ok(proxy::Upstream::parse(url.as_str())?)
    }

    /// The Unix socket itself.
    pub(crate) fn socket(&self) -> PathBuf {
        self.cluster.socket_dir().join(format!(".s.PGSQL.{}", self.cluster.port()))
    }

    /// The shortest time that PostgreSQL takes to answer over a socket in this folder, or its own.
    pub(crate) async fn round_trip(&self, folder: Option<&Path>) -> anyhow::Result<Duration> {
        let mut config = self.superuser_config(APP);
        config.application_name("surgetank");
        if let Some(folder) = folder {
            let port = self.cluster.port();
            let superuser = self.cluster.superuser();
            config = tokio_postgres::Config::new();
            config.host_path(folder).port(port).dbname(APP).application_name("surgetank");
            config.user(&superuser.user).password(&superuser.password);
        }
        let (client, connection) = config.connect(NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What ends the connection is told to the client's next request.
            let _ended = connection.await;
        });
        let mut least = Duration::MAX;
        for _ in 0..ROUND_TRIPS {
            let asked = Instant::now();
            client.simple_query("").await?;
            least = least.min(asked.elapsed());
        }
        Ok(least)
    }

    /// Server connections for `regulate` mode where nobody said how many: two per core and two
    /// more keep a small database busy; never so many that the server could run out of slots.
    pub(crate) fn limit(&self) -> NonZeroU32 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = u32::try_from(2 * cores + 2).unwrap_or(u32::MAX);
        let limit = wanted.min(self.max_connections.saturating_sub(RESERVED + SPARE));
        NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN)
    }

    /// The app's URL straight to the server, for setting up its tables.
    pub(crate) fn direct_url(&self) -> String {
        self.cluster.address().url(&self.app, APP)
    }

    pub(crate) fn app_url(&self) -> AppUrl {
        AppUrl { credentials: self.app.clone() }
    }

    /// `PostgreSQL 15.18`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Its own log.
    pub(crate) fn log_path(&self) -> &Path {
        self.cluster.log_path()
    }

    pub(crate) fn run_folder(&self) -> Arc<RunFolder> {
        Arc::clone(self.cluster.run_folder())
    }

    pub(crate) async fn stop(self) {
        self.cluster.stop().await;
    }
}
