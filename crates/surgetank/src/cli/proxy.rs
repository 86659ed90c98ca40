//! `surgetank proxy`: only the proxy, in front of an existing PostgreSQL.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use observe::{ObserveConfig, Observer};
use proxy::{Address, Mode, Proxy, Upstream};
use recording::Recorder;
use trace::{Clock, DynoNames, NoSink, Sink};

use crate::config::{ModeWord, Plan, Source};
use crate::exit::{Exit, one_line};
use crate::knees::Knees;
use crate::metrics;
use crate::out;
use crate::service::files::raise_open_files;
use crate::service::{Service, ServiceArgs, Wanted};
use crate::shutdown::on_runtime;

/// Plans asked for at the end: those of the statements that took most time.
const PLANS: usize = 10;

/// Run only the proxy, in front of an existing PostgreSQL
#[derive(Debug, clap::Args)]
#[command(
    after_help = "observe: one server connection per client, nothing changed; safe to put in \
    front of production.\nregulate: transaction pooling. How \
    many statements execute at once is found by measuring; --limit is the most server connections \
    it may take. Several proxies of one database find each other through it and share its \
    limits.\n\nClients log in with the \
    URL's own user and password, or as the file says. Without a password in the URL the proxy \
    listens on loopback only.\n\
    TLS to the server is what the URL says: sslmode, sslrootcert, sslcert, sslkey, \
    sslnegotiation and channel_binding, as libpq has them.\n\n\
    A flag goes before the file, and DATABASE_URL before the file's entry \"*\". SIGHUP, or \
    RELOAD on the admin database, reads the file again, whole or not at all.\n\n\
    SIGTERM: no new sessions, --grace for those there are. SIGINT: the same with 5 seconds. Again: \
    at once, but not for a second SIGTERM under systemd, which sends it of its own accord.\n\
    SIGUSR2, with --handover: starts the program as it is on disk now, which takes \
    over.\n\
    Under systemd: Type=notify, WatchdogSec= and .socket units are understood."
)]
pub(crate) struct Args {
    /// The server: postgres://user:password@host:port/database
    #[arg(env = "DATABASE_URL", hide_env_values = true)]
    #[arg(required_unless_present_any = ["config", "pgbouncer_ini"])]
    database_url: Option<String>,

    /// Configuration file (packaging/surgetank.toml is an annotated one)
    #[arg(short, long, value_name = "FILE", conflicts_with = "pgbouncer_ini")]
    config: Option<PathBuf>,

    /// PgBouncer's configuration file; what has no effect here is told
    #[arg(long, value_name = "FILE")]
    pgbouncer_ini: Option<PathBuf>,

    /// Address and port for clients, or a Unix socket (FOLDER/.s.PGSQL.PORT); may be given again
    /// [default: 127.0.0.1:6432]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<Address>,

    /// What it does with the sessions that pass [default: observe]
    #[arg(long, value_enum)]
    mode: Option<ModeWord>,

    /// regulate: most server connections [default: as many as the server has room for; with
    /// --static 20]
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU32>,

    /// regulate: do not measure how many statements the database does best with; as many execute
    /// as there are server connections
    #[arg(long = "static")]
    is_static: bool,

    /// regulate: keep what was found of the limit in this file, for the next start [default:
    /// limits.json in systemd's state folder, if there is one]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// regulate: seconds a request may wait for a server connection [default: 5]
    #[arg(long, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    queue_timeout: Option<u64>,

    /// Threads that carry sessions [default: one per two cores]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// Users who may do everything on the admin database `pgbouncer`, as may the system's user that
    /// runs the proxy: over a Unix socket, as the user `pgbouncer`
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    admin_users: Vec<String>,

    /// Users who may only look there
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    stats_users: Vec<String>,

    /// Record every request into this folder; with --handover, one in there for each process
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,

    /// With --record: do not sample the database's own statistics, which takes a connection
    #[arg(long)]
    no_samples: bool,

    /// Give numbers to Prometheus: http://ADDR:PORT/metrics; a port alone is on 127.0.0.1
    #[arg(long, value_name = "ADDR:PORT", value_parser = metrics::address)]
    metrics: Option<SocketAddr>,

    /// The dyno of all clients; else their surgetank.dyno option, application_name or address
    #[arg(long, value_name = "NAME")]
    dyno: Option<String>,

    #[command(flatten)]
    service: ServiceArgs,
}

