//! `surgetank up`: the Procfile app of a folder with everything around it, until Ctrl-C.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use platform::control::{self, Client, Server};
use platform::{Api, Egress, Formation, Procfile};

use super::PostgresArgs;
use crate::config::ModeWord;
use crate::exit::{Exit, Unavailable};
use crate::out;
use crate::progress::Progress;
use crate::shutdown::{Orderly, on_runtime, until_interrupted_twice};
use crate::staging::{self, Apart, Database, Plan, Staging, Wanted};

/// Run the Procfile app of a folder with its PostgreSQL, proxy, router and logs
#[derive(Debug, clap::Args)]
#[command(after_help = "From another terminal in the same folder: surgetank ps, logs --tail, \
    ps:scale web=3, config:set NAME=VALUE, releases, run CMD, run --dyno web.1,web.2 -- CMD, \
    diagnose.\n\nEach start is a release of the folder as it is: the Procfile's `release` process \
    runs first, and its failure ends the start.")]
pub(crate) struct Args {
    /// How many dynos of each type, of what size: `web=2:Standard-2X,worker=1` [default: one web]
    #[arg(short = 'm', long, value_name = "FORMATION", default_value = "")]
    pub(super) formation: String,

    /// The app's folder, with its Procfile
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(super) app: PathBuf,

    /// What the proxy does with the sessions that pass
    #[arg(long, value_enum, default_value_t = ModeWord::Observe)]
    mode: ModeWord,

    /// regulate: most server connections [default: two per core and two]
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU32>,

    /// The router's port on loopback; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 5000)]
    port: u16,

    /// PostgreSQL's max_connections: the size of the database the app will meet [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=1000))]
    pub(super) max_connections: Option<u32>,

    /// Set a config var of the app, as `config:set` does: NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = config_var)]
    pub(super) env: Vec<(String, String)>,

    /// Run this in the app's environment before the dynos start: `surgetank storefront setup`
    #[arg(long, value_name = "CMD")]
    setup: Option<String>,

    /// The Platform API's port on loopback, for Heroku's own command line; 0 for the last one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    api_port: u16,

    /// How dynos are kept apart
    #[arg(long, value_enum, default_value_t = Wanted::Auto)]
    isolation: Wanted,

    /// What contained dynos reach over the network
    #[arg(long, value_enum, default_value_t = EgressArg::Database)]
    egress: EgressArg,

    /// A file or folder that contained dynos see too, read-only (a language outside of /usr)
    #[arg(long, value_name = "PATH")]
    bind: Vec<PathBuf>,

    /// Seed of the router's choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    postgres: PostgresArgs,
}

/// What contained dynos reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum EgressArg {
    /// Only their database
    Database,
    /// All that this machine reaches; they share its network
    All,
}

impl From<EgressArg> for Egress {
    fn from(egress: EgressArg) -> Self {
        match egress {
            EgressArg::Database => Self::Database,
            EgressArg::All => Self::All,
        }
    }
}

/// As the small plans of hosted databases have it: where connections are scarce, it shows.
const MAX_CONNECTIONS: u32 = 20;

pub(crate) fn config_var(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    run_in(args, Surroundings::default(), async |_, _| Ok(()))
}

/// What the app finds around it, beside what the command line says.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Further settings of PostgreSQL.
    pub(super) settings: Vec<(String, String)>,
    /// How far PostgreSQL is to be.
    pub(super) round_trip: Option<Duration>,
}

/// As [`run`], in surroundings of one's own; `once_up` is called when everything runs.
pub(super) fn run_in(
    args: Args,
    surroundings: Surroundings,
    once_up: impl AsyncFnOnce(&Database, &Staging) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    until_interrupted_twice(async |orderly| {
        start_and_serve(args, surroundings, once_up, orderly).await
    })?;
    Ok(Exit::Good)
}

