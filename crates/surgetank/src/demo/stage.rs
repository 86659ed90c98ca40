//! What the story is played on: one PostgreSQL with the shop's half a million orders.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use load::{Http, HttpClass, Model, Range, Reach, RunResult, Schedule, Snapshot, Target};
use platform::DynoName;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::scene::{Restart, Scene, Take};
use super::{Options, Timing};
use crate::progress::Progress;
use crate::staging::{self, ANY_PORT, Database, Staging};

/// The size of a small hosted database, of which three slots are reserved for superusers.
const MAX_CONNECTIONS: u32 = 20;
/// Customers give up after this.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the shop's capacity is measured, each time.
const MEASURE: Duration = Duration::from_secs(2);
/// How often: another program's work may spoil one measurement, so the best one counts.
const MEASUREMENTS: u64 = 2;
/// The command of act 2; `$PORT` is the dyno's own.
const COMMAND: &str = "curl -s -o /dev/null -w '%{http_code}' localhost:$PORT/checkout";
/// The same where there is no curl.
const COMMAND_WITHOUT_CURL: &str = "surgetank http-status localhost:$PORT/checkout";
/// Most times the command is tried in act 2.
const TRIES: u32 = 12;

/// The stage.
pub(crate) struct Stage {
    database: Database,
    app_dir: tempfile::TempDir,
    config_vars: Vec<(String, String)>,
    recordings: PathBuf,
    timing: Timing,
    customers: Model,
    rate: f64,
    progress: Progress,
}

impl Stage {
    /// Starts PostgreSQL, fills the shop, and measures what it can serve on this machine.
    pub(crate) async fn set_up(options: &Options, progress: &Progress) -> anyhow::Result<Self> {
        let settings = [("max_connections".to_owned(), MAX_CONNECTIONS.to_string())];
        let database = Database::find_and_start(&options.postgres, &settings, progress).await?;
        progress.now("filling the shop: 20,000 customers, half a million orders");
        set_up_shop(&database).await.context("setting up the shop")?;
        let app_dir = tempfile::Builder::new()
            .prefix("app-")
            .tempdir_in(database.run_folder().path())
            .context("the shop's folder")?;
        std::fs::write(app_dir.path().join("Procfile"), storefront::PROCFILE)?;
        let jobs = ["report", "restock"];
        let jobs: Vec<&str> =
            jobs.into_iter().filter(|job| !options.without.iter().any(|w| w == job)).collect();
        let mut stage = Self {
            database,
            app_dir,
            config_vars: vec![
                ("WORKER_JOBS".to_owned(), jobs.join(",")),
                ("REPORT_EVERY_SECONDS".to_owned(), "5".to_owned()),
            ],
            recordings: options.recordings.clone(),
            timing: Timing::within(options.seconds),
            customers: customers(),
            rate: 0.0,
            progress: progress.clone(),
        };
        progress.now("measuring what the shop can serve on this machine");
        // The hour in which as many customers come as can just be served: while a dyno is away,
        // more than can be. Even more no pool could help, for nobody could serve them.
        stage.rate = stage.capacity(options.seed).await?;
        Ok(stage)
    }

