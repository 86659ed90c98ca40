//! A dyno's control group: who is in it, what it used, and its end. Versions 1 and 2 of cgroups(7),
//! also both beside each other.
//!
//! libcontainer makes the groups and sets their limits; here they are read and removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// One hierarchy of groups of this machine.
#[derive(Clone, Debug)]
struct Hierarchy {
    mounted: PathBuf,
    /// Version 2.
    unified: bool,
    /// `memory`, `cpu`, … of a hierarchy of version 1.
    options: Vec<String>,
}

/// A group, or a group of groups, that has the same path in all hierarchies.
#[derive(Debug)]
pub(crate) struct Cgroup {
    hierarchies: Vec<Hierarchy>,
    path: String,
}

/// What a dyno's processes use. What this machine does not tell is zero, or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Files held in memory.
    pub cache_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
    /// Most memory that was used at once, of all kinds.
    pub memory_bytes_max: u64,
    /// Pages charged and uncharged; version 1 only.
    pub paged: Option<(u64, u64)>,
    /// Processes that the kernel killed because there was no more memory for them.
    pub oom_kills: u64,
    /// Processor time.
    pub cpu_ms: u64,
    /// Time in which it was held back because a quota of processor time was used up.
    pub throttled_ms: u64,
    /// Processes and threads.
    pub tasks: u64,
    /// How much of the last ten seconds some task waited for a processor, memory, or a disk.
    pub pressure: Option<Pressure>,
}

/// Shares of the last ten seconds, in percent (the kernel's PSI, `some avg10`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Waiting for a processor.
    pub cpu_percent: f64,
    /// Waiting for memory.
    pub memory_percent: f64,
    /// Waiting for a disk.
    pub io_percent: f64,
}

impl Cgroup {
    /// The group of one container of a run.
    pub(super) fn new(run: &str, container: &str) -> Self {
        Self::at(&format!("/{run}/{container}"))
    }

    /// The group in which are those of all containers of a run.
    pub(super) fn of_run(run: &str) -> Self {
        Self::at(&format!("/{run}"))
    }

    /// The group of this path, counted from the mount point of each hierarchy.
    pub(super) fn at(path: &str) -> Self {
        Self { hierarchies: hierarchies(), path: path.to_owned() }
    }

    /// Its path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn folder(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.mounted.join(self.path.trim_start_matches('/'))
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(|hierarchy| self.folder(hierarchy))
    }

    /// Puts a process into the group of version 2 that is beside those of version 1.
    pub(super) fn join_unified(&self, pid: i32) -> io::Result<()> {
        for folder in self.unified() {
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    fn unified(&self) -> impl Iterator<Item = PathBuf> {
        let unified = self.hierarchies.iter().filter(|hierarchy| hierarchy.unified);
        unified.map(|hierarchy| self.folder(hierarchy))
    }

    /// Kills all that is in it or in a group within.
    pub(super) fn kill(&self) {
        // At once and with all that is being forked, where the kernel (5.14) can do that.
        for folder in self.unified() {
            let _not_there = fs::write(folder.join("cgroup.kill"), "1");
        }
        for folder in self.folders() {
            for pid in processes_below(&folder) {
                // It may have ended meanwhile.
                let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }

    /// Removes it and the groups within; says whether it is gone, which it cannot be while a
    /// process is in it.
    pub(super) fn remove(&self) -> bool {
        self.folders().all(|folder| remove_below(&folder))
    }

    /// The processes in it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        self.folders()
            .map(|folder| processes_in(&folder))
            .find(|all| !all.is_empty())
            .unwrap_or_default()
    }

    /// What it used; nothing once it is gone.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let mut usage = Usage::default();
        let mut there = false;
        for hierarchy in &self.hierarchies {
            let folder = self.folder(hierarchy);
            if folder.is_dir() {
                there = true;
                read(&folder, hierarchy, &mut usage);
            }
        }
        there.then_some(usage)
    }
}

/// Adds what one hierarchy tells.
fn read(folder: &Path, hierarchy: &Hierarchy, usage: &mut Usage) {
    let is = |name: &str| hierarchy.unified || hierarchy.options.iter().any(|one| one == name);
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    if hierarchy.unified {
        usage.pressure = pressure(folder).or(usage.pressure);
    }
    if is("memory") && (!hierarchy.unified || folder.join("memory.stat").exists()) {
        memory(folder, hierarchy.unified, usage);
    }
    if is("cpu") {
        let cpu = Table::read(&folder.join("cpu.stat"));
        let nanos = cpu.of("throttled_time").map(|nanos| nanos / 1_000_000);
        let micros = cpu.of("throttled_usec").map(|micros| micros / 1000);
        usage.throttled_ms = nanos.or(micros).unwrap_or(usage.throttled_ms);
        // A group of version 2 without controllers counts too, from when it was joined.
        let used = cpu.of("usage_usec").map_or(0, |micros| micros / 1000);
        usage.cpu_ms = usage.cpu_ms.max(used);
    }
    if is("cpuacct")
        && let Some(nanos) = number("cpuacct.usage")
    {
        usage.cpu_ms = usage.cpu_ms.max(nanos / 1_000_000);
    }
    if is("pids")
        && let Some(tasks) = number("pids.current")
    {
        usage.tasks = tasks;
    }
}

fn memory(folder: &Path, unified: bool, usage: &mut Usage) {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    let stat = Table::read(&folder.join("memory.stat"));
    if unified {
        usage.rss_bytes = stat.of("anon").unwrap_or(0);
        usage.cache_bytes = stat.of("file").unwrap_or(0);
        usage.swap_bytes = number("memory.swap.current").unwrap_or(0);
        usage.memory_bytes_max = number("memory.peak").unwrap_or(0);
        let events = Table::read(&folder.join("memory.events"));
        usage.oom_kills = events.of("oom_kill").unwrap_or(0);
    } else {
        usage.rss_bytes = stat.of("total_rss").unwrap_or(0);
        usage.cache_bytes = stat.of("total_cache").unwrap_or(0);
        usage.swap_bytes = stat.of("total_swap").unwrap_or(0);
        usage.memory_bytes_max = number("memory.max_usage_in_bytes").unwrap_or(0);
        usage.paged = stat.of("total_pgpgin").zip(stat.of("total_pgpgout"));
        let control = Table::read(&folder.join("memory.oom_control"));
        usage.oom_kills = control.of("oom_kill").unwrap_or(0);
    }
}

fn pressure(folder: &Path) -> Option<Pressure> {
    let of = |resource: &str| {
        let text = fs::read_to_string(folder.join(format!("{resource}.pressure"))).ok()?;
        some_avg10(&text)
    };
    let pressure = Pressure {
        cpu_percent: of("cpu")?,
        memory_percent: of("memory").unwrap_or(0.0),
        io_percent: of("io").unwrap_or(0.0),
    };
    Some(pressure)
}

/// `some avg10=1.23 avg60=…`
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// A file of lines `name number`.
struct Table(String);

impl Table {
    fn read(path: &Path) -> Self {
        Self(fs::read_to_string(path).unwrap_or_default())
    }

    fn of(&self, name: &str) -> Option<u64> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    }
}

