//! The machine: which core does what, and whether others were busy on it.

use std::fs;

use anyhow::Context;
use platform::postgres::Cluster;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of PostgreSQL, and that of the proxies and the load.
const SERVER: usize = 0;
const OTHERS: usize = 1;

/// Keeps this program and all it starts on its core; `false` where there is only one. To be called
/// before there is another thread.
pub(crate) fn stay_on_own_core() -> anyhow::Result<bool> {
    let cores = std::thread::available_parallelism()?.get();
    if cores < 2 {
        return Ok(false);
    }
    pin(None, OTHERS)?;
    Ok(true)
}

/// Moves the server to its core: what it forks from now on stays there too.
pub(crate) fn move_server(cluster: &Cluster) -> anyhow::Result<()> {
    let file = cluster.socket_dir().with_file_name("data").join("postmaster.pid");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let pid: i32 = text.lines().next().unwrap_or_default().trim().parse()?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    for pid in std::iter::once(pid).chain(children) {
        pin(Pid::from_raw(pid), SERVER)?;
    }
    Ok(())
}

fn pin(pid: Option<Pid>, core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(pid, &cores).with_context(|| format!("cannot move to core {core}"))
}

/// How busy each core was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy {
    /// Ticks in use, idle, and taken by the host, of both cores.
    ticks: [[u64; 3]; 2],
}

impl Busy {
    /// Since the machine started (proc(5), `/proc/stat`).
    pub(crate) fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let mut busy = Self::default();
        for (core, ticks) in busy.ticks.iter_mut().enumerate() {
            let label = format!("cpu{core} ");
            let line = text.lines().find(|line| line.starts_with(&label)).unwrap_or_default();
            let numbers: Vec<u64> =
                line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
            // user nice system idle iowait irq softirq steal
            if let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = *numbers {
                *ticks = [user + nice + system + irq + softirq, idle + iowait, steal];
            }
        }
        Ok(busy)
    }

    /// Percent of the time since `earlier` that each core was in use, and that the host took.
    pub(crate) fn since(self, earlier: Self) -> [f64; 3] {
        let mut shares = [0.0; 3];
        let mut all = 0;
        for (core, (now, then)) in self.ticks.iter().zip(&earlier.ticks).enumerate() {
            let [used, idle, steal] = [0, 1, 2].map(|n| now[n].saturating_sub(then[n]));
            let total = (used + idle + steal).max(1);
            shares[core] = 100.0 * used as f64 / total as f64;
            shares[2] += steal as f64;
            all += total;
        }
        shares[2] *= 100.0 / all.max(1) as f64;
        shares
    }
}

/// The load average of the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
