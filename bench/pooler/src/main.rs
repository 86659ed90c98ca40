//! What a pooler costs, beside its peer, in one run.
//!
//! Starts one PostgreSQL, Debian's PgBouncer (if it is installed) and `surgetank proxy` with the
//! recording on, and lets pgbench talk to each in turn, interleaved, so that a noisy machine is
//! equally unkind to all. Prints for each number of clients and each query mode, with the ratio to
//! PgBouncer: CPU microseconds per transaction (user + system of the pooler's process, from /proc;
//! median, least and most), transactions a second, latencies (p50 and p99 of pgbench's log), system
//! calls per transaction (strace, in a run of its own), and the memory of an idle client.
//! Loopback only; bounded in time. From 1,000 clients on half of them are idle.
//!
//! Nobody proves who he is here (trust, and the server's Unix socket behind the poolers): a
//! hundred SCRAM logins a run would be measured as if they were transactions. Each pooler gets one
//! run that does not count, so that its server connections are open.
//!
//! ```text
//! cargo build --release --workspace && target/release/bench-pooler --seconds 4 --rounds 5
//! ```
//! `--instructions` counts instructions and system calls of Surgetank alone instead, which do not
//! depend on what else the machine does, so that two builds can be compared: see `instructions`;
//! results are kept in docs/lab.
//!
//! PgBouncer before 1.21 cannot pool named prepared statements by transaction: with `-M prepared`
//! such a version runs in session mode, where it only passes bytes on, and the table says so.

mod callgrind;
mod idle;
mod instructions;
mod latency;
mod poolers;
mod syscalls;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use bench_kit::cpu::CpuTime;
use bench_kit::poolers::Pooler;
use bench_kit::{median, say};
use clap::Parser;
use platform::postgres::{Binaries, Cluster, ClusterOptions, Search};

use crate::idle::Idle;
use crate::latency::Latency;
use crate::poolers::Setup;
use crate::syscalls::Counting;
use crate::workload::Workload;

/// Measure CPU per transaction of Surgetank beside PgBouncer.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of one pgbench run
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Runs of each pooler at each point, interleaved
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Numbers of clients [default: 1,16,100,1000; with --instructions 1,16]
    #[arg(long, value_delimiter = ',')]
    clients: Vec<u32>,
    /// pgbench's query modes
    #[arg(long, value_delimiter = ',', default_value = "prepared,simple")]
    #[arg(value_parser = ["simple", "extended", "prepared"])]
    mode: Vec<String>,
    /// Idle clients whose memory is measured; 0 for none. Memory comes in pieces of 2 MiB (huge
    /// pages): of few clients it is not told well
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=20_000))]
    idle: u32,
    /// The surgetank program; beside this one if not given
    #[arg(long)]
    surgetank: Option<PathBuf>,
    /// Count instructions (valgrind) and system calls (strace) per transaction of `surgetank proxy`
    /// alone, with one worker and a fixed limit
    #[arg(long)]
    instructions: bool,
    /// With --instructions: another surgetank program, measured in turn with the first
    #[arg(long, requires = "instructions")]
    against: Option<PathBuf>,
    /// With --instructions: what the clients do
    #[arg(long, value_delimiter = ',', default_value = "select,insert,transaction")]
    workload: Vec<Workload>,
    /// Folder with PostgreSQL's programs
    #[arg(long, env = "SURGETANK_PG_BIN")]
    pg_bin: Option<PathBuf>,
}

impl Args {
    /// The numbers of clients; these if none are given.
    fn clients_or(&self, default: &[u32]) -> Vec<u32> {
        if self.clients.is_empty() { default.to_vec() } else { self.clients.clone() }
    }
}

/// One pgbench run through one pooler.
struct Sample {
    cpu_us_per_transaction: f64,
    transactions_per_second: f64,
    latency: Latency,
}

/// Transactions of each client in a run whose system calls are counted.
const COUNTED: u32 = 2_000;

/// From so many clients on half of them are idle.
const CROWD: u32 = 1_000;

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
    say(&format!("PostgreSQL {}", binaries.version()))?;
    if args.instructions {
        let programs: Vec<PathBuf> = [surgetank].into_iter().chain(args.against.clone()).collect();
        instructions::measure(args, &cluster, &programs)?;
    } else {
        compare(args, &cluster, &surgetank)?;
    }
    cluster.stop().await;
    Ok(())
}

/// All poolers in all query modes.
fn compare(args: &Args, cluster: &Cluster, surgetank: &Path) -> anyhow::Result<()> {
    let (seconds, rounds) = (args.seconds, args.rounds);
    say(&format!("pgbench -S, {seconds} s a run, {rounds} rounds interleaved"))?;
    let pgbench = cluster.bin("pgbench");
    for mode in &args.mode {
        let setup = Setup { cluster, mode, surgetank };
        let poolers = setup.start_all()?;
        let bench = Bench { args, mode, pgbench: &pgbench, poolers: &poolers };
        say(&format!(
            "\n-M {mode}\n\
             clients  pooler                         CPU µs/tx  (min … max)   CPU ratio\
             \x20      tps   p50 ms   p99 ms  calls/tx  ratio"
        ))?;
        // First, as long as nothing that was freed is there to be taken again.
        if args.idle > 0 {
            bench.memory()?;
        }
        for clients in args.clients_or(&[1, 16, 100, 1000]) {
            bench.measure(clients)?;
        }
    }
    Ok(())
}

