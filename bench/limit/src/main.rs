//! What the adaptive limit does on a real PostgreSQL: the experiments G1 to G8.
//!
//! Starts one PostgreSQL on core 0, and on core 1 `surgetank proxy` and the load: 200 clients in
//! eight dynos. The adaptive arm has nothing configured; static arms are the same proxy with
//! `--static --limit N`, so that what differs is the law alone. Arms take turns in an order left to
//! chance (in G1 every few seconds, in pairs); medians are given with the 95 % interval of a
//! bootstrap over rounds, or pairs. Loopback only, bounded in time, nothing is left behind.
//!
//! ```text
//! cargo build --release --workspace && target/release/bench-limit --only G1,G2
//! ```
//! Results go to stdout, progress to stderr. Ends with 0 if all goals that were tried are met, with
//! 1 if one is missed, with 2 if it was called wrongly.

mod adapt;
mod bench;
mod board;
mod client;
mod cost;
mod crowd;
mod fairness;
mod goals;
mod ground;
mod idle;
mod machine;
mod overload;
mod phases;
mod reports;
mod several;
mod soak;
mod stand;
mod statistics;
mod steady;
mod surge;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bench_kit::{say, talk};
use clap::Parser;
use tokio::task::LocalSet;

use crate::bench::{Bench, Plan};
use crate::ground::{Disk, Ground};

/// Measure the adaptive limit beside static sizes on a PostgreSQL of its own.
#[derive(Debug, Parser)]
struct Args {
    /// Which experiments
    #[arg(long, value_delimiter = ',', ignore_case = true)]
    only: Vec<Experiment>,
    /// G1: which of its loads by number: W1 to W6, W8 (beside reports), W9 (bursts)
    #[arg(long, value_delimiter = ',')]
    loads: Vec<usize>,
    /// Seconds of one block
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
    /// Blocks of each arm
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    /// More static sizes, more switches
    #[arg(long)]
    thorough: bool,
    /// Instead of the experiments: phases drawn from the seed for so many seconds (30m, 2h)
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "only")]
    soak: Option<Duration>,
    /// G2: draw limit and throughput over time into this file
    #[arg(long, value_name = "FILE.svg")]
    report: Option<PathBuf>,
    /// What the server's commits wait for
    #[arg(long, value_enum, default_value_t = Disk::Own)]
    disk: Disk,
    /// Tell on stderr what SHOW LIMIT says, ten times a second
    #[arg(long)]
    trace: bool,
    /// Of the order of arms, the loads and the bootstrap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The surgetank program; beside this one if not given
    #[arg(long)]
    surgetank: Option<PathBuf>,
    /// Folder with PostgreSQL's programs
    #[arg(long, env = "SURGETANK_PG_BIN")]
    pg_bin: Option<PathBuf>,
}

/// The experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Experiment {
    /// A load that stays as it is, eight of them
    G1,
    /// A load whose best limit moves
    G2,
    /// How long it takes to follow
    G3,
    /// Clients that idle in their transactions
    G4,
    /// Reports beside short reads
    G5,
    /// Three times what the server can do
    G6,
    /// One dyno that takes all it can get
    G7,
    /// Three proxies before one server
    G8,
    /// What admission costs
    Cost,
}

/// Seconds, or a number of minutes or hours.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.chars().last()),
        None => (text, None),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text} is no time: 90, 90s, 30m, 2h"))?;
    let seconds = match unit {
        Some('h') => number.checked_mul(3600),
        Some('m') => number.checked_mul(60),
        _ => Some(number),
    };
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text} is too long"))
}

/// What ended with an error, after sysexits.
const FAILED: u8 = 70;

fn main() -> ExitCode {
    let args = Args::parse();
    match start(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            talk(&format!("bench-limit: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

fn start(args: &Args) -> anyhow::Result<bool> {
    let pinned = machine::stay_on_own_core()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        tokio::select! {
            good = measure(args, pinned) => good,
            // Dropping what is under way ends the proxies and the server.
            () = interrupted() => anyhow::bail!("interrupted"),
        }
    }))
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

async fn measure(args: &Args, pinned: bool) -> anyhow::Result<bool> {
    let (surgetank, pg_bin) = (args.surgetank.clone(), args.pg_bin.clone());
    let ground = Ground::prepare(surgetank, pg_bin, pinned, args.disk).await?;
    let cores = if pinned {
        "server on core 0, proxy and load on core 1"
    } else {
        "ONE CORE ONLY: server, proxy and load share it"
    };
    say(&format!("{}, {cores}, load average {}", ground.version, machine::load()))?;
    let plan = Plan {
        block: Duration::from_secs(args.seconds),
        rounds: usize::try_from(args.rounds)?,
        thorough: args.thorough,
        tells: args.trace,
        seed: args.seed,
    };
    let bench = Bench::new(ground, plan);
    match args.soak {
        Some(length) => soak::run(&bench, length).await?,
        None => experiments(args, &bench).await?,
    }
    say("\nGoals")?;
    for line in bench.goals.lines() {
        say(&line)?;
    }
    let good = bench.goals.is_good();
    bench.ground.leave().await;
    Ok(good)
}

async fn experiments(args: &Args, bench: &Bench) -> anyhow::Result<()> {
    let wanted = |one| args.only.is_empty() || args.only.contains(&one);
    if wanted(Experiment::G1) {
        steady::run(bench, &args.loads).await?;
    }
    if wanted(Experiment::G2) {
        let chart = phases::run(bench).await?;
        if let Some(file) = &args.report {
            std::fs::write(file, chart).with_context(|| file.display().to_string())?;
        }
    }
    if wanted(Experiment::G3) {
        adapt::run(bench).await?;
    }
    if wanted(Experiment::G4) {
        idle::run(bench).await?;
    }
    if wanted(Experiment::G5) {
        reports::run(bench).await?;
    }
    if wanted(Experiment::G6) {
        overload::run(bench).await?;
    }
    if wanted(Experiment::G7) {
        fairness::run(bench).await?;
    }
    if wanted(Experiment::G8) {
        several::run(bench).await?;
    }
    if wanted(Experiment::Cost) {
        cost::run(&bench.goals)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_do() {
        let seconds = |text| time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("30m"), Ok(1800));
        assert_eq!(seconds("2h"), Ok(7200));
        assert!(seconds("soon").is_err() && seconds("m").is_err());
        assert!(seconds("9999999999999999999h").is_err());
    }
}
