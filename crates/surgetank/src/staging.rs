//! A run of an app: everything between its users and its tables, on one machine.
//!
//! ```text
//!   users ─▶ router ─▶ dynos ─▶ proxy ─▶ PostgreSQL
//!              │         │        │          │
//!              └────┬────┴────────┘       observer
//!                   ▼                        │
//!                recorder  ◀─────────────────┘
//! ```
//! [`Database`] outlives several runs; [`Staging`] is one run, in one mode, with one recording.
//! It starts against the arrows of the picture and stops along them.

mod database;
mod distance;
mod isolation;
mod postgres_log;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context;
use observe::{ObserveConfig, Observer};
use platform::postgres::RunFolder;
use platform::{
    App, ChildChange, ConfigVars, DatabaseTally, DrainOptions, DynoName, DynoOptions, Dynos,
    Formation, LogHub, OneOffTiming, Platform, Procfile, Router, RouterOptions, Source, Timing,
    Tracer, loopback_for,
};
use proxy::{Mode, Proxy};
use recording::Recorder;
use tokio::task::JoinSet;
use trace::{Clock, DynoNames, DynoState, Event, Sink};

pub(crate) use database::Database;
use distance::Distance;
use isolation::Settled;
pub(crate) use isolation::{Apart, Wanted};

use crate::tally::{Tally, TallySink};

/// How long a stopping dyno's requests in flight may take before it is asked to end.
const DRAIN: Duration = Duration::from_secs(3);
/// How long requests in flight may take when the run ends.
const ROUTER_GRACE: Duration = Duration::from_secs(3);
/// How long the proxy gives open sessions when the run ends.
const PROXY_GRACE: Duration = Duration::from_secs(1);

/// What is run, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) app_dir: PathBuf,
    pub(crate) formation: String,
    pub(crate) config_vars: Vec<(String, String)>,
    pub(crate) apart: Apart,
    /// Whether config vars and releases are kept in the app's folder, and the start is a release.
    pub(crate) keeps_releases: bool,
    pub(crate) mode: Mode,
    /// Server connections in `regulate` mode; `None` leaves it to [`Database::limit`].
    pub(crate) limit: Option<NonZeroU32>,
    /// Where the router listens; port 0 for any.
    pub(crate) router: SocketAddr,
    pub(crate) recording: PathBuf,
    pub(crate) seed: u64,
    /// How far PostgreSQL is to be; nothing leaves it where it is.
    pub(crate) round_trip: Option<Duration>,
}

/// One run of an app.
pub(crate) struct Staging {
    clock: Clock,
    names: Arc<DynoNames>,
    sink: Arc<dyn Sink>,
    tally: Arc<Tally>,
    hub: LogHub,
    router: Router,
    dynos: Arc<Dynos>,
    platform: Option<Arc<Platform>>,
    proxy: Arc<Proxy>,
    observer: Observer,
    recorder: Recorder,
    recording: PathBuf,
    /// How dynos are kept apart, for people.
    apart: String,
    has_limits: bool,
    distance: Option<Distance>,
    /// Tells PostgreSQL's own log in that of the app, where the app keeps its releases.
    _postgres_log: JoinSet<()>,
}

impl Staging {
    /// Starts everything and returns when all dynos are up, or one has crashed.
    pub(crate) async fn start(database: &Database, plan: Plan) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let names = Arc::new(DynoNames::new(clock));
        std::fs::create_dir_all(&plan.recording)
            .with_context(|| plan.recording.display().to_string())?;
        let recorder = Recorder::start(&plan.recording, clock)?;
        let tally = Arc::new(Tally::default());
        let sink: Arc<dyn Sink> = Arc::new(TallySink::new(recorder.sink(), Arc::clone(&tally)));

        let observer = ObserveConfig::new(database.observer_config());
        let observer = Observer::start(observer, clock, Arc::clone(&sink)).await?;
        let distance = match plan.round_trip {
            Some(round_trip) => {
                let folder = database.run_folder().path().join("far");
                Some(Distance::start(folder, &database.socket(), round_trip)?)
            }
            None => None,
        };
        let way = distance.as_ref().map(Distance::folder);
        let proxy = start_proxy(database.upstream(way)?, database, &plan, clock, &names, &sink)?;

