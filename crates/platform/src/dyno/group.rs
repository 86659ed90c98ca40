//! Process groups: all processes of a dyno are signalled together, and none is left behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use parking_lot::Mutex;

/// Every process group that we started and that may still live.
///
/// The one place that can end them all at once, also from `Drop` and without a runtime.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeSet<i32>,
    closed: bool,
}

impl Groups {
    /// Starts a process under the lock, so that none can appear behind [`Groups::kill_all`].
    /// `None` if that was called.
    pub(super) fn start<T, E>(
        self: &Arc<Self>,
        spawn: impl FnOnce() -> Result<(T, i32), E>,
    ) -> Option<Result<(T, Group), E>> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let started = spawn().map(|(process, id)| {
            state.live.insert(id);
            (process, Group { id, groups: Arc::clone(self) })
        });
        Some(started)
    }

    /// SIGKILL to every group; nothing can be started afterwards.
    pub(crate) fn kill_all(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for id in std::mem::take(&mut state.live) {
            signal(id, Signal::SIGKILL);
        }
    }
}

/// One process group. Dropping it kills what is left of it.
#[derive(Debug)]
pub(crate) struct Group {
    id: i32,
    groups: Arc<Groups>,
}

impl Group {
    /// The process id of its leader.
    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Sends a signal to every process of the group.
    pub(crate) fn signal(&self, which: Signal) {
        // Under the lock: after `kill_all` the number may already belong to somebody else.
        let state = self.groups.state.lock();
        if state.live.contains(&self.id) {
            signal(self.id, which);
        }
    }

    /// Whether a process of the group still runs. Processes that have ended and were only not
    /// yet waited for (by an init that is late or does not do it) do not count.
    pub(crate) fn is_alive(&self) -> bool {
        killpg(Pid::from_raw(self.id), None) != Err(Errno::ESRCH)
            && running_in(self.id).unwrap_or(true)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut state = self.groups.state.lock();
        if state.live.remove(&self.id) {
            signal(self.id, Signal::SIGKILL);
        }
    }
}

fn signal(group: i32, which: Signal) {
    // ESRCH means that all of them have ended, which is what every caller wants in the end.
    let _ended = killpg(Pid::from_raw(group), which);
}

/// Looks through /proc for a process of this group that is no zombie; `None` where there is no
/// such folder (macOS).
fn running_in(group: i32) -> Option<bool> {
    let processes = std::fs::read_dir("/proc/").ok()?;
    let mut seen_any = false;
    for process in processes.flatten() {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        seen_any = true;
        if state_and_group(&stat).is_some_and(|(state, id)| id == group && state != "Z") {
            return Some(true);
        }
    }
    seen_any.then_some(false)
}

/// Fields 3 and 5 of proc(5)'s `stat`; field 2 is the name in parentheses, which may hold spaces
/// and parentheses itself.
fn state_and_group(stat: &str) -> Option<(&str, i32)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some((state, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_state_and_group_whatever_the_name() {
        assert_eq!(state_and_group("12 (a) b) S 1 77 77 0"), Some(("S", 77)));
        assert_eq!(state_and_group("12 (sh) Z 1 12 12 0"), Some(("Z", 12)));
        assert_eq!(state_and_group("nonsense"), None);
    }
}
