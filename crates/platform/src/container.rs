//! A dyno as a container: a process tree that sees its own processes, its own loopback, a read-only
//! system, and a copy of the app's folder that is thrown away with it.
//!
//! ```text
//!   surgetank ──spawns──▶ helper (`surgetank __dyno`, one thread)      helper.rs
//!      │                     │ libcontainer: namespaces, mounts, cgroups from the plan   plan.rs
//!      │                     ▼
//!      │                  PID 1 of the dyno (ours) ──▶ bash -c 'exec CMD'                init.rs
//!      │                     forwards signals to all, reaps all, ends with CMD's status
//!      └─ holds: the network namespace (network.rs), the cgroup (cgroup.rs), the folder
//! ```
//!
//! For an ordinary user all of that is within a user namespace (userns.rs), and there is no cgroup:
//! what a dyno uses is seen, but of its limits only that of processes holds.
//!
//! Invariants:
//! * Nothing of a container is made in this process but its network namespace, and that on a thread
//!   of its own: `clone` without `exec` from a process with many threads may deadlock.
//! * The helper dies with the thread that started it, PID 1 dies with the helper, and all of the
//!   dyno dies with PID 1.
//! * What is left on disk and in the cgroup file systems bears the name of the run's folder, by
//!   which [`RunFolder`](crate::postgres::RunFolder) and the sweep of leftovers find it.

mod cgroup;
#[cfg(target_os = "linux")]
mod helper;
#[cfg(target_os = "linux")]
mod init;
mod network;
mod options;
mod plan;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
mod userns;

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use cgroup::Cgroup;
pub use cgroup::{Pressure, Usage};
#[cfg(target_os = "linux")]
pub use helper::main as helper_main;
pub(crate) use network::Network;
use network::Opened;
pub use options::{ContainerOptions, Egress, ServePort};

use crate::dyno::Size;
use crate::name::DynoName;

/// The app's folder as a dyno sees it, also its `HOME`.
pub(crate) const APP: &str = "/app";
/// The port of every web dyno that has a loopback of its own.
pub(crate) const OWN_PORT: u16 = 5000;
/// Folder of one run's containers, within the run's folder.
const CONTAINERS: &str = "dynos";
/// How long the processes of a dead container may take to be gone from its cgroup.
const GONE: Duration = Duration::from_secs(5);
/// What a container is for.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a DynoName,
    pub(crate) size: Size,
}

/// One container, seen from outside: all that must be there before its first process starts and
/// must go after its last has ended. Dropping it ends what is left in it.
pub(crate) struct Container {
    options: Arc<ContainerOptions>,
    folder: PathBuf,
    app_dir: PathBuf,
    hostname: String,
    size: Size,
    /// None for an ordinary user.
    cgroup: Option<Arc<Cgroup>>,
    network: Option<Arc<Network>>,
    /// The user namespace, of an ordinary user.
    user: Option<File>,
    /// What serves its ports; before the folder, after the processes.
    _served: Vec<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A further command in a running container, as the helper reads it.
#[derive(Debug, Serialize, Deserialize)]
struct Joining {
    words: Vec<String>,
    env: Vec<(String, String)>,
}

impl Container {
    /// Makes folder, network and cgroup name. Blocks for a moment.
    pub(crate) fn create(
        options: &Arc<ContainerOptions>,
        app_dir: &Path,
        wanted: &Wanted<'_>,
    ) -> io::Result<Self> {
        let number = options.numbers.fetch_add(1, Ordering::Relaxed);
        // Two processes of one dyno may overlap for a moment: the number keeps them apart.
        let id = format!("{}-{number}", wanted.name);
        let folder = options.run.path().join(CONTAINERS).join(&id);
        let run = options.run.name();
        let mut served = Vec::new();
        let Opened { network, user, listeners } = options.open()?;
        for (listener, (_, serve)) in listeners.into_iter().zip(&options.ports) {
            served.push(serve(wanted.name, listener)?);
        }
        for part in ["rootfs", "upper", "work", "tmp", "state"] {
            fs::create_dir_all(folder.join(part))?;
        }
        Ok(Self {
            options: Arc::clone(options),
            app_dir: app_dir.to_owned(),
            hostname: wanted.name.to_string(),
            size: wanted.size,
            cgroup: options.has_limits().then(|| Arc::new(Cgroup::new(&run, &id))),
            network,
            user,
            folder,
            _served: served,
        })
    }