impl Args {
    /// What is to be run: the file, then what flags and environment say.
    fn plan(&self) -> anyhow::Result<Plan> {
        let source = match (&self.config, &self.pgbouncer_ini) {
            (Some(path), _) => Some(Source::Toml(path.clone())),
            (None, Some(path)) => Some(Source::Ini(path.clone())),
            (None, None) => None,
        };
        let url = self.database_url.as_deref();
        let upstream = url.map(|url| Upstream::parse(url).context("DATABASE_URL")).transpose()?;
        let mut plan = match (source, upstream) {
            (Some(source), upstream) => source.read(upstream.as_ref())?,
            (None, Some(upstream)) => Plan::of(proxy::Config::new(Mode::Observe, upstream)),
            (None, None) => anyhow::bail!("no database: give a URL, -c or --pgbouncer-ini"),
        };
        let config = &mut plan.proxy;
        config.mode = self.mode.map_or(config.mode, Into::into);
        config.limit = self.limit.or(config.limit);
        config.adaptive &= !self.is_static;
        if let Some(seconds) = self.queue_timeout {
            config.queue_timeout = Duration::from_secs(seconds);
        }
        config.workers = self.workers.unwrap_or(config.workers);
        if !self.admin_users.is_empty() {
            config.admin_users.clone_from(&self.admin_users);
        }
        if !self.stats_users.is_empty() {
            config.stats_users.clone_from(&self.stats_users);
        }
        if !self.listen.is_empty() {
            plan.listen.clone_from(&self.listen);
        }
        if plan.listen.is_empty() {
            plan.listen = vec![SocketAddr::from(([127, 0, 0, 1], 6432)).into()];
        }
        plan.record = self.record.clone().or(plan.record);
        plan.metrics = self.metrics.or(plan.metrics);
        plan.dyno = self.dyno.clone().or(plan.dyno);
        plan.state = self.state.clone().or(plan.state);
        if let Some(address) =
            plan.metrics.filter(|one| one.port() > 0 && plan.listen.contains(&(*one).into()))
        {
            anyhow::bail!("{address} is for clients and for metrics: give each a port of its own");
        }
        Ok(plan)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    raise_open_files();
    let service = Service::open(&args.service)?;
    let plan = args.plan()?;
    for note in &plan.notes {
        out::talk(&format!("surgetank: {note}"));
    }
    let clock = Clock::start();
    let recorder = match &plan.record {
        Some(folder) => Some(record_into(&service.own_folder(folder), clock)?),
        None => None,
    };
    let sink: Arc<dyn Sink> = match &recorder {
        Some(recorder) => Arc::new(recorder.sink()),
        None => Arc::new(NoSink),
    };
    on_runtime(serve(args, plan, service, clock, sink, recorder.is_some()))?;
    if let Some(recorder) = recorder {
        let summary = recorder.finish()?;
        out::talk(&format!("surgetank: {} events recorded, {} lost", summary.events, summary.lost));
    }
    Ok(Exit::Good)
}

async fn serve(
    args: &Args,
    plan: Plan,
    mut service: Service,
    clock: Clock,
    sink: Arc<dyn Sink>,
    recorded: bool,
) -> anyhow::Result<()> {
    let mode = plan.proxy.mode;
    let knees = Knees::at(plan.state.clone());
    let config = proxy::Config { knees: knees.read(), ..plan.proxy.clone() };
    let names = Arc::new(DynoNames::new(clock));
    let proxy = Proxy::start(config, names, clock, Arc::clone(&sink))?;
    let Plan { listen, socket_permissions, dyno, metrics, .. } = &plan;
    let wanted = Wanted { listen, socket_permissions, dyno: dyno.as_deref(), metrics: *metrics };
    let addresses = service.listen(&proxy, wanted).await?;
    let observer = match args.database_url.as_deref().filter(|_| recorded && !args.no_samples) {
        Some(url) => sample(url, clock, &sink).await?,
        None => None,
    };
    out::talk(&format!("surgetank: {mode} on {addresses}, Ctrl-C ends it"));
    let finished = tokio::select! {
        finished = service.run(&proxy, async || reload(args, &plan, &proxy).await) => finished?,
        () = knees.keep(&proxy) => anyhow::bail!("the limits are kept no longer"),
    };
    knees.write(&proxy.control().knees());
    proxy.shutdown(Duration::ZERO).await;
    drop(finished);
    if let Some(observer) = observer {
        observer.capture_plans(PLANS).await;
        observer.shutdown().await;
    }
    Ok(())
}

/// Reads the configuration again, whole or not at all, and tells what changed.
async fn reload(args: &Args, started: &Plan, proxy: &Proxy) -> anyhow::Result<()> {
    let reloaded = async {
        let plan = args.plan()?;
        let waits = [
            ("listen", plan.listen != started.listen),
            (
                "unix_socket_permissions, unix_socket_group",
                plan.socket_permissions != started.socket_permissions,
            ),
            ("metrics.listen", plan.metrics != started.metrics),
            ("record", plan.record != started.record),
            ("state", plan.state != started.state),
            ("dyno", plan.dyno != started.dyno),
        ];
        let mut changes = proxy.control().reload(plan.proxy).await?;
        let waits = waits.iter().filter(|(_, is_new)| *is_new);
        changes.extend(waits.map(|(key, _)| format!("{key}: takes effect with a restart")));
        anyhow::Ok(changes)
    };
    match reloaded.await {
        Ok(changes) if changes.is_empty() => out::talk("surgetank: reloaded, nothing changed"),
        Ok(changes) => out::talk(&format!("surgetank: reloaded: {}", changes.join("; "))),
        Err(error) => {
            out::talk(&format!("surgetank: not reloaded, nothing changed: {}", one_line(&error)));
            return Err(error);
        }
    }
    Ok(())
}

/// Samples the database with the URL's own role; without the right to read statistics, or while
/// the database is away, the recording has requests only.
async fn sample(url: &str, clock: Clock, sink: &Arc<dyn Sink>) -> anyhow::Result<Option<Observer>> {
    let config = ObserveConfig::new(url.parse().context("DATABASE_URL")?);
    match Observer::start(config, clock, Arc::clone(sink)).await {
        Ok(observer) => Ok(Some(observer)),
        Err(error) => {
            out::talk(&format!("surgetank: no samples of the database: {error}"));
            Ok(None)
        }
    }
}

fn record_into(folder: &std::path::Path, clock: Clock) -> anyhow::Result<Recorder> {
    let named = || format!("--record {}", folder.display());
    std::fs::create_dir_all(folder).with_context(named)?;
    Recorder::start(folder, clock).with_context(named)
}
