//! The folder of one run, and what happens to it when its owner was killed.
//!
//! Everything a run leaves on disk (the cluster's data, sockets, dynos' files) lives in one folder
//! that is removed when its [`RunFolder`] is dropped. A killed owner cannot drop anything: so the
//! folder says whose it is and which processes belong to it, and the next start calls
//! [`sweep_leftovers`].
//!
//! ```text
//! <parent>/surgetank-<pid>-<random>/
//!     owner      pid, start time; pid namespace
//!     children   pid, start time; one line per process group
//!     …          whatever lives in it; a cluster as <name>/data
//! ```

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid};

use super::process::{self, Stamp};
use crate::random;

const PREFIX: &str = "surgetank-";
const OWNER: &str = "owner";
const CHILDREN: &str = "children";

/// How long a postmaster may take to die of SIGQUIT before the sweep kills it.
const QUIT_LIMIT: Duration = Duration::from_secs(5);

/// The folder of one run. Dropping it removes it with everything in it.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The environment variable that marks every process of a run, with the folder's path as its
    /// value. Set it for children: the sweep finds those by it whose group leader has gone.
    pub const VARIABLE: &'static str = "SURGETANK_RUN_FOLDER";

    /// Makes a new folder under `parent` (which is made too) and writes down that it is ours.
    ///
    /// # Errors
    /// If the folder cannot be made or written to.
    pub fn create(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        // The path goes to other processes, which have other working folders.
        let parent = parent.canonicalize()?;
        // The number is in the name too: a sweep that comes between the next two calls must not
        // take a folder without an `owner` file for an abandoned one.
        let path = parent.join(format!("{PREFIX}{}-{}", Pid::this(), random::hex(4)?));
        fs::create_dir(&path)?;
        let folder = Self { path };
        // As root, the server runs as another user and must be able to walk through.
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        fs::set_permissions(&folder.path, Permissions::from_mode(mode))?;
        let stamp = Stamp::of_self().ok_or_else(|| io::Error::other("no /proc, no ps"))?;
        let owner = format!("{stamp}\n{}\n", process::pid_namespace());
        fs::write(folder.path.join(OWNER), owner)?;
        File::create(folder.path.join(CHILDREN))?;
        Ok(folder)
    }

    /// Where it is: absolute, without symbolic links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, unique on this machine: what a run has elsewhere (control groups) is called so
    /// too.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.path)
    }

    /// Writes down that the process group led by `pid` belongs to this run, so that it is killed
    /// with the run's other leftovers should this process be killed. Call it right after the child
    /// was started with a group of its own. A child that has ended already is not written down.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn note_child(&self, pid: u32) -> io::Result<()> {
        let Some(stamp) = i32::try_from(pid).ok().and_then(Stamp::of) else { return Ok(()) };
        let mut children = OpenOptions::new().append(true).open(self.path.join(CHILDREN))?;
        // One write per line: two threads may note children at once.
        children.write_all(format!("{stamp}\n").as_bytes())
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        crate::container::sweep(&self.name());
        remove(&self.path);
    }
}

/// What the sweep found and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The folder, now gone.
    pub path: PathBuf,
    /// Processes of it that still ran and were stopped: postmasters, leaders of noted process
    /// groups, marked orphans.
    pub stopped: Vec<i32>,
}

/// `/tmp/surgetank-1-ab (2 processes stopped)`
impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.stopped.len() {
            0 => Ok(()),
            1 => f.write_str(" (1 process stopped)"),
            more => write!(f, " ({more} processes stopped)"),
        }
    }
}