fn processes_in(folder: &Path) -> Vec<i32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process of another namespace of processes.
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

fn groups_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

fn processes_below(folder: &Path) -> Vec<i32> {
    let mut all = processes_in(folder);
    all.extend(groups_in(folder).flat_map(|group| processes_below(&group)));
    all
}

fn remove_below(folder: &Path) -> bool {
    let within = groups_in(folder).all(|group| remove_below(&group));
    let gone = match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    within && gone
}

/// The hierarchies that are mounted, from proc(5)'s `mounts`.
fn hierarchies() -> Vec<Hierarchy> {
    parse(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// Where they are mounted.
#[cfg(target_os = "linux")]
pub(super) fn mounted() -> Vec<PathBuf> {
    hierarchies().into_iter().map(|hierarchy| hierarchy.mounted).collect()
}

fn parse(mounts: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut fields = line.split(' ');
        let (mounted, kind, options) = (fields.nth(1)?, fields.next()?, fields.next()?);
        let options: Vec<String> = options.split(',').map(str::to_owned).collect();
        // systemd's own hierarchy has no controller, and is no business of ours.
        let named = options.iter().any(|option| option.starts_with("name="));
        let ours = kind == "cgroup2" || (kind == "cgroup" && !named);
        ours.then(|| Hierarchy { mounted: mounted.into(), unified: kind == "cgroup2", options })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = parse(mounts);
        let places: Vec<_> = found.iter().map(|h| (h.mounted.to_str(), h.unified)).collect();
        assert_eq!(
            places,
            [(Some("/sys/fs/cgroup/cpu,cpuacct"), false), (Some("/sys/fs/cgroup/unified"), true)]
        );
    }

    /// A folder with the files of a group, as the kernel would have them.
    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn usage(options: &[&str], unified: bool, files: &[(&str, &str)]) -> Usage {
        let folder = group(files);
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let hierarchy = Hierarchy { mounted: folder.path().to_owned(), unified, options };
        let mut usage = Usage::default();
        read(folder.path(), &hierarchy, &mut usage);
        usage
    }

    #[test]
    fn both_versions_are_read() {
        let memory = "cache 5\nrss 1\ntotal_cache 50\ntotal_rss 100\ntotal_swap 7\n\
            total_pgpgin 3\ntotal_pgpgout 2\n";
        let one = usage(
            &["memory", "cpu", "pids"],
            false,
            &[
                ("memory.stat", memory),
                ("memory.max_usage_in_bytes", "200\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
                ("cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 5000000\n"),
                ("pids.current", "9\n"),
            ],
        );
        assert_eq!((one.rss_bytes, one.cache_bytes, one.swap_bytes), (100, 50, 7));
        assert_eq!((one.memory_bytes_max, one.paged, one.oom_kills), (200, Some((3, 2)), 2));
        assert_eq!((one.throttled_ms, one.tasks), (5, 9));

        let two = usage(
            &[],
            true,
            &[
                ("memory.stat", "anon 100\nfile 50\n"),
                ("memory.swap.current", "7\n"),
                ("memory.peak", "200\n"),
                ("memory.events", "oom 1\noom_kill 2\n"),
                ("cpu.stat", "usage_usec 11000\nthrottled_usec 5000\n"),
                ("pids.current", "9\n"),
                ("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n"),
            ],
        );
        assert_eq!((two.rss_bytes, two.cache_bytes, two.swap_bytes), (100, 50, 7));
        assert_eq!((two.memory_bytes_max, two.paged, two.oom_kills), (200, None, 2));
        assert_eq!((two.cpu_ms, two.throttled_ms), (11, 5));
        assert_eq!(two.pressure.map(|pressure| pressure.cpu_percent), Some(1.5));
    }
}