async fn start_and_serve(
    args: Args,
    surroundings: Surroundings,
    once_up: impl AsyncFnOnce(&Database, &Staging) -> anyhow::Result<()>,
    orderly: &Orderly,
) -> anyhow::Result<()> {
    let app_dir =
        std::fs::canonicalize(&args.app).with_context(|| args.app.display().to_string())?;
    // What is wrong with them is told before a database is started and filled.
    Formation::initial(&Procfile::read(&app_dir)?).changed_by(&args.formation)?;
    let progress = Progress::new();
    let mut settings = surroundings.settings;
    let max_connections = args.max_connections.unwrap_or(MAX_CONNECTIONS);
    settings.push(("max_connections".to_owned(), max_connections.to_string()));
    let database = Database::find_and_start(&args.postgres, &settings, &progress).await?;
    if let Some(command) = &args.setup {
        progress.now(command);
        set_up(command, &app_dir, &args.env, &database).await?;
    }
    progress.now("starting the dynos");
    let plan = Plan {
        recording: app_dir.join(super::record::FOLDER).join(recording_name()),
        app_dir: app_dir.clone(),
        formation: args.formation.clone(),
        config_vars: args.env.clone(),
        apart: apart(&args)?,
        keeps_releases: true,
        mode: args.mode.into(),
        limit: args.limit,
        router: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port),
        seed: args.seed,
        round_trip: surroundings.round_trip,
    };
    let recording = plan.recording.clone();
    let staging = Staging::start(&database, plan).await?;
    let controlled = Arc::new(staging.controlled().context("an app that keeps its releases")?);
    let server = Server::start(&sockets(&app_dir), Arc::clone(&controlled)).await?;
    let api_address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.api_port);
    let api = Api::start(controlled, api_address).await?;
    progress.done();
    // Not before it serves: what has only begun to start is dropped at the first signal.
    orderly.begin();
    out::talk(&format!(
        "http://{} · PostgreSQL {} · {:?} · recording into {}\nDynos are {}\n\
         For Heroku's own command line, paste:\n{}\nCtrl-C ends it",
        staging.address(),
        database.version(),
        args.mode,
        recording.display(),
        staging.apart(),
        api.exports()
    ));
    once_up(&database, &staging).await?;
    let mut lines = staging.hub().tail(platform::LogFilter::default());
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(line) => out::line(&line.to_string())?,
                None => break,
            },
            () = orderly.asked() => break,
        }
    }
    out::talk("stopping");
    api.shutdown().await;
    server.shutdown().await;
    staging.stop().await?;
    database.stop().await;
    Ok(())
}

fn apart(args: &Args) -> anyhow::Result<Apart> {
    let found = |path: &PathBuf| {
        std::fs::canonicalize(path).with_context(|| format!("--bind {}", path.display()))
    };
    let binds = args.bind.iter().map(found).collect::<anyhow::Result<_>>()?;
    Ok(Apart { wanted: args.isolation, egress: args.egress.into(), binds })
}

async fn set_up(
    command: &str,
    app_dir: &Path,
    config_vars: &[(String, String)],
    database: &Database,
) -> anyhow::Result<()> {
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", command]).current_dir(app_dir).kill_on_drop(true);
    shell.env("PATH", staging::path_with_this_program(database.run_folder().path())?);
    shell.envs(config_vars.iter().map(|(name, value)| (name, value)));
    shell.env("DATABASE_URL", database.direct_url());
    let status = shell.status().await.with_context(|| format!("--setup {command}"))?;
    anyhow::ensure!(status.success(), "--setup `{command}`: {status}");
    Ok(())
}

/// Names sort by time.
fn recording_name() -> String {
    jiff::Zoned::now().strftime("%Y%m%dT%H%M%S").to_string()
}

fn sockets(app_dir: &Path) -> Vec<PathBuf> {
    control::candidates(app_dir, &control::runtime_dir())
}

/// What the app in this folder is called: as the folder is.
pub(crate) fn app_name() -> anyhow::Result<String> {
    Ok(platform::app_name(&std::env::current_dir()?))
}

/// Does something with the app that `surgetank up` runs in this folder.
pub(crate) fn control<T>(work: impl AsyncFnOnce(Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let app_dir = std::env::current_dir()?;
    on_runtime(async {
        let found = Client::find(&sockets(&app_dir)).await;
        let client = found.map_err(|error| Unavailable(error.to_string()))?;
        work(client).await
    })
}