/// The poolers in one query mode.
struct Bench<'a> {
    args: &'a Args,
    mode: &'a str,
    pgbench: &'a Path,
    poolers: &'a [Pooler],
}

impl Bench<'_> {
    /// All poolers at one number of clients, interleaved; the first is the base of the ratios.
    fn measure(&self, clients: u32) -> anyhow::Result<()> {
        let poolers: Vec<&Pooler> =
            self.poolers.iter().filter(|pooler| clients <= pooler.clients_max).collect();
        for pooler in &poolers {
            self.sample(clients, pooler)?;
        }
        let mut samples: Vec<Vec<Sample>> = poolers.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.args.rounds {
            for (pooler, samples) in poolers.iter().zip(&mut samples) {
                samples.push(self.sample(clients, pooler)?);
            }
        }
        let (mut cpu_base, mut calls_base) = (None, None);
        for (pooler, samples) in poolers.iter().zip(&samples) {
            let all = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
            let mut cpu = all(|sample| sample.cpu_us_per_transaction);
            let cpu_median = median(&mut cpu);
            let calls = self.calls(clients, pooler)?;
            let cpu_base = *cpu_base.get_or_insert(cpu_median);
            let calls_base = *calls_base.get_or_insert(calls);
            say(&format!(
                "{clients:>7}  {:<30} {cpu_median:>9.1}  ({:.1} … {:.1})  {:>8.2}×  {:>9.0} \
                 {:>8.2} {:>8.2}  {:>8}  {:>5}",
                pooler.name,
                cpu[0],
                cpu[cpu.len() - 1],
                cpu_median / cpu_base,
                median(&mut all(|sample| sample.transactions_per_second)),
                median(&mut all(|sample| sample.latency.p50)),
                median(&mut all(|sample| sample.latency.p99)),
                calls.map_or("–".to_owned(), |calls| format!("{calls:.1}")),
                calls
                    .zip(calls_base)
                    .map_or("–".to_owned(), |(calls, base)| format!("{:.2}×", calls / base)),
            ))?;
        }
        for pooler in self.poolers.iter().filter(|pooler| clients > pooler.clients_max) {
            let name = &pooler.name;
            say(&format!("{clients:>7}  {name:<30} has a server connection for each client"))?;
        }
        Ok(())
    }

    fn sample(&self, clients: u32, pooler: &Pooler) -> anyhow::Result<Sample> {
        let folder = tempfile::tempdir()?;
        let before = CpuTime::of(pooler.pid)?;
        let output = self.pgbench(clients, pooler, |command| {
            let prefix = format!("--log-prefix={}", folder.path().join("log").display());
            command.args(["-T", &self.args.seconds.to_string(), "--log", &prefix]);
        })?;
        let cpu = CpuTime::of(pooler.pid)?.since(before)?;
        let transactions = number_after(&output, "number of transactions actually processed: ")?;
        if transactions < 1.0 {
            bail!("pgbench through {} made no transaction:\n{output}", pooler.name);
        }
        Ok(Sample {
            cpu_us_per_transaction: cpu.as_secs_f64() * 1e6 / transactions,
            transactions_per_second: number_after(&output, "tps = ")?,
            latency: latency::read(folder.path())?,
        })
    }

    /// System calls per transaction, logins not counted, where strace is there.
    fn calls(&self, clients: u32, pooler: &Pooler) -> anyhow::Result<Option<f64>> {
        if !syscalls::can_count() {
            return Ok(None);
        }
        let each = (COUNTED / active(clients)).max(20);
        let run = |each: u32| {
            let counting = Counting::start(pooler.pid)?;
            self.pgbench(clients, pooler, |command| {
                command.args(["-t", &each.to_string()]);
            })?;
            anyhow::Ok(counting.finish()?.values().sum::<f64>())
        };
        // Two runs that differ only in transactions.
        let (short, long) = (run(each)?, run(3 * each)?);
        Ok(Some((long - short) / f64::from(2 * each * active(clients))))
    }

    fn pgbench(
        &self,
        clients: u32,
        pooler: &Pooler,
        more: impl FnOnce(&mut Command),
    ) -> anyhow::Result<String> {
        let active = active(clients);
        let _idle = Idle::connect(pooler, clients - active)?;
        let mut command = Command::new(self.pgbench);
        command.args(["-n", "-S", "-M", self.mode, "-c", &active.to_string()]);
        more(&mut command);
        command.arg(&pooler.url);
        run(&mut command).with_context(|| format!("pgbench through {}", pooler.name))
    }

    fn memory(&self) -> anyhow::Result<()> {
        let count = self.args.idle;
        for pooler in self.poolers.iter().filter(|pooler| count <= pooler.clients_max) {
            let bytes = idle::memory_per_client(pooler, count)?;
            say(&format!("{count:>7}  {:<30} {bytes:>9.0} bytes per idle client", pooler.name))?;
        }
        Ok(())
    }
}

/// How many of so many clients send transactions.
fn active(clients: u32) -> u32 {
    if clients >= CROWD { clients / 2 } else { clients }
}

fn number_after(output: &str, label: &str) -> anyhow::Result<f64> {
    let rest = output.split(label).nth(1).with_context(|| format!("no `{label}` in:\n{output}"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    Ok(rest[..end].parse()?)
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{}: {stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(stdout)
}
