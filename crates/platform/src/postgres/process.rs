//! Telling a process from a later one that got the same number.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::Instant;

/// How often a condition about another process is looked at while waiting for it.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A process: its number and when it began. The number alone may belong to another process by the
/// time it is read back from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pid: i32,
    /// In whatever unit the system tells it; only ever compared for equality.
    started: String,
}

impl Stamp {
    /// The stamp of a living process; `None` if there is no such process, or only its zombie.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let started = started(pid)?;
        Some(Self { pid, started })
    }

    /// The stamp of this process.
    pub(crate) fn of_self() -> Option<Self> {
        Self::of(Pid::this().as_raw())
    }

    /// Reads what `Display` wrote.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (pid, started) = line.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.to_owned() })
    }

    /// Whether this very process still lives.
    pub(crate) fn is_alive(&self) -> bool {
        started(self.pid).is_some_and(|started| started == self.started)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

/// When the process began, in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)).
#[cfg(target_os = "linux")]
fn started(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 2 is the program's name in parentheses and may itself hold spaces and parentheses.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// When the process began, as `ps` says it: there is no `/proc` to read.
#[cfg(not(target_os = "linux"))]
fn started(pid: i32) -> Option<String> {
    let pid = pid.to_string();
    let output =
        std::process::Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, started) = text.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// The namespace in which process numbers are counted. A run folder may be seen from another
/// container that shares the temp folder; numbers read there say nothing about our processes.
pub(crate) fn pid_namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().into_owned()
}

/// The arguments of a process, joined by spaces; empty if they cannot be read.
pub(crate) fn arguments(pid: i32) -> String {
    #[cfg(target_os = "linux")]
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    let bytes = std::process::Command::new("ps")
        .args(["-o", "args=", "-p", &pid.to_string()])
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Sends a signal to one process. That it is gone already is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, %signal, %error, "signal not delivered");
    }
}

/// Kills a process group. That it is gone already is no error.
pub(crate) fn kill_group(leader: i32) {
    if let Err(error) = killpg(Pid::from_raw(leader), Signal::SIGKILL) {
        tracing::debug!(leader, %error, "process group not killed");
    }
}

/// Waits until `condition` holds; says whether it did before `limit` was over.
///
/// Blocks the thread: for threads of our own and for `Drop`, never for a runtime's worker.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_file_and_knows_its_process() {
        let stamp = Stamp::of_self().expect("this process lives");
        assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp.clone()));
        assert!(stamp.is_alive());
        let reused = Stamp { pid: stamp.pid, started: "1".to_owned() };
        assert!(!reused.is_alive(), "the same number, begun at another time, is another process");
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("true").spawn().expect("true is there");
        let pid = i32::try_from(child.id()).expect("fits");
        assert!(wait_until(Duration::from_secs(10), || Stamp::of(pid).is_none()));
        child.wait().expect("it is our child");
    }
}