        let hub = LogHub::new(clock);
        let tracer = Tracer::new(clock, Arc::clone(&names), Arc::clone(&sink));
        let procfile = Procfile::read(&plan.app_dir)?;
        let formation = Formation::initial(&procfile).changed_by(&plan.formation)?;
        let settled = plan.apart.settle(database.run_folder(), &proxy).await?;
        let (apart, has_limits) = (settled.told(), settled.has_limits());
        hub.write(Source::Heroku, "surgetank", &format!("Dynos are {apart}"));
        let options = dyno_options(database, &plan, &proxy, settled)?;
        let start =
            |formation| Dynos::start(procfile, formation, options, hub.clone(), tracer.clone());
        let (dynos, platform) = if plan.keeps_releases {
            // No dyno before the first release is live.
            let dynos = Arc::new(start(formation.emptied()).await?);
            let platform = release(database, &plan, &dynos, &hub, clock).await?;
            dynos.scale(&formation.to_string()).await?;
            (dynos, Some(platform))
        } else {
            (Arc::new(start(formation).await?), None)
        };
        let options = RouterOptions::new(plan.router, plan.seed);
        let router = Router::start(options, &dynos, hub.clone(), tracer).await?;
        let told = plan.keeps_releases;
        let postgres_log = if told { postgres_log::tell(database, &hub) } else { JoinSet::new() };
        let recording = plan.recording;
        let staging = Self {
            clock,
            names,
            sink,
            tally,
            hub,
            router,
            dynos,
            platform,
            proxy,
            observer,
            recorder,
            recording,
            apart,
            has_limits,
            distance,
            _postgres_log: postgres_log,
        };
        staging.wait_for_dynos().await?;
        Ok(staging)
    }

    /// Returns when every dyno is up; an error with its last lines when one has crashed.
    async fn wait_for_dynos(&self) -> anyhow::Result<()> {
        let settled = |state| matches!(state, DynoState::Up | DynoState::Crashed);
        self.dynos.wait_until(|dynos| dynos.iter().all(|dyno| settled(dyno.state))).await;
        let crashed = self.dynos.ps().into_iter().find(|dyno| dyno.state == DynoState::Crashed);
        let Some(crashed) = crashed else { return Ok(()) };
        let filter = platform::LogFilter::default().dyno(&crashed.name.to_string()).last(10);
        let lines: Vec<String> =
            self.hub.history(&filter).iter().map(ToString::to_string).collect();
        anyhow::bail!("{} crashed at boot:\n{}", crashed.name, lines.join("\n"));
    }

    /// Where users come in.
    pub(crate) fn address(&self) -> SocketAddr {
        self.router.address()
    }

    pub(crate) fn dynos(&self) -> &Arc<Dynos> {
        &self.dynos
    }

    pub(crate) fn hub(&self) -> &LogHub {
        &self.hub
    }

    /// Counts each dyno's database requests.
    pub(crate) fn database_tally(&self) -> platform::Tally {
        let tally = Arc::clone(&self.tally);
        Arc::new(move |dyno: &DynoName| {
            let count = tally.of(&dyno.to_string());
            DatabaseTally { requests: count.requests, failures: count.failures }
        })
    }

    /// What another terminal may do with it, where the app keeps its releases.
    pub(crate) fn controlled(&self) -> Option<platform::control::Staging> {
        Some(platform::control::Staging {
            platform: Arc::clone(self.platform.as_ref()?),
            tally: Some(self.database_tally()),
            maintenance: Some(self.router.maintenance()),
            info: serde_json::json!({
                "router": self.address().to_string(),
                "dynos": self.apart,
            }),
        })
    }

    /// How its dynos are kept apart, for people.
    pub(crate) fn apart(&self) -> &str {
        &self.apart
    }

    /// Whether its dynos have no more than their size says.
    pub(crate) fn has_limits(&self) -> bool {
        self.has_limits
    }

    /// The names of the app's config vars.
    pub(crate) fn config_names(&self) -> Vec<String> {
        let Some(platform) = &self.platform else { return Vec::new() };
        let vars = platform.releases.config_vars();
        vars.iter().map(|(name, _)| name.to_owned()).collect()
    }

    /// How far PostgreSQL is from the proxy, measured.
    pub(crate) async fn round_trip(&self, database: &Database) -> anyhow::Result<Duration> {
        database.round_trip(self.distance.as_ref().map(Distance::folder)).await
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Writes a mark into the recording.
    pub(crate) fn mark(&self, text: &str) {
        self.sink.record(Event::Marked { at: self.clock.now(), text: text.into() });
    }

    /// Ends the run in order and closes its recording.
    pub(crate) async fn stop(self) -> anyhow::Result<PathBuf> {
        // Plans are asked for while the statements are still known to the server.
        self.observer.capture_plans(10).await;
        self.router.shutdown(ROUTER_GRACE).await;
        match &self.platform {
            Some(platform) => platform.shutdown().await,
            None => self.dynos.shutdown().await,
        }
        // The dynos, who could still ask it for a listener, have ended.
        if let Some(proxy) = Arc::into_inner(self.proxy) {
            proxy.shutdown(PROXY_GRACE).await;
        }
        self.observer.shutdown().await;
        self.names.announce(&*self.sink);
        drop(self.sink);
        self.recorder.finish()?;
        Ok(self.recording)
    }
}

