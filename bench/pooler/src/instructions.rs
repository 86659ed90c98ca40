//! Instructions and system calls per transaction of `surgetank proxy`, to compare two builds.
//!
//! CPU time differs by a tenth from run to run on a busy machine; the number of instructions does
//! not. What would make it differ is kept out:
//! * Each number is the difference of two pgbench runs that differ only in their number of
//!   transactions, so that logins do not count; both have the same seed.
//! * Threads are counted apart (`callgrind`), and the instructions that an idle proxy executes in
//!   the same time are subtracted: the rest is what transactions cost.
//! * There is one worker, the limit is fixed, and there are more server connections than clients:
//!   no transaction waits for one.
//! * After a statement that took 250 ms, as on a machine that stalls, the proxy reads statements
//!   twice for a minute: up to 4 % more instructions. Such a sample is taken again. Calls between
//!   two functions of the proxy show it (`callgrind`): if these are renamed or inlined, nothing
//!   shows it, and its number is among the results.
//!
//! What is left with many clients is how many events one `epoll_wait` brings, so that number is
//! given too. It is far larger under valgrind than without, since the server is faster than the
//! proxy then. System calls are therefore counted in a run of their own without valgrind.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use bench_kit::poolers::{Pooler, Site};
use bench_kit::{median, say, talk};
use platform::postgres::Cluster;
use tokio::time::Instant;

use crate::Args;
use crate::callgrind::{Callgrind, Counts, is_worker, thread_name};
use crate::syscalls::{self, Calls, Counting};
use crate::workload::{LONG_FACTOR, Load, Point, points};

/// More server connections than there may be clients (`CLIENTS_MAX`).
const LIMIT: &str = "101";

/// How long a proxy is watched while it has nothing to do.
const IDLE_TIME: Duration = Duration::from_secs(3);

/// A sample with more previews per transaction is taken again.
const PREVIEWS_MAX: f64 = 0.01;

/// For so long at most: the proxy reads statements twice for a minute (`CURIOUS` in the room
/// `proxy`), and another statement may take long meanwhile.
const TRY_TIME_MAX: Duration = Duration::from_secs(180);

/// Measures these programs in turn, the first being the base of the ratio.
pub(crate) fn measure(args: &Args, cluster: &Cluster, programs: &[PathBuf]) -> anyhow::Result<()> {
    let points = points(args)?;
    let load = Load::new(args, cluster)?;
    let rounds = args.rounds;
    say(&format!("surgetank proxy {}, recording, {rounds} rounds", ARGUMENTS.join(" ")))?;
    for (name, path) in NAMES.iter().zip(programs) {
        let version = crate::run(Command::new(path).arg("--version"))?;
        say(&format!("{name}: {} ({})", path.display(), version.trim()))?;
    }
    count_instructions(&load, cluster, programs, &points, rounds)?;
    if syscalls::can_count() {
        count_calls(&load, cluster, programs, &points, rounds)?;
    } else {
        say("\nstrace is not installed, or may not attach: no system calls are counted")?;
    }
    Ok(())
}

/// What programs are called in tables.
const NAMES: [&str; 2] = ["A", "B"];

/// How proxies are started.
const ARGUMENTS: [&str; 7] = ["--mode", "regulate", "--static", "--limit", LIMIT, "--workers", "1"];

/// A proxy under callgrind, and what it does in a second without clients.
struct Proxy {
    callgrind: Callgrind,
    idle_second: Counts,
}

impl Proxy {
    fn watch_idle(&mut self) -> anyhow::Result<()> {
        self.callgrind.take()?;
        std::thread::sleep(IDLE_TIME);
        let idle = self.callgrind.take()?;
        self.idle_second = idle * (1.0 / idle.seconds);
        Ok(())
    }

    /// What a transaction costs, without what the proxy does while nobody asks anything.
    fn sample(&self, load: &Load, point: &Point<'_>) -> anyhow::Result<Counts> {
        let began = Instant::now();
        loop {
            let sample = self.try_sample(load, point)?;
            // On a machine that always stalls the spread in the table shows it.
            if sample.previews < PREVIEWS_MAX || began.elapsed() > TRY_TIME_MAX {
                return Ok(sample);
            }
            // At once: without clients for a minute it would close server connections, and opening
            // them again may take long.
            talk("  again, since a statement took long");
        }
    }

    fn try_sample(&self, load: &Load, point: &Point<'_>) -> anyhow::Result<Counts> {
        let run = |factor| {
            load.run(&self.callgrind.pooler, point, factor)?;
            self.callgrind.take()
        };
        // The first run with another number of clients opens or leaves server connections.
        run(1)?;
        let (short, long) = (run(1)?, run(LONG_FACTOR)?);
        let more = long - short;
        let mut counts = more - self.idle_second * more.seconds;
        // Any of them is one too many, so these are added.
        counts.previews = short.previews + long.previews;
        Ok(counts * (1.0 / point.difference()))
    }
}