    /// Requests per second the shop answers when it is never left idle: a closed loop of two
    /// customers per core.
    async fn capacity(&self, seed: u64) -> anyhow::Result<f64> {
        let plan = self.plan("capacity", proxy::Mode::Observe, seed);
        let staging = Staging::start(&self.database, plan).await?;
        let target = target(&staging)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut best: f64 = 0.0;
        for round in 0..MEASUREMENTS {
            let seed = seed.wrapping_add(round);
            let served = load::closed(&self.customers, &target, 2 * cores, MEASURE, seed).await?;
            best = best.max(served);
        }
        let recording = staging.stop().await?;
        // Nobody looks at it: what it says is the one number.
        std::fs::remove_dir_all(recording).ok();
        anyhow::ensure!(best > 0.0, "the shop answers no request at all");
        Ok(best)
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// What customers of the shop do.
    pub(crate) fn customers(&self) -> &Model {
        &self.customers
    }

    /// Requests per second at the shop's busy hour.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// `15.18`.
    pub(crate) fn postgres(&self) -> &str {
        self.database.version()
    }

    /// Builds an index, and says by which names it can be dropped again.
    pub(crate) async fn build_index(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        let client = self.database.admin().await?;
        let before = indexes(&client).await?;
        client.batch_execute(sql).await.with_context(|| sql.to_owned())?;
        let after = indexes(&client).await?;
        Ok(after.difference(&before).cloned().collect())
    }

    /// Drops indexes.
    pub(crate) async fn drop_indexes(&self, names: &[String]) -> anyhow::Result<()> {
        let client = self.database.admin().await?;
        for name in names {
            client.batch_execute(&format!("DROP INDEX {name}")).await?;
        }
        Ok(())
    }

    /// Plays a scene from the start of the shop to its end.
    pub(crate) async fn play(&self, scene: &Scene<'_>) -> anyhow::Result<Take> {
        let plan = self.plan(&scene.name, scene.mode, scene.seed);
        let staging = Staging::start(&self.database, plan).await?;
        staging.mark(&format!("{}: load begins", scene.name));
        let start = Instant::now();
        let (load, (), compare) = tokio::join!(
            self.send(scene, &staging),
            restart_on_time(scene, &staging, start, self.timing.away),
            compare_on_time(scene, &staging, start),
        );
        let recording = staging.stop().await?;
        Ok(Take::new(scene, load?, compare?, recording))
    }

    fn plan(&self, name: &str, mode: proxy::Mode, seed: u64) -> staging::Plan {
        staging::Plan {
            app_dir: self.app_dir.path().to_owned(),
            formation: "web=2,worker=1".to_owned(),
            config_vars: self.config_vars.clone(),
            apart: staging::Apart::processes(),
            keeps_releases: false,
            mode,
            limit: None,
            router: ANY_PORT,
            recording: self.recordings.join(name),
            seed,
            round_trip: None,
        }
    }

    async fn send(&self, scene: &Scene<'_>, staging: &Staging) -> anyhow::Result<RunResult> {
        let schedule = Schedule::new(scene.ramp.clone(), scene.seed);
        let (snapshots, watched) = watch::channel(Snapshot::default());
        let mut options = load::Options::new(staging.clock());
        options.progress = Some(snapshots);
        let cancel = CancellationToken::new();
        let target = target(staging)?;
        let run = load::run(&schedule, scene.model, &target, &options, &cancel);
        tokio::select! {
            result = run => Ok(result?),
            never = self.tell_progress(scene, watched) => match never {},
        }
    }

    /// Keeps the moving line up to date until it is dropped.
    async fn tell_progress(
        &self,
        scene: &Scene<'_>,
        mut watched: watch::Receiver<Snapshot>,
    ) -> std::convert::Infallible {
        while watched.changed().await.is_ok() {
            let now = watched.borrow_and_update().clone();
            let left = now.span.saturating_sub(now.elapsed).as_secs();
            self.progress.now(&format!(
                "{}: {:.0}/s, {} answered, {} failed, p99 {:.0} ms, {left} s left",
                scene.name,
                now.rate,
                now.completed,
                now.failed,
                now.p99.as_millis_f64()
            ));
        }
        std::future::pending().await
    }

    /// Stops PostgreSQL and removes all but the recordings.
    pub(crate) async fn take_down(self) {
        drop(self.app_dir);
        self.database.stop().await;
    }
}

/// All indexes of the app's own schemas, quoted.
async fn indexes(client: &tokio_postgres::Client) -> anyhow::Result<BTreeSet<String>> {
    let sql = "SELECT format('%I.%I', schemaname, indexname) FROM pg_indexes \
               WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let rows = client.query(sql, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// What customers of the shop do: mostly buy, sometimes look.
fn customers() -> Model {
    let products = [Range { from: 1, to: 2_000 }];
    let buyers = [Range { from: 1, to: 20_000 }];
    let classes = vec![
        HttpClass::numbered("GET", "/checkout?customer={}", 0.8, &buyers),
        HttpClass::numbered("GET", "/product/{}", 0.1, &products),
        HttpClass::fixed("GET", "/popular", 0.1),
    ];
    Model::of_http(1.0, classes)
}

fn target(staging: &Staging) -> anyhow::Result<Target> {
    Ok(Target::Http(Http::at(staging.address(), PATIENCE, Reach::Loopback)?))
}

/// Makes the shop's tables, as its owner and straight at the server.
async fn set_up_shop(database: &Database) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut setup = tokio::process::Command::new(program);
    setup.args(["storefront", "setup"]).env("DATABASE_URL", database.direct_url());
    let output = setup.kill_on_drop(true).output().await?;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {told}", output.status);
    Ok(())
}

/// Restarts dynos when the scene says so.
async fn restart_on_time(scene: &Scene<'_>, staging: &Staging, start: Instant, away: Duration) {
    for restart in &scene.restarts {
        sleep_until(start + restart.at).await;
        staging.mark(&format!("{} stops", restart.dyno));
        if let Err(error) = restart_away(staging, restart, away).await {
            tracing::warn!(dyno = %restart.dyno, %error, "not restarted");
        }
    }
}

async fn restart_away(
    staging: &Staging,
    restart: &Restart,
    away: Duration,
) -> platform::Result<()> {
    let back = Instant::now() + away;
    staging.dynos().stop(&restart.dyno).await?;
    sleep_until(back).await;
    staging.dynos().restart(&restart.dyno).await
}

/// Runs the command on both web dynos, side by side, until it differs or the tries are used up.
async fn compare_on_time(
    scene: &Scene<'_>,
    staging: &Staging,
    start: Instant,
) -> anyhow::Result<Option<report::RunCompare>> {
    let Some(at) = scene.compare else { return Ok(None) };
    sleep_until(start + at).await;
    let command = if has_curl() { COMMAND } else { COMMAND_WITHOUT_CURL };
    let dynos = [DynoName::new("web", 1), DynoName::new("web", 2)];
    let compare = super::compare::Comparison::new(staging, &dynos, command);
    let left = (start + scene.ramp.span()).saturating_duration_since(Instant::now());
    let tried = timeout(left, compare.until_different(TRIES)).await;
    Ok(Some(tried.context("the command took longer than the incident")??))
}

fn has_curl() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("curl").is_file())
}