/// Makes the app's folder as it is now, with the config vars of the plan, the release that is live.
async fn release(
    database: &Database,
    plan: &Plan,
    dynos: &Arc<Dynos>,
    hub: &LogHub,
    clock: Clock,
) -> anyhow::Result<Arc<Platform>> {
    let app = App {
        dir: plan.app_dir.clone(),
        user: platform::release::local_user(),
        attached: ConfigVars::default().with("DATABASE_URL", &database.direct_url()),
    };
    let timing = OneOffTiming::default();
    let platform = Platform::open(
        app,
        Arc::clone(dynos),
        hub.clone(),
        clock,
        timing,
        DrainOptions::default(),
    )?;
    let set = |(name, value): &(String, String)| (name.clone(), Some(value.clone()));
    let changes = plan.config_vars.iter().map(set).collect();
    if let Err(error) = platform.releases.start(changes).await {
        let lines = platform::LogFilter::default().dyno("release").last(20);
        let lines: Vec<String> = hub.history(&lines).iter().map(ToString::to_string).collect();
        let said = if lines.is_empty() { String::new() } else { format!("\n{}", lines.join("\n")) };
        anyhow::bail!("{error}{said}");
    }
    Ok(Arc::new(platform))
}

fn start_proxy(
    upstream: proxy::Upstream,
    database: &Database,
    plan: &Plan,
    clock: Clock,
    names: &Arc<DynoNames>,
    sink: &Arc<dyn Sink>,
) -> anyhow::Result<Arc<Proxy>> {
    let mut config = proxy::Config::new(plan.mode, upstream);
    config.limit = Some(plan.limit.unwrap_or_else(|| database.limit()));
    Ok(Arc::new(Proxy::start(config, Arc::clone(names), clock, Arc::clone(sink))?))
}

/// The environment of each dyno: an address of the proxy of its own, and this very program in
/// `PATH`, so that a Procfile may say `surgetank storefront web`.
fn dyno_options(
    database: &Database,
    plan: &Plan,
    proxy: &Arc<Proxy>,
    settled: Settled,
) -> anyhow::Result<DynoOptions> {
    let same_for_all = settled.database();
    let addresses = Addresses { proxy: Arc::downgrade(proxy), known: Mutex::default() };
    let url = database.app_url();
    let notes = database.run_folder();
    let path = path_with_this_program(notes.path())?;
    let children = Arc::clone(&notes);
    Ok(DynoOptions {
        config_vars: plan.config_vars.clone(),
        env_for: Arc::new(move |dyno: &DynoName| {
            let mut env = vec![
                ("PATH".to_owned(), path.clone()),
                (RunFolder::VARIABLE.to_owned(), notes.path().display().to_string()),
            ];
            match same_for_all.map_or_else(|| addresses.of(dyno), Ok) {
                Ok(address) => env.push(("DATABASE_URL".to_owned(), url.through(address))),
                Err(error) => tracing::error!(%dyno, %error, "no listener for its database"),
            }
            env
        }),
        child_pid: Arc::new(move |_, change| {
            if let ChildChange::Started(pid) = change
                && let Ok(pid) = u32::try_from(pid)
                && let Err(error) = children.note_child(pid)
            {
                tracing::warn!(pid, %error, "process not noted for clean-up");
            }
        }),
        isolation: settled.isolation,
        timing: Timing { drain: DRAIN, ..Timing::default() },
        ..DynoOptions::new(plan.app_dir.clone())
    })
}

/// One listener of the proxy per dyno: whoever connects there is that dyno.
struct Addresses {
    proxy: Weak<Proxy>,
    known: Mutex<HashMap<DynoName, SocketAddr>>,
}

impl Addresses {
    fn of(&self, dyno: &DynoName) -> anyhow::Result<SocketAddr> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = known.get(dyno) {
            return Ok(*address);
        }
        let index = u16::try_from(known.len() + 1).unwrap_or(0);
        let any_port = SocketAddr::new(loopback_for(index), 0);
        let proxy = self.proxy.upgrade().context("the proxy has ended")?;
        let address = proxy.listen(any_port, Some(&dyno.to_string()))?;
        known.insert(dyno.clone(), address);
        Ok(address)
    }
}

/// A `PATH` that begins with this very program under its own name, wherever it lies and whatever
/// its file is called.
pub(crate) fn path_with_this_program(folder: &Path) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("the path of this program")?;
    let own = folder.join("bin");
    std::fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
    let link = own.join("surgetank");
    match std::os::unix::fs::symlink(&program, &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| link.display().to_string());
        }
        Ok(()) | Err(_) => {}
    }
    let inherited = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    Ok(format!("{}:{inherited}", own.display()))
}

/// Any free port of the loopback address.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