fn count_instructions(
    load: &Load,
    cluster: &Cluster,
    programs: &[PathBuf],
    points: &[Point<'_>],
    rounds: u32,
) -> anyhow::Result<()> {
    let mut proxies = Vec::new();
    for (name, surgetank) in NAMES.iter().zip(programs) {
        talk(&format!("starting {name} under valgrind"));
        let site = Site { cluster, surgetank };
        let callgrind = Callgrind::start(&site, name, &ARGUMENTS)?;
        let proxy = Proxy { callgrind, idle_second: Counts::default() };
        // The number of server connections is that of all rounds from now on.
        for point in points {
            load.run(&proxy.callgrind.pooler, point, 1)?;
        }
        proxies.push(proxy);
    }
    // By point, then by program, then by round.
    let mut samples = vec![vec![Vec::new(); proxies.len()]; points.len()];
    for round in 1..=rounds {
        for proxy in &mut proxies {
            proxy.watch_idle()?;
        }
        for (point, samples) in points.iter().zip(&mut samples) {
            talk(&format!("round {round} of {rounds}: {}", point.label()));
            for (proxy, samples) in proxies.iter().zip(samples) {
                samples.push(proxy.sample(load, point)?);
            }
        }
    }
    say("\nUser-space instructions per transaction (valgrind)\n\
         workload     mode      clients  program  worker  (min … max)          \
         recorder  others  waits/tx   ratio  (min … max)")?;
    for (point, samples) in points.iter().zip(&samples) {
        for (name, own) in NAMES.iter().zip(samples) {
            let first = samples.first().filter(|_| *name != NAMES[0]);
            say(&instructions_line(point, name, own, first))?;
        }
    }
    for (name, proxy) in NAMES.iter().zip(&proxies) {
        let idle = proxy.idle_second;
        say(&format!(
            "{name}, idle, each second: worker {:.0}, recorder {:.0}, others {:.0}",
            idle.workers, idle.recorder, idle.others
        ))?;
    }
    Ok(())
}

/// The line of a program, with its ratio to the first.
fn instructions_line(
    point: &Point<'_>,
    name: &str,
    samples: &[Counts],
    first: Option<&Vec<Counts>>,
) -> String {
    let all = |of: fn(&Counts) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
    let mut workers = all(|counts| counts.workers);
    let middle = median(&mut workers);
    let spread = format!("({:.0} … {:.0})", workers[0], workers[workers.len() - 1]);
    let mut line = format!(
        "{}  {name:<7} {middle:>7.0}  {spread:<19}  {:>8.0} {:>7.0} {:>9.2}",
        point.label(),
        median(&mut all(|counts| counts.recorder)),
        median(&mut all(|counts| counts.others)),
        median(&mut all(|counts| counts.waits)),
    );
    if let Some(first) = first {
        let pairs = samples.iter().zip(first);
        let mut ratios: Vec<f64> = pairs.map(|(own, base)| own.workers / base.workers).collect();
        let middle = median(&mut ratios);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        // A string takes all that is written to it.
        let _ = write!(line, "  {middle:>6.4}  ({least:.4} … {most:.4})");
    }
    line
}

fn count_calls(
    load: &Load,
    cluster: &Cluster,
    programs: &[PathBuf],
    points: &[Point<'_>],
    rounds: u32,
) -> anyhow::Result<()> {
    say("\nSystem calls of the worker per transaction (strace, without valgrind)\n\
         workload     mode      clients  program   calls  (min … max)      by name")?;
    let mut proxies = Vec::new();
    for (name, surgetank) in NAMES.iter().zip(programs) {
        let site = Site { cluster, surgetank };
        let pooler = site.surgetank_recording((*name).to_owned(), &ARGUMENTS)?;
        let worker = worker_of(pooler.pid)?;
        proxies.push((pooler, worker));
    }
    for point in points {
        talk(&format!("system calls: {}", point.label()));
        let mut samples = vec![Vec::new(); proxies.len()];
        for (pooler, _) in &proxies {
            load.run(pooler, point, 1)?;
        }
        for _ in 0..rounds {
            for ((pooler, worker), samples) in proxies.iter().zip(&mut samples) {
                samples.push(calls(load, pooler, *worker, point)?);
            }
        }
        for (name, samples) in NAMES.iter().zip(&samples) {
            say(&calls_line(point, name, samples))?;
        }
    }
    Ok(())
}

/// System calls of a thread in a transaction, by name.
fn calls(load: &Load, pooler: &Pooler, thread: u32, point: &Point<'_>) -> anyhow::Result<Calls> {
    let run = |factor| {
        let counting = Counting::start_thread(thread)?;
        load.run(pooler, point, factor)?;
        counting.finish()
    };
    let (short, mut long) = (run(1)?, run(LONG_FACTOR)?);
    for (call, count) in &mut long {
        let logins = short.get(call).copied().unwrap_or_default();
        *count = (*count - logins) / point.difference();
    }
    Ok(long)
}

fn calls_line(point: &Point<'_>, name: &str, samples: &[Calls]) -> String {
    let mut sums: Vec<f64> = samples.iter().map(|calls| calls.values().sum()).collect();
    let sum = median(&mut sums);
    let spread = format!("({:.2} … {:.2})", sums[0], sums[sums.len() - 1]);
    let names: BTreeSet<&String> = samples.iter().flat_map(Calls::keys).collect();
    let of_name = |call| {
        let count = |calls: &Calls| calls.get(call).copied().unwrap_or_default();
        (call, median(&mut samples.iter().map(count).collect::<Vec<f64>>()))
    };
    let mut calls: Vec<(&String, f64)> = names.into_iter().map(of_name).collect();
    calls.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let shown = calls.iter().filter(|(_, count)| *count >= CALLS_SHOWN_MIN);
    let by_name: Vec<String> = shown.map(|(call, count)| format!("{call} {count:.2}")).collect();
    format!("{}  {name:<7} {sum:>7.2}  {spread:<15}  {}", point.label(), by_name.join(", "))
}

/// System calls that are rarer in a transaction are not listed.
const CALLS_SHOWN_MIN: f64 = 0.005;

/// The only worker of a proxy.
fn worker_of(pid: u32) -> anyhow::Result<u32> {
    for entry in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))? {
        let tid = entry?.file_name().to_string_lossy().parse()?;
        if is_worker(&thread_name(pid, tid)?) {
            return Ok(tid);
        }
    }
    bail!("process {pid} has no worker thread")
}
