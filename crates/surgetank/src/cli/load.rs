//! `surgetank load learn|run|curve`: a workload learnt from a recording, sent open-loop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use load::{
    Curve, Http, Model, Options, Point, Ramp, Reach, RunResult, Schedule, Snapshot, Target,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trace::Clock;

use crate::exit::Exit;
use crate::out;
use crate::progress::Progress;
use crate::shutdown::until_interrupted;

/// A curve's point fails when more than this share of its requests does, at 99 % confidence.
const THRESHOLD: f64 = 0.005;

/// Most connections to a database that is loaded directly.
const CONNECTIONS: usize = 20;

/// Learn a workload from a recording; send it open-loop; find the knee
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Learn a model of the workload in a recording
    Learn {
        /// The recording's folder; the newest one of the app in this folder if not given
        recording: Option<PathBuf>,
        /// The file to write
        #[arg(short, long, value_name = "MODEL")]
        output: PathBuf,
    },
    /// Send the model's requests at a rate, whatever becomes of them
    Run {
        #[command(flatten)]
        target: TargetArgs,
        /// Requests per second, or a multiple of the model's rate: `40`, `2x`
        #[arg(long, default_value = "1x")]
        rate: Rate,
        /// How long, in seconds
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 30)]
        seconds: u64,
        /// Reach the rate in a straight line over so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        ramp: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send at rising rates and find the knee: where failures begin
    Curve {
        #[command(flatten)]
        target: TargetArgs,
        /// The rates, as for `run`
        #[arg(long, value_delimiter = ',', default_value = "0.25x,0.5x,1x,2x")]
        rates: Vec<Rate>,
        /// Seconds at each rate
        #[arg(long = "for", value_name = "SECONDS", default_value_t = 20)]
        seconds: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Where the load goes.
#[derive(Clone, Debug, clap::Args)]
struct TargetArgs {
    /// The model, from `load learn`
    model: PathBuf,
    /// The app to load, `http://127.0.0.1:5000`, or a database, `postgres://…`
    #[arg(long, value_name = "URL")]
    target: String,
    /// Load another machine than this one: only with its owner's consent
    #[arg(long)]
    allow_remote: bool,
    /// Seed: the same seed gives the same arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds after which a request without an answer has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

/// A rate as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    PerSecond(f64),
    TimesModel(f64),
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, times) = match text.strip_suffix('x') {
            Some(number) => (number, true),
            None => (text, false),
        };
        let rate: f64 = number.parse().map_err(|_| format!("`{text}` is no rate: `40` or `2x`"))?;
        if !(rate.is_finite() && rate > 0.0 && rate <= 1e6) {
            return Err(format!("`{text}` is out of bounds: above 0, at most a million"));
        }
        Ok(if times { Self::TimesModel(rate) } else { Self::PerSecond(rate) })
    }
}

