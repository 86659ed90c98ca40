//! Process groups: all processes of a dyno are signalled together, and none is left behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
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
    live: BTreeMap<i32, Kind>,
    closed: bool,
}

/// What belongs to a group that is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The processes of the group.
    Group,
    /// Those of the whole session that its leader leads: a shell with a terminal gives each job a
    /// group of its own.
    Session,
    /// The helper of one more command in a container, which alone can end that: SIGQUIT asks it
    /// to.
    Helper,
}

impl Groups {
    /// Starts a process under the lock, so that none can appear behind [`Groups::kill_all`].
    /// `None` if that was called.
    pub(super) fn start<T, E>(
        self: &Arc<Self>,
        kind: Kind,
        spawn: impl FnOnce() -> Result<(T, i32), E>,
    ) -> Option<Result<(T, Group), E>> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let started = spawn().map(|(process, id)| {
            state.live.insert(id, kind);
            (process, Group { id, kind, groups: Arc::clone(self) })
        });
        Some(started)
    }

    /// SIGKILL to every group; nothing can be started afterwards.
    pub(crate) fn kill_all(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for (id, kind) in std::mem::take(&mut state.live) {
            signal(id, kind, Signal::SIGKILL);
        }
    }
}

/// One process group. Dropping it kills what is left of it.
#[derive(Debug)]
pub(crate) struct Group {
    id: i32,
    kind: Kind,
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
        if state.live.contains_key(&self.id) {
            signal(self.id, self.kind, which);
        }
    }

    /// Whether a process of the group still runs. Processes that have ended and were only not
    /// yet waited for (by an init that is late or does not do it) do not count.
    pub(crate) fn is_alive(&self) -> bool {
        let signalled = || killpg(Pid::from_raw(self.id), None) != Err(Errno::ESRCH);
        (self.kind == Kind::Session || signalled())
            && members(self.id, self.kind).is_none_or(|members| !members.is_empty())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut state = self.groups.state.lock();
        if state.live.remove(&self.id).is_some() {
            signal(self.id, self.kind, Signal::SIGKILL);
        }
    }
}

fn signal(id: i32, kind: Kind, which: Signal) {
    let which = match (kind, which) {
        (Kind::Helper, Signal::SIGKILL) => Signal::SIGQUIT,
        _ => which,
    };
    // ESRCH means that all of them have ended, which is what every caller wants in the end.
    let _ended = killpg(Pid::from_raw(id), which);
    if kind == Kind::Session {
        let others = members(id, kind).unwrap_or_default().into_iter();
        for process in others.filter(|process| process.group != id) {
            let _ended = kill(Pid::from_raw(process.id), which);
        }
    }
}

/// The processes of a group or session that are no zombies, from /proc; `None` where there is no
/// such folder (macOS).
fn members(id: i32, kind: Kind) -> Option<Vec<Stat>> {
    let all = all_processes();
    let ours =
        |process: &Stat| process.group == id || (kind == Kind::Session && process.session == id);
    let seen_any = !all.is_empty();
    let members = all.into_iter().filter(|process| !process.is_zombie && ours(process)).collect();
    seen_any.then_some(members)
}

/// All processes that /proc shows; none where there is no such folder (macOS).
pub(super) fn all_processes() -> Vec<Stat> {
    let stat = |process: std::fs::DirEntry| {
        stat(&std::fs::read_to_string(process.path().join("stat")).ok()?)
    };
    std::fs::read_dir("/proc/").into_iter().flatten().flatten().filter_map(stat).collect()
}

/// What proc(5)'s `stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) id: i32,
    pub(super) is_zombie: bool,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
}

/// Fields 1 and 3 to 6; field 2 is the name in parentheses, which may hold spaces and parentheses
/// itself.
fn stat(line: &str) -> Option<Stat> {
    let (before, after_name) = line.rsplit_once(')')?;
    let id = before.split(' ').next()?.parse().ok()?;
    let mut fields = after_name.split_ascii_whitespace();
    let is_zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    Some(Stat { id, is_zombie, parent, group, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_state_parent_group_and_session_whatever_the_name() {
        let stat_of =
            |id, is_zombie, group, session| Some(Stat { id, is_zombie, parent: 1, group, session });
        assert_eq!(stat("12 (a) b) S 1 77 78 0"), stat_of(12, false, 77, 78));
        assert_eq!(stat("12 (sh) Z 1 12 12 0"), stat_of(12, true, 12, 12));
        assert_eq!(stat("nonsense"), None);
    }
}
