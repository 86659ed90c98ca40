//! How dynos become containers, as whoever starts them wants it; and whether they can.

use std::any::Any;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::network::{Maker, Network, Opened};
use super::userns::{self, Keeper};
use super::{Container, Wanted, plan};
use crate::dyno::Size;
use crate::name::DynoName;
use crate::postgres::RunFolder;

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
    /// The program, with its first words, that calls [`helper_main`](super::helper_main) with the
    /// words that follow.
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
    pub(super) rootless: bool,
    pub(super) numbers: Arc<AtomicU64>,
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
    pub(super) fn helper_command<'a>(&self, words: impl IntoIterator<Item = &'a OsStr>) -> Command {
        let mut own = self.helper.iter();
        let mut helper = Command::new(own.next().map_or("surgetank".into(), Clone::clone));
        helper.args(own).args(words);
        helper.env_clear().env(RunFolder::VARIABLE, self.run.path());
        helper.current_dir("/");
        helper
    }

    /// Makes what a container of this run needs before it starts: the namespaces that this process
    /// has to hold.
    pub(super) fn open(&self) -> io::Result<Opened> {
        let ports = self.ports.iter().map(|(port, _)| *port);
        let maker = match (self.egress, self.rootless) {
            (Egress::All, false) => return Ok(Opened::default()),
            (Egress::All, true) => {
                let shared = [OsStr::new("keep"), OsStr::new(userns::SHARED)];
                // The namespace outlives who made it, as it is held here.
                let (_made_it, made) = Keeper::start(self.helper_command(shared))?;
                return Ok(Opened { user: made.user, ..Opened::default() });
            }
            (Egress::Database, false) => Maker::Thread(ports.collect()),
            (Egress::Database, true) => {
                let mut keep = self.helper_command([OsStr::new("keep")]);
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