/// Ends what runs under `parent` left behind because they were killed: stops their postmasters
/// and processes, removes their folders, and says so. Folders of living runs, of other users
/// and of other containers are left alone.
///
/// Blocks for as long as a postmaster takes to stop, at most some seconds.
#[must_use]
pub fn sweep_leftovers(parent: &Path) -> Vec<Swept> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut swept: Vec<Swept> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .filter_map(|entry| entry.path().canonicalize().ok())
        .filter(|path| is_abandoned(path))
        .map(sweep)
        .collect();
    swept.sort_by(|a, b| a.path.cmp(&b.path));
    swept
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether the folder is ours to remove and its owner is dead.
fn is_abandoned(path: &Path) -> bool {
    // Anybody may make a folder of this name in a shared temp folder and write numbers into it.
    let ours = fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == Uid::effective().as_raw());
    if !ours {
        return false;
    }
    let owner = fs::read_to_string(path.join(OWNER)).unwrap_or_default();
    let mut lines = owner.lines();
    match (lines.next().and_then(Stamp::parse), lines.next()) {
        (Some(stamp), Some(namespace)) => {
            namespace == process::pid_namespace() && !stamp.is_alive()
        }
        // Not written yet, or its writer was killed between the two: the name decides.
        _ => pid_in_name(path).is_some_and(|pid| Stamp::of(pid).is_none()),
    }
}

fn pid_in_name(path: &Path) -> Option<i32> {
    let rest = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    rest.split_once('-')?.0.parse().ok()
}

fn sweep(path: PathBuf) -> Swept {
    let mut stopped = stop_postmasters(&path);
    let children = fs::read_to_string(path.join(CHILDREN)).unwrap_or_default();
    for stamp in children.lines().filter_map(Stamp::parse) {
        if stamp.is_alive() {
            process::kill_group(stamp.pid());
            stopped.push(stamp.pid());
        }
    }
    let marked = marked_processes(&path);
    for pid in &marked {
        process::signal(*pid, Signal::SIGKILL);
    }
    stopped.extend(marked);
    stopped.sort_unstable();
    stopped.dedup();
    process::wait_until(QUIT_LIMIT, || stopped.iter().all(|pid| Stamp::of(*pid).is_none()));
    crate::container::sweep(&name(&path));
    remove(&path);
    tracing::info!(path = %path.display(), ?stopped, "leftovers of a killed run removed");
    Swept { path, stopped }
}

/// Stops the postmasters whose data is in this folder.
fn stop_postmasters(path: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut stopped = Vec::new();
    for data in entries.flatten().map(|entry| entry.path().join("data")) {
        let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let Some(pid) = file.lines().next().and_then(|line| line.trim().parse::<i32>().ok()) else {
            continue;
        };
        // The file belongs to the server's user and may be old: only a process that says on its
        // command line that it serves this very folder is stopped.
        if pid <= 1 || !process::arguments(pid).contains(&*data.to_string_lossy()) {
            continue;
        }
        process::signal(pid, Signal::SIGQUIT);
        if !process::wait_until(QUIT_LIMIT, || Stamp::of(pid).is_none()) {
            process::signal(pid, Signal::SIGKILL);
        }
        stopped.push(pid);
    }
    stopped
}

/// Living processes that carry the run's mark in their environment.
#[cfg(target_os = "linux")]
fn marked_processes(path: &Path) -> Vec<i32> {
    let mark = format!("{}={}", RunFolder::VARIABLE, path.display());
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        // We may have been started from within the dead run ourselves.
        .filter(|pid| *pid != Pid::this().as_raw())
        .filter(|pid| {
            // Of other users' processes this cannot be read, and they are not ours.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        })
        .filter(|pid| Stamp::of(*pid).is_some())
        .collect()
}

/// Other systems do not show a process's environment: there the noted groups must do.
#[cfg(not(target_os = "linux"))]
fn marked_processes(_path: &Path) -> Vec<i32> {
    Vec::new()
}

/// Removes a folder; another's process may still be writing its last file into it.
pub(crate) fn remove(path: &Path) {
    let mut last = None;
    let gone = process::wait_until(Duration::from_secs(2), || match fs::remove_dir_all(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            if error.kind() == io::ErrorKind::PermissionDenied {
                open_up(path);
            }
            last = Some(error);
            false
        }
    });
    if let (false, Some(error)) = (gone, last) {
        tracing::warn!(path = %path.display(), %error, "folder not removed");
    }
}

/// Gives an ordinary user their own folders back: a dyno may have closed them, and the kernel
/// closes the one in which an overlay works.
fn open_up(path: &Path) {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if is_folder && fs::set_permissions(path, Permissions::from_mode(0o700)).is_ok() {
        fs::read_dir(path).into_iter().flatten().flatten().for_each(|entry| open_up(&entry.path()));
    }
}
