//! A proxy under valgrind's callgrind: how many instructions its threads execute.
//!
//! callgrind counts the instructions of user space only, and does so exactly, however busy the
//! machine is. Valgrind runs one thread at a time. The counts are taken with vgdb(1), and each time
//! callgrind begins again at zero.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::{Mul, Sub};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use bench_kit::poolers::{Pooler, Site};
use tokio::time::Instant;

/// What was counted, in all or per something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Instructions of the threads that carry sessions.
    pub(crate) workers: f64,
    /// Instructions of the thread that writes the recording.
    pub(crate) recorder: f64,
    /// Instructions of all other threads.
    pub(crate) others: f64,
    /// How often workers called `epoll_wait`.
    pub(crate) waits: f64,
    /// How often the proxy's `first_reading` called its `reading_of`: it reads a statement before
    /// the request has a server connection, in the minute after a statement took long.
    pub(crate) previews: f64,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            workers: self.workers - other.workers,
            recorder: self.recorder - other.recorder,
            others: self.others - other.others,
            waits: self.waits - other.waits,
            previews: self.previews - other.previews,
            seconds: self.seconds - other.seconds,
        }
    }
}

impl Mul<f64> for Counts {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self {
            workers: self.workers * factor,
            recorder: self.recorder * factor,
            others: self.others * factor,
            waits: self.waits * factor,
            previews: self.previews * factor,
            seconds: self.seconds * factor,
        }
    }
}

/// A proxy that callgrind runs.
pub(crate) struct Callgrind {
    pub(crate) pooler: Pooler,
    taken: Cell<Instant>,
    /// Below the pooler, which writes there when it is dropped.
    dumps: tempfile::TempDir,
}

impl Callgrind {
    /// Starts `surgetank proxy` with these arguments and a recording.
    pub(crate) fn start(site: &Site<'_>, name: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        for program in ["valgrind", "vgdb"] {
            if Command::new(program).arg("--help").output().is_err() {
                bail!("{program} is not installed: apt-get install valgrind");
            }
        }
        let dumps = tempfile::tempdir()?;
        let out = format!("--callgrind-out-file={}", dumps.path().join("out").display());
        let tool =
            ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--dump-line=no", &out];
        let pooler = site.surgetank_recording_under(&tool, name.to_owned(), arguments)?;
        Ok(Self { pooler, taken: Cell::new(Instant::now()), dumps })
    }

    /// What was counted since this was last called, or since the start.
    pub(crate) fn take(&self) -> anyhow::Result<Counts> {
        self.vgdb(&["dump"])?;
        let now = Instant::now();
        let mut counts = Counts {
            seconds: now.duration_since(self.taken.replace(now)).as_secs_f64(),
            ..Counts::default()
        };
        let threads = self.threads()?;
        for entry in fs::read_dir(self.dumps.path())? {
            let path = entry?.path();
            let Some(thread) = thread_of(&path) else { continue };
            let dump = Dump::read(&path)?;
            match threads.get(&thread).map(String::as_str) {
                Some(name) if is_worker(name) => {
                    counts.workers += dump.instructions;
                    counts.waits += dump.waits;
                    counts.previews += dump.previews;
                }
                Some(name) if name.contains("recor") => counts.recorder += dump.instructions,
                _ => counts.others += dump.instructions,
            }
            fs::remove_file(path)?;
        }
        if counts.workers == 0.0 {
            bail!("no thread of {} is a worker of the proxy: {threads:?}", self.pooler.name);
        }
        Ok(counts)
    }

    /// The names of threads by the numbers that valgrind gives them: `Thread 6: … (lwpid 4962)`.
    fn threads(&self) -> anyhow::Result<BTreeMap<u32, String>> {
        let status = self.vgdb(&["v.info", "scheduler"])?;
        let threads = status.lines().filter_map(|line| {
            let (number, rest) = line.strip_prefix("Thread ")?.split_once(':')?;
            let lwpid = rest.split_once("(lwpid ")?.1.split(')').next()?;
            // The thread may have ended since.
            let name = thread_name(self.pooler.pid, lwpid.parse().ok()?).unwrap_or_default();
            Some((number.parse().ok()?, name))
        });
        Ok(threads.collect())
    }

    fn vgdb(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("vgdb");
        command.arg(format!("--pid={}", self.pooler.pid)).args(words);
        crate::run(&mut command).with_context(|| format!("vgdb {}", words.join(" ")))
    }
}

/// Whether a thread of this name carries sessions: `proxy-0`.
pub(crate) fn is_worker(name: &str) -> bool {
    name.strip_prefix("proxy-").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The name of a thread.
pub(crate) fn thread_name(pid: u32, tid: u32) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/task/{tid}/comm");
    Ok(fs::read_to_string(&path).context(path)?.trim().to_owned())
}

/// The thread whose counts are in a file: `out.1-06`.
fn thread_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("out.")?.split_once('-')?.1.parse().ok()
}

/// What callgrind counted in one thread.
#[derive(Debug, Default)]
struct Dump {
    instructions: f64,
    waits: f64,
    previews: f64,
}

impl Dump {
    /// Reads callgrind's file, whose format is a chapter of valgrind's manual: `fn=(3) name` is the
    /// function of the lines below, `cfn=(12) name` one that it calls, `calls=3 …` how often.
    /// A name is there only once.
    fn read(path: &Path) -> anyhow::Result<Self> {
        // Names of functions need not be UTF-8.
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        let mut dump = Self::default();
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        let (mut caller, mut called) = ("", "");
        for line in text.lines() {
            if let Some((what @ ("" | "c"), id)) = line.split_once("fn=") {
                let name = match id.split_once(' ') {
                    Some((id, name)) => *names.entry(id).or_insert(name),
                    None => names.get(id).copied().unwrap_or_default(),
                };
                *if what == "c" { &mut called } else { &mut caller } = name;
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let count = calls.split(' ').next().unwrap_or_default();
                let count: f64 = count.parse().with_context(|| line.to_owned())?;
                // A symbol may have a version.
                if called.split('@').next() == Some("epoll_wait") {
                    dump.waits += count;
                } else if called.ends_with("::reading_of") && caller.ends_with("::first_reading") {
                    dump.previews += count;
                }
            } else if let Some(total) = line.strip_prefix("totals: ") {
                dump.instructions = total.parse().with_context(|| line.to_owned())?;
            }
        }
        Ok(dump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_tells_instructions_and_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.2-06");
        let text = "summary: 90\nfn=(1) run\n0 30\ncfn=(7) epoll_wait@@GLIBC_2.3.2\n\
                    calls=2 0\n0 20\ncfn=(8) send\ncalls=5 0\n0 40\n\
                    fn=(2) a::first_reading\n\
                    cfn=(9) a::reading_of\ncalls=4 0\n0 40\n\
                    fn=(3) again\ncfn=(7)\ncalls=3 0\n0 0\ncfn=(9)\ncalls=6 0\n0 0\ntotals: 90\n";
        fs::write(&path, text).unwrap();
        let dump = Dump::read(&path).unwrap();
        assert_eq!((dump.instructions, dump.waits, dump.previews), (90.0, 5.0, 4.0));
        assert_eq!(thread_of(&path), Some(6));
    }
}
