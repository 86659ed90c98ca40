//! Where it is read what a dyno uses: from its control group, which counts everything, or, if it
//! has none, from the processes that it consists of at the moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::group::{Stat, all_processes};
use crate::container::{Cgroup, Container, Usage};

/// Ticks of processor time in a second: the same for every program (`USER_HZ`, time(7)).
const TICKS_PER_SECOND: u64 = 100;
const KIB: u64 = 1024;

/// What is read for one dyno.
#[derive(Clone, Debug)]
pub(super) enum Meter {
    Group(Arc<Cgroup>),
    /// The processes that this one started, and what they started.
    Below(i32),
    /// This process too, and whoever is in the group that it leads.
    From(i32),
}

impl Meter {
    /// That of a dyno whose first process, in this container or none, we started.
    pub(super) fn of(container: Option<&Arc<Container>>, pid: i32) -> Self {
        match container.map(|container| container.cgroup()) {
            Some(Some(cgroup)) => Self::Group(Arc::clone(cgroup)),
            // It is the helper, which is ours and no part of the dyno.
            Some(None) => Self::Below(pid),
            None => Self::From(pid),
        }
    }

    /// What the dyno uses; nothing once it is gone, or where the system does not tell.
    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Group(cgroup) => cgroup.usage(),
            Self::Below(_) | Self::From(_) => {
                let processes = self.processes();
                (!processes.is_empty()).then(|| added_up(&processes))
            }
        }
    }

    /// The ids of its processes.
    pub(super) fn processes(&self) -> Vec<i32> {
        match self {
            Self::Group(cgroup) => cgroup.processes(),
            Self::Below(pid) => {
                let mut all = family(*pid, &all_processes());
                all.remove(pid);
                all.into_iter().collect()
            }
            Self::From(pid) => family(*pid, &all_processes()).into_iter().collect(),
        }
    }
}

/// A process, its group, and all that descends from these: who lost a parent is found by the
/// group.
fn family(first: i32, all: &[Stat]) -> BTreeSet<i32> {
    let in_group = all.iter().filter(|one| one.id == first || one.group == first);
    let mut family: BTreeSet<i32> = in_group.map(|one| one.id).collect();
    loop {
        let known = family.len();
        let children = all.iter().filter(|one| family.contains(&one.parent));
        let children: Vec<i32> = children.map(|one| one.id).collect();
        family.extend(children);
        if family.len() == known {
            return family;
        }
    }
}

/// What these processes use together. Memory that several of them share through fork(2) counts for
/// each; the most there ever was, and files held in memory, nobody counts.
fn added_up(processes: &[i32]) -> Usage {
    let mut usage = Usage::default();
    for pid in processes {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        // It may have ended meanwhile.
        let (Ok(status), Ok(stat)) = (read("status"), read("stat")) else { continue };
        let kib = |name: &str| field(&status, name).unwrap_or(0) * KIB;
        usage.rss_bytes += kib("RssAnon:") + kib("RssShmem:");
        usage.swap_bytes += kib("VmSwap:");
        usage.tasks += field(&status, "Threads:").unwrap_or(0);
        usage.cpu_ms += ticks(&stat).unwrap_or(0) * 1000 / TICKS_PER_SECOND;
    }
    usage
}

/// `VmSwap:     12 kB`
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Processor time of one process (fields 14 and 15 of proc(5)'s `stat`).
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: i32, parent: i32, group: i32) -> Stat {
        Stat { id, is_zombie: false, parent, group, session: group }
    }

    #[test]
    fn a_family_is_all_that_came_of_a_process() {
        // 5 lost its parent, 6 is its child in a group of its own; 9 and 10 are others.
        let all = [
            process(2, 1, 2),
            process(3, 2, 2),
            process(4, 3, 4),
            process(6, 5, 6),
            process(5, 1, 2),
            process(9, 1, 9),
            process(10, 9, 9),
        ];
        assert_eq!(family(2, &all), BTreeSet::from([2, 3, 4, 5, 6]));
        assert!(family(77, &all).is_empty());
    }

    #[test]
    fn a_process_is_read_as_proc_shows_it() {
        let status = "Name:\tx\nRssAnon:\t    1234 kB\nVmSwap:\t       5 kB\nThreads:\t3\n";
        assert_eq!(field(status, "RssAnon:"), Some(1234));
        assert_eq!(field(status, "VmSwap:"), Some(5));
        assert_eq!(field(status, "Threads:"), Some(3));
        assert_eq!(field(status, "VmPeak:"), None);
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_something() {
        let own = i32::try_from(std::process::id()).unwrap();
        let usage = Meter::From(own).usage().unwrap();
        assert!(usage.rss_bytes > 0 && usage.tasks > 0, "{usage:?}");
        assert_eq!(Meter::From(i32::MAX).usage(), None);
    }
}
