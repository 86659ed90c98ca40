//! `surgetank proxy`: only the proxy, in front of an existing PostgreSQL.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use observe::{ObserveConfig, Observer};
use proxy::{Mode, Proxy, Upstream};
use recording::Recorder;
use trace::{Clock, DynoNames, NoSink, Sink};

use crate::exit::Exit;
use crate::out;
use crate::service::{Service, ServiceArgs};
use crate::shutdown::on_runtime;

/// Plans asked for at the end: those of the statements that took most time.
const PLANS: usize = 10;

/// Run only the proxy, in front of an existing PostgreSQL
#[derive(Debug, clap::Args)]
#[command(
    after_help = "observe: one server connection per client, nothing changed; safe to put in \
    front of production.\nregulate: transaction pooling under a limit.\n\nClients log in with the \
    URL's own user and password. Without a password in the URL the proxy listens on loopback \
    only.\n\
    TLS to the server is what the URL says: sslmode, sslrootcert, sslcert, sslkey, \
    sslnegotiation and channel_binding, as libpq has them.\n\n\
    SIGTERM: no new sessions, --grace for those there are. SIGINT: the same with 5 seconds. Again: \
    at once.\nSIGUSR2, with --handover: starts the program as it is on disk now, which takes \
    over.\n\
    Under systemd: Type=notify, WatchdogSec= and .socket units are understood."
)]
pub(crate) struct Args {
    /// The server: postgres://user:password@host:port/database
    #[arg(env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,

    /// Address and port for clients
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6432")]
    listen: SocketAddr,

    /// What it does with the sessions that pass
    #[arg(long, value_enum, default_value_t = ModeArg::Observe)]
    mode: ModeArg,

    /// regulate: most server connections
    #[arg(long, value_name = "N", default_value = "20")]
    limit: NonZeroU32,

    /// regulate: seconds a request may wait for a server connection
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    queue_timeout: u64,

    /// Threads that carry sessions [default: one per two cores]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// Record every request into this folder; with --handover, one in there for each process
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,

    /// With --record: do not sample the database's own statistics, which takes a connection
    #[arg(long)]
    no_samples: bool,

    /// The dyno of all clients; else their surgetank.dyno option, application_name or address
    #[arg(long, value_name = "NAME")]
    dyno: Option<String>,

    #[command(flatten)]
    service: ServiceArgs,
}

/// The modes as words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ModeArg {
    Observe,
    Regulate,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Observe => Self::Observe,
            ModeArg::Regulate => Self::Regulate,
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let upstream = Upstream::parse(&args.database_url).context("DATABASE_URL")?;
    let mut config = proxy::Config::new(args.mode.into(), upstream);
    config.limit = args.limit;
    config.queue_timeout = Duration::from_secs(args.queue_timeout);
    if let Some(workers) = args.workers {
        config.workers = workers;
    }
    let mut service = Service::open(&args.service)?;
    let clock = Clock::start();
    let recorder = match &args.record {
        Some(folder) => Some(record_into(&service.own_folder(folder), clock)?),
        None => None,
    };
    let sink: Arc<dyn Sink> = match &recorder {
        Some(recorder) => Arc::new(recorder.sink()),
        None => Arc::new(NoSink),
    };
    on_runtime(async {
        let proxy =
            Proxy::start(config, Arc::new(DynoNames::new(clock)), clock, Arc::clone(&sink))?;
        let addresses = service.listen(&proxy, args.listen, args.dyno.as_deref()).await?;
        let sampled = recorder.is_some() && !args.no_samples;
        let observer = if sampled { sample(&args.database_url, clock, &sink).await? } else { None };
        out::talk(&format!("surgetank: {:?} on {addresses}, Ctrl-C ends it", args.mode));
        let finished = service.run(&proxy).await?;
        proxy.shutdown(Duration::ZERO).await;
        drop(finished);
        if let Some(observer) = observer {
            observer.capture_plans(PLANS).await;
            observer.shutdown().await;
        }
        anyhow::Ok(())
    })?;
    if let Some(recorder) = recorder {
        let summary = recorder.finish()?;
        out::talk(&format!("surgetank: {} events recorded, {} lost", summary.events, summary.lost));
    }
    Ok(Exit::Good)
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