impl Rate {
    fn of(self, model: &Model, target: &Target) -> f64 {
        let learnt = match target {
            Target::Http(_) => model.http.as_ref().map_or(0.0, |workload| workload.rate),
            Target::Sql(_) => model.sql.as_ref().map_or(0.0, |workload| workload.rate),
        };
        match self {
            Self::PerSecond(rate) => rate,
            Self::TimesModel(times) => times * learnt,
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::Learn { recording, output } => {
            let (_, recording) = super::record::open(recording.as_deref())?;
            load::learn(&recording)?.save(&output)?;
            out::talk(&format!("wrote {}", output.display()));
            Ok(Exit::Good)
        }
        Verb::Run { target, rate, seconds, ramp, json } => {
            let span = Duration::from_secs(seconds);
            let rise = Duration::from_secs(ramp);
            let shape =
                |rate: f64| Ramp::linear(rate / 20.0, rate, rise).then(Ramp::constant(rate, span));
            let sent = until_interrupted(send(&target, &[rate], shape))?;
            let Some((rate, result)) = sent.first() else { return Ok(Exit::Good) };
            tell_run(*rate, result, json)
        }
        Verb::Curve { target, rates, seconds, json } => {
            let span = Duration::from_secs(seconds);
            let sent = until_interrupted(send(&target, &rates, |r| Ramp::constant(r, span)))?;
            tell_curve(&sent, json)
        }
    }
}

async fn send(
    args: &TargetArgs,
    rates: &[Rate],
    shape: impl Fn(f64) -> Ramp,
) -> anyhow::Result<Vec<(f64, RunResult)>> {
    let model = Model::load(&args.model)?;
    let target = target(args).await?;
    let progress = Progress::new();
    let mut sent = Vec::new();
    for rate in rates {
        let rate = rate.of(&model, &target);
        let schedule = Schedule::new(shape(rate), args.seed);
        let (snapshots, mut watched) = watch::channel(Snapshot::default());
        let options = Options { progress: Some(snapshots), ..Options::new(Clock::start()) };
        let cancel = CancellationToken::new();
        let run = load::run(&schedule, &model, &target, &options, &cancel);
        let tell = async {
            while watched.changed().await.is_ok() {
                progress.now(&line_of(&watched.borrow_and_update()));
            }
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            result = run => result?,
            () = tell => continue,
        };
        sent.push((rate, result));
    }
    Ok(sent)
}

fn line_of(now: &Snapshot) -> String {
    format!(
        "{:.0}/s, {} answered, {} failed, p50 {:.1} ms, p99 {:.1} ms, {} s left",
        now.rate,
        now.completed,
        now.failed,
        now.p50.as_millis_f64(),
        now.p99.as_millis_f64(),
        now.span.saturating_sub(now.elapsed).as_secs()
    )
}

async fn target(args: &TargetArgs) -> anyhow::Result<Target> {
    let reach = if args.allow_remote { Reach::Anywhere } else { Reach::Loopback };
    let patience = Duration::from_secs(args.timeout);
    if args.target.starts_with("postgres") {
        let config = args.target.parse().context("--target")?;
        return Ok(Target::Sql(load::Sql::new(config, CONNECTIONS, patience, reach)?));
    }
    Ok(Target::Http(Http::resolve(&args.target, patience, reach).await?))
}

fn tell_run(rate: f64, result: &RunResult, json: bool) -> anyhow::Result<Exit> {
    let kinds = result.failures_by_kind.iter().map(|(kind, n)| (kind.to_string(), *n));
    if json {
        let kinds: serde_json::Map<String, serde_json::Value> =
            kinds.map(|(kind, n)| (kind, n.into())).collect();
        out::line(&serde_json::to_string_pretty(&serde_json::json!({
            "rate": rate,
            "offered": result.offered,
            "completed": result.completed,
            "failed": result.failed,
            "failures": kinds,
            "p50_ms": result.latency.p50().as_millis_f64(),
            "p99_ms": result.latency.p99().as_millis_f64(),
            "max_ms": result.latency.max().as_millis_f64(),
            "lagging": result.lagging(),
        }))?)?;
    } else {
        out::line(&format!(
            "{} offered at {rate:.1}/s: {} completed, {} failed ({:.2} %)\n\
             latency from the intended start: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            result.offered,
            result.completed,
            result.failed,
            result.failed_share() * 100.0,
            result.latency.p50().as_millis_f64(),
            result.latency.p99().as_millis_f64(),
            result.latency.max().as_millis_f64()
        ))?;
        for (kind, n) in kinds {
            out::line(&format!("{n:>8}  {kind}"))?;
        }
    }
    warn_if_lagging(result);
    Ok(if result.failed == 0 { Exit::Good } else { Exit::BadAnswer })
}

fn tell_curve(sent: &[(f64, RunResult)], json: bool) -> anyhow::Result<Exit> {
    let points = sent.iter().map(|(rate, result)| Point::new(*rate, result)).collect();
    let curve = Curve::new(points);
    let knee = curve.knee(THRESHOLD, 0.99);
    if json {
        let point = |point: &Point| {
            serde_json::json!({
                "rate": point.rate,
                "offered": point.offered,
                "failed": point.failed,
                "failed_share": point.failed_share(),
                "p99_ms": point.p99.as_millis_f64(),
            })
        };
        let points: Vec<_> = curve.points().iter().map(point).collect();
        return out::data(&serde_json::to_string_pretty(&serde_json::json!({
            "points": points,
            "knee": knee.map(|knee| knee.rate),
        }))?);
    }
    for point in curve.points() {
        out::line(&format!(
            "{:>8.1}/s  {:>7} offered  {:>6} failed  {:>6.2} %  p99 {:.1} ms",
            point.rate,
            point.offered,
            point.failed,
            point.failed_share() * 100.0,
            point.p99.as_millis_f64()
        ))?;
    }
    sent.iter().for_each(|(_, result)| warn_if_lagging(result));
    out::data(&match knee {
        Some(knee) => format!("knee at {:.1}/s", knee.rate),
        None => "no knee: nothing fails at these rates".to_owned(),
    })
}

fn warn_if_lagging(result: &RunResult) {
    if result.lagging() {
        out::talk("surgetank: the generator fell behind its schedule; this machine is too busy");
    }
}
