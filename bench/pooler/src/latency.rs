//! Latencies of single transactions, from pgbench's own log.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// Latencies of one run, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Reads the logs that pgbench wrote to a folder (`--log`; the third column is microseconds).
pub(crate) fn read(folder: &Path) -> anyhow::Result<Latency> {
    let mut micros: Vec<u64> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path())?;
        let columns = text.lines().filter_map(|line| line.split(' ').nth(2));
        micros.extend(columns.filter_map(|time| time.parse::<u64>().ok()));
    }
    micros.sort_unstable();
    let at = |percent: usize| {
        let rank = (micros.len() * percent / 100).min(micros.len().saturating_sub(1));
        let value = micros.get(rank).context("pgbench logged no transaction")?;
        anyhow::Ok(f64::from(u32::try_from(*value)?) / 1000.0)
    };
    Ok(Latency { p50: at(50)?, p99: at(99)? })
}
