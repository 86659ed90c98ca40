//! CPU per transaction of a pooler, beside its peer, in one run.
//!
//! Starts one PostgreSQL, Debian's PgBouncer (if it is installed) and `surgetank proxy` with the
//! recording on, and lets pgbench talk to each in turn, interleaved, so that a noisy machine is
//! equally unkind to all. Prints CPU microseconds per transaction (user + system of the pooler's
//! process, from /proc), and the ratio of the medians. Loopback only; bounded in time.
//!
//! Nobody proves who he is here (trust, and the server's Unix socket behind the poolers): a
//! hundred SCRAM logins a run would be measured as if they were transactions. Each pooler gets one
//! run that does not count, so that its server connections are open.
//!
//! ```text
//! cargo build --release && cargo run --release -p bench-pooler -- --seconds 4 --rounds 5
//! ```
//! PgBouncer before 1.21 cannot pool named prepared statements by transaction: with `-M prepared`
//! such a version runs in session mode, where it only passes bytes on, and the table says so.

mod cpu;
mod poolers;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::Parser;
use platform::postgres::{Binaries, Cluster, ClusterOptions, Search};

use crate::cpu::CpuTime;
use crate::poolers::{Pooler, Setup};

/// Measure CPU per transaction of Surgetank beside PgBouncer.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of one pgbench run
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Runs of each pooler at each point, interleaved
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_value = "1,16,100")]
    clients: Vec<u32>,
    /// pgbench's query mode
    #[arg(long, default_value = "prepared", value_parser = ["simple", "extended", "prepared"])]
    mode: String,
    /// The surgetank program; beside this one if not given
    #[arg(long)]
    surgetank: Option<PathBuf>,
    /// Folder with PostgreSQL's programs
    #[arg(long, env = "SURGETANK_PG_BIN")]
    pg_bin: Option<PathBuf>,
}

/// One pgbench run through one pooler.
struct Sample {
    cpu_us_per_transaction: f64,
    transactions_per_second: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(bench(&args))
}

async fn bench(args: &Args) -> anyhow::Result<()> {
    let binaries = Binaries::discover(&Search::this_machine(args.pg_bin.clone()))?;
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = ClusterOptions {
        settings: vec![setting("max_connections", "400"), setting("shared_buffers", "256MB")],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(&binaries, options).await?;
    let pgbench = cluster.bin("pgbench");
    let url = cluster.superuser_url("postgres");
    run(Command::new(&pgbench).args(["-i", "-q", "-s", "10", &url])).context("pgbench -i")?;

    let surgetank = match &args.surgetank {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("surgetank"),
    };
    let setup = Setup { cluster: &cluster, mode: &args.mode, surgetank: &surgetank };
    let poolers = setup.start_all()?;
    say(&format!(
        "{}, pgbench -S -M {}, {} s a run, {} rounds interleaved",
        binaries.version(),
        args.mode,
        args.seconds,
        args.rounds
    ))?;
    say("clients  pooler                         CPU µs/tx  (min … max)      tps  CPU ratio")?;
    for clients in &args.clients {
        measure(args, &pgbench, *clients, &poolers)?;
    }
    drop(poolers);
    cluster.stop().await;
    Ok(())
}

/// All poolers at one number of clients, interleaved; the first is the base of the ratio.
fn measure(
    args: &Args,
    pgbench: &std::path::Path,
    clients: u32,
    poolers: &[Pooler],
) -> anyhow::Result<()> {
    for pooler in poolers {
        sample(args, pgbench, clients, pooler)?;
    }
    let mut samples: Vec<Vec<Sample>> = poolers.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.rounds {
        for (pooler, samples) in poolers.iter().zip(&mut samples) {
            samples.push(sample(args, pgbench, clients, pooler)?);
        }
    }
    let mut base = None;
    for (pooler, samples) in poolers.iter().zip(&samples) {
        let mut cpu: Vec<f64> = samples.iter().map(|s| s.cpu_us_per_transaction).collect();
        let mut tps: Vec<f64> = samples.iter().map(|s| s.transactions_per_second).collect();
        let (cpu_median, tps_median) = (median(&mut cpu), median(&mut tps));
        let base = *base.get_or_insert(cpu_median);
        say(&format!(
            "{clients:>7}  {:<30} {cpu_median:>9.1}  ({:.1} … {:.1})  {tps_median:>9.0}  {:>8.2}×",
            pooler.name,
            cpu[0],
            cpu[cpu.len() - 1],
            cpu_median / base
        ))?;
    }
    Ok(())
}

fn sample(
    args: &Args,
    pgbench: &std::path::Path,
    clients: u32,
    pooler: &Pooler,
) -> anyhow::Result<Sample> {
    let before = CpuTime::of(pooler.pid)?;
    let clients = clients.to_string();
    let seconds = args.seconds.to_string();
    let output = run(Command::new(pgbench)
        .args(["-n", "-S", "-M", &args.mode, "-c", &clients, "-T", &seconds])
        .arg(&pooler.url))
    .with_context(|| format!("pgbench through {}", pooler.name))?;
    let cpu = CpuTime::of(pooler.pid)?.since(before)?;
    let transactions = number_after(&output, "number of transactions actually processed: ")?;
    let tps = number_after(&output, "tps = ")?;
    if transactions < 1.0 {
        bail!("pgbench through {} made no transaction:\n{output}", pooler.name);
    }
    Ok(Sample {
        cpu_us_per_transaction: cpu.as_secs_f64() * 1e6 / transactions,
        transactions_per_second: tps,
    })
}

fn number_after(output: &str, label: &str) -> anyhow::Result<f64> {
    let rest = output.split(label).nth(1).with_context(|| format!("no `{label}` in:\n{output}"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    Ok(rest[..end].parse()?)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{}: {stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(stdout)
}

pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
