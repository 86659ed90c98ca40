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
//!   which [`RunFolder`] and the sweep of leftovers find it.

mod cgroup;
#[cfg(target_os = "linux")]
mod helper;
#[cfg(target_os = "linux")]
mod init;
mod network;
mod plan;
#[cfg(target_os = "linux")]
mod userns;

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use cgroup::Cgroup;
pub use cgroup::{Pressure, Usage};
#[cfg(target_os = "linux")]
pub use helper::main as helper_main;
pub(crate) use network::Network;
use network::{Maker, Opened};
use userns::Keeper;

use crate::dyno::Size;
use crate::name::DynoName;
use crate::postgres::RunFolder;

/// The app's folder as a dyno sees it, also its `HOME`.
pub(crate) const APP: &str = "/app";
/// The port of every web dyno that has a loopback of its own.
pub(crate) const OWN_PORT: u16 = 5000;
/// Folder of one run's containers, within the run's folder.
const CONTAINERS: &str = "dynos";
/// How long the processes of a dead container may take to be gone from its cgroup.
const GONE: Duration = Duration::from_secs(5);
/// How long the container that only tries things out may take.
const CHECK: Duration = Duration::from_secs(20);

/// Serves a port of a dyno's own loopback, for as long as what it returns is kept.
pub type ServePort =
    Arc<dyn Fn(&DynoName, TcpListener) -> io::Result<Box<dyn Any + Send + Sync>> + Send + Sync>;

/// What dynos may reach over the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Nothing but what is served on their own loopback: their database.
    #[default]
    Database,
    /// All that this machine reaches: they share its network.
    All,
}

/// How dynos become containers.
#[derive(Clone)]
pub struct ContainerOptions {
    /// Where their files are, and by whose name leftovers are found.
    pub run: Arc<RunFolder>,
    /// The program, with its first words, that calls [`helper_main`] with the words that follow.
    pub helper: Vec<OsString>,
    /// Programs that dynos find by their names, read-only: name, file.
    pub programs: Vec<(String, PathBuf)>,
    /// Further files and folders that dynos see where they are, read-only.
    pub binds: Vec<PathBuf>,
    /// What they may reach.
    pub egress: Egress,
    /// What they find on ports of their own loopback (without [`Egress::All`]).
    pub ports: Vec<(u16, ServePort)>,
    /// For an ordinary user: in user namespaces, without control groups.
    rootless: bool,
    numbers: Arc<AtomicU64>,
}

impl fmt::Debug for ContainerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &mut f.debug_struct("ContainerOptions");
        options.field("run", &self.run).field("egress", &self.egress).finish_non_exhaustive()
    }
}

impl ContainerOptions {
    /// Containers in the folder of this run, with no port served.
    #[must_use]
    pub fn new(run: Arc<RunFolder>, helper: Vec<OsString>) -> Self {
        Self {
            run,
            helper,
            programs: Vec::new(),
            binds: Vec::new(),
            egress: Egress::default(),
            ports: Vec::new(),
            rootless: !nix::unistd::Uid::effective().is_root(),
            numbers: Arc::default(),
        }
    }

    /// Whether a dyno has no more memory and processor time than its size says. Not for an ordinary
    /// user, who has no control groups.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        !self.rootless
    }

    /// A helper with these words.
    fn helper<'a>(&self, words: impl IntoIterator<Item = &'a OsStr>) -> Command {
        let mut own = self.helper.iter();
        let mut helper = Command::new(own.next().map_or("surgetank".into(), Clone::clone));
        helper.args(own).args(words);
        helper.env_clear().env(RunFolder::VARIABLE, self.run.path());
        helper.current_dir("/");
        helper
    }

    /// Makes what a container of this run needs before it starts: the namespaces that this process
    /// has to hold.
    fn open(&self) -> io::Result<Opened> {
        let ports = self.ports.iter().map(|(port, _)| *port);
        let maker = match (self.egress, self.rootless) {
            (Egress::All, false) => return Ok(Opened::default()),
            (Egress::All, true) => {
                let shared = [OsStr::new("keep"), OsStr::new(userns::SHARED)];
                // The namespace outlives who made it, as it is held here.
                let (_made_it, made) = Keeper::start(self.helper(shared))?;
                return Ok(Opened { user: made.user, ..Opened::default() });
            }
            (Egress::Database, false) => Maker::Thread(ports.collect()),
            (Egress::Database, true) => {
                let mut keep = self.helper([OsStr::new("keep")]);
                keep.args(ports.map(|port| port.to_string()));
                Maker::Keeper(keep)
            }
        };
        Network::open(maker)
    }

    /// Tries a container out, from beginning to end. Blocks for some tens of milliseconds.
    ///
    /// # Errors
    /// Why dynos cannot be containers here, for people.
    pub fn check(self: &Arc<Self>) -> Result<(), String> {
        if !cfg!(target_os = "linux") {
            return Err("containers need Linux".to_owned());
        }
        self.try_out().map_err(|error| format!("a container could not be started: {error}"))
    }

    fn try_out(self: &Arc<Self>) -> io::Result<()> {
        let app_dir = self.run.path().join("check");
        fs::create_dir_all(&app_dir)?;
        let wanted = Wanted { name: &DynoName::new("check", 1), size: Size::default() };
        let container = Container::create(self, &app_dir, &wanted)?;
        let plan =
            plan::Command { words: vec!["/bin/sh".into(), "-c".into(), ":".into()], env: &[] };
        let mut helper = container.start(&plan)?;
        helper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut helper = helper.spawn()?;
        let mut status = None;
        let ended = crate::postgres::wait_until(CHECK, || {
            status = helper.try_wait().ok().flatten();
            status.is_some()
        });
        if !ended {
            helper.kill()?;
            helper.wait()?;
        }
        let failure = container.failure();
        drop(container);
        match (status, failure) {
            (Some(status), None) if status.success() => Ok(()),
            (_, Some(failure)) => Err(io::Error::other(failure)),
            (Some(status), None) => {
                Err(io::Error::other(format!("its helper ended with {status}")))
            }
            (None, None) => Err(io::Error::other("it did not end in time")),
        }
    }
}

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
        self.options.helper(words.iter().map(OsString::as_os_str))
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
