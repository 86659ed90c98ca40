//! System calls of a pooler, counted by strace(1) in a run of their own, since counting slows.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

/// strace, attached to a process and its threads.
pub(crate) struct Counting {
    strace: Child,
    table: tempfile::NamedTempFile,
}

/// Whether strace is there, and may attach.
pub(crate) fn can_count() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-c", "-o", "/dev/null", "true"]);
    quiet(&mut strace).status().is_ok_and(|status| status.success())
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// How many calls there were, by their names.
pub(crate) type Calls = BTreeMap<String, f64>;

impl Counting {
    /// Counts the calls of all threads of a process.
    pub(crate) fn start(pid: u32) -> anyhow::Result<Self> {
        Self::attach(pid, &["-f"])
    }

    /// Counts the calls of one thread.
    pub(crate) fn start_thread(tid: u32) -> anyhow::Result<Self> {
        Self::attach(tid, &[])
    }

    fn attach(id: u32, options: &[&str]) -> anyhow::Result<Self> {
        let table = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("strace");
        command.args(options).args(["-c", "-p", &id.to_string(), "-o"]).arg(table.path());
        let strace = quiet(&mut command).spawn().context("strace")?;
        for _ in 0..500 {
            if is_traced(id)? {
                return Ok(Self { strace, table });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("strace did not attach to process {id}")
    }

    /// Ends the counting.
    pub(crate) fn finish(mut self) -> anyhow::Result<Calls> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.strace.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
        self.strace.wait()?;
        read(self.table.path())
    }
}

fn is_traced(pid: u32) -> anyhow::Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    Ok(tracer.is_some_and(|pid| pid.trim() != "0"))
}

/// Reads strace's table: `25.00 0.1 7 12345 67 recvfrom`, where the errors (67) may be missing.
fn read(path: &Path) -> anyhow::Result<Calls> {
    let table = std::fs::read_to_string(path)?;
    let mut calls = Calls::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [share, _, _, count, .., name] = words[..] else { continue };
        if share.parse::<f64>().is_ok() && name != "total" {
            let count: f64 = count.parse().with_context(|| line.to_owned())?;
            calls.insert(name.to_owned(), count);
        }
    }
    Ok(calls)
}
