//! A scenario: a database, phases of load, and what a good law must do with them.
//!
//! The files are in `crates/simulator/scenarios`. What they expect was written from the curves of
//! static sizes, before the law was tuned.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the table calls it.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// The database.
    pub database: Database,
    /// How many proxies share the clients. One holds the law, the limit is shared by demand.
    #[serde(default = "one")]
    pub proxies: usize,
    /// The load, one phase after the other.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
    /// What the law must do.
    pub expect: Expect,
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Cores.
    pub cores: f64,
    /// What each running job beyond the cores costs all, as a part of their speed.
    pub coherence: f64,
    /// How many disk accesses go on at once.
    pub channels: f64,
    /// What the square of the crowd at the disk costs, relative to the channels.
    pub thrash: f64,
    /// Milliseconds of a processor that each waiter for a row costs when the row is passed on.
    #[serde(default)]
    pub wake_ms: f64,
    /// Connections that can be had.
    #[serde(default = "two_hundred")]
    pub connections: u32,
    /// What takes power away now and then.
    #[serde(default, rename = "dip")]
    pub dips: Vec<Dip>,
}

/// A checkpoint, an autovacuum, a neighbour on the same machine. What is left by several at a time
/// is what each leaves of the rest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dip {
    /// Begins each so many seconds, first after half of them.
    pub every: f64,
    /// For so many seconds.
    pub lasts: f64,
    /// The part of the cores' power that is left.
    #[serde(default = "whole")]
    pub cores: f64,
    /// The part of the disk's power that is left.
    #[serde(default = "whole")]
    pub disk: f64,
    /// Both times are means, of exponential distributions.
    #[serde(default)]
    pub at_random: bool,
}

/// A time with one load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// How long.
    pub seconds: f64,
    /// Time from the proxy to the database and back.
    #[serde(default = "near")]
    pub rtt_ms: f64,
    /// Who asks for what.
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
    /// Between what the limit must be, as a mean over the phase's second half.
    pub settle: Option<[f64; 2]>,
}

/// Clients of one kind with transactions of one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The same name is the same statements.
    #[serde(default = "short")]
    pub name: String,
    /// Closed: so many clients, each with its next transaction after it has thought.
    #[serde(default)]
    pub clients: u32,
    /// Closed: for how long they think, as a mean.
    #[serde(default = "ten")]
    pub think_ms: f64,
    /// Open: so many transactions a second, whatever becomes of those before.
    #[serde(default)]
    pub per_second: f64,
    /// Statements of a transaction.
    #[serde(default = "one")]
    pub statements: usize,
    /// Processor time of a transaction.
    #[serde(default)]
    pub cpu_ms: f64,
    /// Disk time of a transaction.
    #[serde(default)]
    pub io_ms: f64,
    /// In how many turns of processor and disk a statement runs.
    #[serde(default = "one")]
    pub turns: usize,
    /// How different they are: the deviation of the logarithm of the times.
    #[serde(default = "usual")]
    pub spread: f64,
    /// What the client takes between two statements of a transaction.
    #[serde(default)]
    pub gap_ms: f64,
    /// The part of transactions that idle after their first statement,
    #[serde(default)]
    pub idle_share: f64,
    /// for so long.
    #[serde(default)]
    pub idle_ms: f64,
    /// One of so many rows is locked by the first statement, until the end.
    #[serde(default)]
    pub hot_rows: usize,
    /// A client that has waited so long gives up; 0: never.
    #[serde(default)]
    pub patience_ms: f64,
    /// How many times it tries again after giving up.
    #[serde(default)]
    pub retries: u32,
    /// How long after.
    #[serde(default)]
    pub retry_ms: f64,
    /// Counted for itself: not part of the throughput.
    #[serde(default)]
    pub report: bool,
}

/// What the law must do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// At least this part of what the best static size does, over the whole run.
    pub share: f64,
    /// After each change of phase at least nine tenths of the phase's best within so many seconds.
    pub adapt: Option<f64>,
}

impl Scenario {
    /// Reads a scenario.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        anyhow::ensure!(!scenario.phases.is_empty(), "a scenario without a phase");
        anyhow::ensure!((1..=8).contains(&scenario.proxies), "one to eight proxies");
        Ok(scenario)
    }

    /// All scenarios of a folder, in the order of their file names.
    pub fn folder(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let listed = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut files = listed.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        let read = |file: &Path| Self::parse(&std::fs::read_to_string(file)?);
        files.iter().map(|file| read(file).with_context(|| file.display().to_string())).collect()
    }

    /// The same with phases of at most so many seconds. If that shortens anything, a little less is
    /// expected: finding the limit is a larger part of the run.
    #[must_use]
    pub fn shortened(mut self, seconds: f64) -> Self {
        let before = self.seconds();
        for phase in &mut self.phases {
            phase.seconds = phase.seconds.min(seconds);
        }
        if self.seconds() < before {
            self.expect.share -= 0.03;
            for [least, most] in self.phases.iter_mut().filter_map(|phase| phase.settle.as_mut()) {
                (*least, *most) = (*least * 0.85, *most * 1.15);
            }
        }
        self
    }

    /// Seconds in all.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.phases.iter().map(|phase| phase.seconds).sum()
    }
}

const fn one() -> usize {
    1
}

const fn two_hundred() -> u32 {
    200
}

const fn whole() -> f64 {
    1.0
}

const fn near() -> f64 {
    0.3
}

const fn ten() -> f64 {
    10.0
}

const fn usual() -> f64 {
    0.7
}

fn short() -> String {
    "short".into()
}