    /// The command that starts its first process; that of a helper, which ends when all of it does.
    pub(crate) fn start(&self, command: &plan::Command<'_>) -> io::Result<Command> {
        let plan = plan::Plan {
            folder: &self.folder,
            app_dir: &self.app_dir,
            hostname: &self.hostname,
            size: self.size,
            cgroup: self.cgroup.as_deref().map(Cgroup::path),
            network: self.network.as_deref().map(Network::path),
            options: &self.options,
        };
        plan.write(command)?;
        Ok(self.helper("start"))
    }

    /// The command that runs one more process in it, with this environment.
    pub(crate) fn join(&self, command: &plan::Command<'_>) -> io::Result<Command> {
        let number = self.options.numbers.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("join-{number}.json"));
        let joining = Joining { words: command.words.clone(), env: self.environment(command.env) };
        plan::write_secret(&file, &serde_json::to_vec(&joining)?)?;
        let mut helper = self.helper("join");
        helper.arg(file);
        Ok(helper)
    }

    fn helper(&self, verb: &str) -> Command {
        let mut words = Vec::new();
        if let Some(user) = &self.user {
            let network = self.network.as_deref().map(Network::path);
            words.extend(["within".into(), network::path(user).into_os_string()]);
            words.push(network.map_or(userns::SHARED.into(), PathBuf::into_os_string));
            words.extend(self.options.helper.iter().skip(1).cloned());
        }
        words.extend([verb.into(), self.folder.clone().into_os_string()]);
        self.options.helper_command(words.iter().map(OsString::as_os_str))
    }

    /// An environment as it has to be within: other folders have other places.
    pub(crate) fn environment(&self, env: &[(String, String)]) -> Vec<(String, String)> {
        plan::environment(env, &self.app_dir, self.options.run.path())
    }

    /// How it is called in samples: the dyno, and which of its containers.
    pub(crate) fn source(&self) -> String {
        let id = self.folder.file_name().unwrap_or_default().display();
        format!("source={} dyno=surgetank.{}.{id}", self.hostname, self.options.run.name())
    }

    /// Its own network, unless it shares the machine's.
    pub(crate) fn network(&self) -> Option<&Arc<Network>> {
        self.network.as_ref()
    }

    /// Its control group, if it has one.
    pub(crate) fn cgroup(&self) -> Option<&Arc<Cgroup>> {
        self.cgroup.as_ref()
    }

    /// Why it could not be started, if that is how it ended.
    pub(crate) fn failure(&self) -> Option<String> {
        fs::read_to_string(self.folder.join(FAILURE)).ok()
    }

    /// Ends what is left of it and removes its traces; returns when they are gone.
    pub(crate) async fn remove(self: Arc<Self>) {
        // Waits for the kernel, so not on a worker of the runtime. Nobody aborts it.
        let _removed = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let gone = self.cgroup.as_ref().is_none_or(|cgroup| {
            crate::postgres::wait_until(GONE, || {
                cgroup.kill();
                cgroup.remove()
            })
        });
        if !gone {
            tracing::warn!(folder = %self.folder.display(), "cgroup of a dyno not removed");
        }
        crate::postgres::remove_folder(&self.folder);
    }
}

/// Ends and removes what the containers of a run, named by its folder, left in the cgroup file
/// systems. Waits for the kernel, but not for ever.
pub(crate) fn sweep(run: &str) {
    // An empty name would be everything there is.
    if run.is_empty() {
        return;
    }
    let cgroup = Cgroup::of_run(run);
    crate::postgres::wait_until(GONE, || {
        cgroup.kill();
        cgroup.remove()
    });
}

/// The file in which a helper says why it failed.
const FAILURE: &str = "failure";

/// There are none on other systems.
#[cfg(not(target_os = "linux"))]
mod userns {
    use std::{io, process::Command};

    pub(super) const SHARED: &str = "-";
    pub(super) const NO_GROUP: &str = "/";

    pub(super) fn counts_processes() -> bool {
        false
    }

    #[derive(Debug)]
    pub(super) struct Keeper;

    impl Keeper {
        pub(super) fn start(_: Command) -> io::Result<(Self, super::network::Made)> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn connectable(&self) -> io::Result<std::net::TcpStream> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// There is nothing to help with where there are no containers.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn helper_main(_words: &[OsString]) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}

pub(crate) use plan::Command as ContainerCommand;
