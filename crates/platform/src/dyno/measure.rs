//! What a dyno uses, told as Heroku's `log-runtime-metrics` and R14 do.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Size;
use super::meter::Meter;
use crate::container::Usage;

/// Looks per sample: the load average needs more of them than there are lines.
const LOOKS: u32 = 4;
const MIB: f64 = 1024.0 * 1024.0;

/// Looks at a dyno again and again.
#[derive(Debug)]
pub(super) struct Gauge {
    of: Measured,
    ticks: Interval,
    every: Duration,
    looks: u32,
    /// Runnable tasks, averaged over 1, 5 and 15 minutes.
    load: [f64; 3],
}

/// Whom it looks at.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) meter: Meter,
    /// How it is called in samples.
    pub(super) source: String,
    pub(super) size: Size,
}

/// What a look showed.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing to say yet.
    Quiet,
    /// It is time for these lines.
    Lines(Vec<String>),
    /// It is out of bounds and must go: what to say of it.
    Exceeded(Vec<String>),
}

impl Gauge {
    /// Looks so often that there is a sample `every` so often.
    pub(super) fn new(of: Measured, every: Duration) -> Self {
        let look = (every / LOOKS).max(Duration::from_millis(1));
        let mut ticks = interval_at(Instant::now() + look, look);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { of, ticks, every: look, looks: 0, load: [0.0; 3] }
    }

    /// Waits for the time of the next look, and looks. Can be dropped while it waits.
    pub(super) async fn look(&mut self) -> Look {
        self.ticks.tick().await;
        self.looks += 1;
        let Some(usage) = self.of.meter.usage() else { return Look::Quiet };
        let runnable = runnable(&self.of.meter.processes());
        for (load, minutes) in self.load.iter_mut().zip([1.0, 5.0, 15.0]) {
            let kept = (-self.every.as_secs_f64() / (minutes * 60.0)).exp();
            *load = *load * kept + runnable * (1.0 - kept);
        }
        if let Some(lines) = exceeded(self.of.size, &usage) {
            return Look::Exceeded(lines);
        }
        if !self.looks.is_multiple_of(LOOKS) {
            return Look::Quiet;
        }
        Look::Lines(self.sample(&usage))
    }

    fn sample(&self, usage: &Usage) -> Vec<String> {
        let source = &self.of.source;
        let [one, five, fifteen] = self.load;
        let quota = self.of.size.memory_bytes();
        let paged = usage.paged.map_or(String::new(), |(paged_in, paged_out)| {
            format!(" sample#memory_pgpgin={paged_in}pages sample#memory_pgpgout={paged_out}pages")
        });
        let mut lines = vec![
            format!(
                "{source} sample#load_avg_1m={one:.2} sample#load_avg_5m={five:.2} \
                 sample#load_avg_15m={fifteen:.2}"
            ),
            format!(
                "{source} sample#memory_total={:.2}MB sample#memory_rss={:.2}MB \
                 sample#memory_cache={:.2}MB sample#memory_swap={:.2}MB{paged} \
                 sample#memory_quota={:.2}MB",
                mib(usage.rss_bytes + usage.cache_bytes + usage.swap_bytes),
                mib(usage.rss_bytes),
                mib(usage.cache_bytes),
                mib(usage.swap_bytes),
                mib(quota)
            ),
        ];
        if demand(usage) > quota {
            lines.push(running(demand(usage), quota));
            lines.push("Error R14 (Memory quota exceeded)".to_owned());
        }
        lines
    }
}

/// What a dyno needs of its quota. Heroku counts files held in memory too, where they are given up
/// as soon as the quota is reached; here the kernel keeps them up to the hard limit, so counting
/// them would blame an app for reading files.
fn demand(usage: &Usage) -> u64 {
    usage.rss_bytes + usage.swap_bytes
}

/// The lines of a dyno that has used twice its quota, or would have if the kernel had let it.
pub(super) fn exceeded(size: Size, usage: &Usage) -> Option<Vec<String>> {
    let limits = size.limits();
    let killed = usage.oom_kills > 0;
    if !killed && demand(usage) < limits.memory_bytes_max {
        return None;
    }
    let used = if killed { usage.memory_bytes_max.max(demand(usage)) } else { demand(usage) };
    Some(vec![
        running(used, limits.memory_bytes_quota),
        "Error R15 (Memory quota vastly exceeded)".to_owned(),
        "Stopping process with SIGKILL".to_owned(),
    ])
}

fn running(bytes: u64, quota: u64) -> String {
    format!("Process running mem={:.0}MB({:.1}%)", mib(bytes), 100.0 * mib(bytes) / mib(quota))
}

#[expect(clippy::cast_precision_loss, reason = "for people, in two places")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// How many threads of these processes run or could run now. Threads that wait for a disk do not
/// count, other than in Linux's own load average (Heroku, "Runtime metrics").
fn runnable(processes: &[i32]) -> f64 {
    let threads = processes.iter().flat_map(|pid| {
        std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten()
    });
    let running = threads.filter(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // After the name, which stands in parentheses and may hold any character.
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('R'))
    });
    f64::from(u32::try_from(running.count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_as_heroku_tells_it() {
        let quota = 512 * 1024 * 1024;
        let used = 528 * 1024 * 1024 + 900_000;
        assert_eq!(running(used, quota), "Process running mem=529MB(103.3%)");
    }

    #[test]
    fn a_thread_that_runs_is_counted() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(runnable(&[own]) >= 1.0);
        assert!(runnable(&[]) < 1.0);
    }
}
