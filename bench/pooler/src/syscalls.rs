//! System calls of a pooler, counted by strace(1) in a run of their own, since counting slows.

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

impl Counting {
    pub(crate) fn start(pid: u32) -> anyhow::Result<Self> {
        let table = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(table.path());
        let strace = quiet(&mut command).spawn().context("strace")?;
        for _ in 0..500 {
            if is_traced(pid)? {
                return Ok(Self { strace, table });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("strace did not attach to process {pid}")
    }

    /// How many there were.
    pub(crate) fn finish(mut self) -> anyhow::Result<f64> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.strace.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
        self.strace.wait()?;
        total(self.table.path())
    }
}

fn is_traced(pid: u32) -> anyhow::Result<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    Ok(tracer.is_some_and(|pid| pid.trim() != "0"))
}

/// The number of calls in the last line of strace's table: `100.00 0.1 7 12345 67 total`.
fn total(path: &Path) -> anyhow::Result<f64> {
    let table = std::fs::read_to_string(path)?;
    let line = table.lines().rfind(|line| line.ends_with("total")).context("strace's table")?;
    let calls = line.split_whitespace().nth(3).with_context(|| line.to_owned())?;
    Ok(calls.parse()?)
}
