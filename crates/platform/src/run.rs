//! One-off commands in the environments of named dynos, all at the same time, side by side: the
//! quickest way to see what differs from dyno to dyno.

mod compare;

use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub use compare::{Aspect, EnvironmentDifference, RunComparison};

use crate::dyno::{Dynos, Ends, Launch, NotStarted, Process, Size, last_output};
use crate::error::Result;
use crate::name::DynoName;

/// How many database requests a dyno has made up to now, and how many of them failed. Only
/// differences between two readings mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseTally {
    /// Requests.
    pub requests: u64,
    /// Of these, failed.
    pub failures: u64,
}

impl DatabaseTally {
    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failures: self.failures.saturating_sub(before.failures),
        }
    }
}

/// Reads a dyno's tally. The dyno's own requests during the command count too: they come from the
/// same place.
pub type Tally = Arc<dyn Fn(&DynoName) -> DatabaseTally + Send + Sync>;

/// Bounds of a one-off command.
#[derive(Clone)]
pub struct RunOptions {
    /// It is killed after this time.
    pub timeout: Duration,
    /// Of each of its two outputs, so many bytes are kept.
    pub output_bytes_max: usize,
    /// Counts database requests; without it none are told.
    pub tally: Option<Tally>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300), output_bytes_max: 1 << 20, tally: None }
    }
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &mut f.debug_struct("RunOptions");
        options.field("timeout", &self.timeout).field("output_bytes_max", &self.output_bytes_max);
        options.finish_non_exhaustive()
    }
}

/// How a one-off command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It took too long and was killed.
    TimedOut,
}

impl RunOutcome {
    /// As a shell tells it: 128 and the signal's number; 124 like timeout(1).
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 + signal,
            Self::TimedOut => 124,
        }
    }
}

impl From<ExitStatus> for RunOutcome {
    fn from(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Signalled(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit {code}"),
            Self::Signalled(signal) => write!(f, "signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

/// What a one-off command did in one dyno's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// Whose environment it was.
    pub dyno: DynoName,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What it wrote to standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// What it wrote to standard error; bytes that are no UTF-8 are replaced.
    pub stderr: String,
    /// Whether more was written than was kept.
    pub truncated: bool,
    /// From start to end.
    pub elapsed: Duration,
    /// The dyno's size, whose limits hold for the command too where dynos are contained.
    #[serde(default)]
    pub size: Size,
    /// Its environment, ordered by name.
    pub environment: Vec<(String, String)>,
    /// Database requests of the dyno while it ran, where they are counted.
    pub database: Option<DatabaseTally>,
}

/// Runs `command` (a shell's command line) once in the environment of each of the named dynos, all
/// at the same time; results in the order of the names. Dropping the future kills the commands.
///
/// # Errors
/// A dyno does not exist, or a command could not be started; then none is left running.
pub async fn run(
    dynos: &Dynos,
    names: &[DynoName],
    command: &str,
    options: &RunOptions,
) -> Result<Vec<RunResult>> {
    let mut orders = Vec::with_capacity(names.len());
    for name in names {
        orders.push((name.clone(), dynos.environment(name)?));
    }
    let mut runs = JoinSet::new();
    for (index, (name, environment)) in orders.into_iter().enumerate() {
        let before = options.tally.as_ref().map(|tally| tally(&name));
        let failed = |why: NotStarted| why.of(&name, command);
        let contained = dynos.place(&name).await;
        let contained = contained.map_err(|source| failed(NotStarted::Refused(source)))?;
        // The container stays until the command has ended.
        let place = contained.clone();
        let size = dynos.size_of(&name);
        let launch = Launch {
            command: command.to_owned(),
            dir: dynos.app_dir().clone(),
            env: environment.clone(),
            ends: Ends::Output,
            contained,
        };
        let process = dynos.spawner().spawn(launch).await.map_err(failed)?;
        let options = options.clone();
        runs.spawn(async move {
            let ended = watch(process, &options).await;
            drop(place);
            let database = options.tally.as_ref().zip(before);
            let database = database.map(|(tally, before)| tally(&name).since(before));
            let result = RunResult { size, ..ended.into_result(name, environment, database) };
            (index, result)
        });
    }
    let mut results = Vec::with_capacity(names.len());
    while let Some(run) = runs.join_next().await {
        // A run neither panics nor is aborted while it is waited for here.
        results.extend(run.ok());
    }
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// A command that has ended.
struct Ended {
    outcome: RunOutcome,
    stdout: Captured,
    stderr: Captured,
    elapsed: Duration,
}

impl Ended {
    fn into_result(
        self,
        dyno: DynoName,
        environment: Vec<(String, String)>,
        database: Option<DatabaseTally>,
    ) -> RunResult {
        RunResult {
            dyno,
            outcome: self.outcome,
            stdout: String::from_utf8_lossy(&self.stdout.kept).into_owned(),
            stderr: String::from_utf8_lossy(&self.stderr.kept).into_owned(),
            truncated: self.stdout.truncated || self.stderr.truncated,
            elapsed: self.elapsed,
            size: Size::default(),
            environment,
            database,
        }
    }
}

/// The kept part of one output.
#[derive(Debug, Default)]
struct Captured {
    kept: Vec<u8>,
    truncated: bool,
}

async fn watch(mut process: Process, options: &RunOptions) -> Ended {
    let began = Instant::now();
    let (stdout, stderr) = (Arc::<Mutex<Captured>>::default(), Arc::<Mutex<Captured>>::default());
    let mut readers = JoinSet::new();
    if let Some(pipe) = process.child.stdout.take() {
        readers.spawn(capture(pipe, Arc::clone(&stdout), options.output_bytes_max));
    }
    if let Some(pipe) = process.child.stderr.take() {
        readers.spawn(capture(pipe, Arc::clone(&stderr), options.output_bytes_max));
    }
    let outcome = match timeout(options.timeout, process.child.wait()).await {
        Ok(Ok(status)) => RunOutcome::from(status),
        // The process was ours and not waited for by anybody else: its status is never lost.
        Ok(Err(_)) => RunOutcome::Signalled(0),
        Err(_) => RunOutcome::TimedOut,
    };
    let elapsed = began.elapsed();
    // Kills what it left behind, or all of it when the time is over.
    drop(process);
    last_output(readers).await;
    let take = |captured: &Mutex<Captured>| std::mem::take(&mut *captured.lock());
    Ended { outcome, stdout: take(&stdout), stderr: take(&stderr), elapsed }
}

/// Reads a pipe to its end, and keeps at most `most` bytes of it; the rest is read all the same, so
/// that the command does not stall.
async fn capture(mut pipe: impl AsyncRead + Unpin, into: Arc<Mutex<Captured>>, most: usize) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        // A pipe that breaks is a pipe that ended.
        let read = pipe.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let mut captured = into.lock();
        let room = most.saturating_sub(captured.kept.len()).min(read);
        captured.kept.extend_from_slice(&piece[..room]);
        captured.truncated |= room < read;
    }
}
