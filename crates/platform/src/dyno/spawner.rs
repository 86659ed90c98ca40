//! The one thread that starts processes.
//!
//! `PR_SET_PDEATHSIG` fires when the *thread* that forked ends, not the process (prctl(2)). A
//! worker thread of a runtime may end at any time and would take its dynos along, so all of them
//! are started by a thread that lives as long as they do.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::group::{Group, Groups, Kind};
use super::shell::Shell;
use crate::container::Container;
use crate::error::Error;
use crate::logs::DynoOutput;
use crate::name::DynoName;

/// Starts that may wait for the thread; further callers wait for a place.
const QUEUE: usize = 64;
/// The last output of a process that has ended is waited for so long; a daemon that left the group
/// may hold the pipe for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) command: String,
    pub(crate) dir: PathBuf,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) ends: Ends,
    /// In which container, if in one.
    pub(crate) contained: Option<Contained>,
}

/// A process's part in a container.
#[derive(Clone, Debug)]
pub(crate) enum Contained {
    /// The container's own command: it ends with it.
    First(Arc<Container>),
    /// One more command beside it.
    Further(Arc<Container>),
}

/// What a process reads from and writes to.
#[derive(Clone, Debug)]
pub(crate) enum Ends {
    /// Reads nothing; two pipes take what it writes.
    Output,
    /// Three pipes.
    Pipes,
    /// A terminal, given as its inner side; the process leads a session on it.
    Terminal(Arc<OwnedFd>),
}

impl Ends {
    /// Whether the process leads a session, in which a shell gives each job a group of its own.
    pub(crate) fn is_session(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

/// A started process and its group.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) group: Group,
}

impl Process {
    /// Takes what it writes to the log, until it has ended.
    pub(crate) fn read(&mut self, output: DynoOutput) -> JoinSet<()> {
        let output = Arc::new(output);
        let mut readers = JoinSet::new();
        if let Some(pipe) = self.child.stdout.take() {
            let output = Arc::clone(&output);
            readers.spawn(async move { output.drain(pipe).await });
        }
        if let Some(pipe) = self.child.stderr.take() {
            readers.spawn(async move { output.drain(pipe).await });
        }
        readers
    }
}

/// Waits for what a process that has ended still wrote. Whoever holds its pipes by now has left the
/// group; such words are not waited for.
pub(crate) async fn last_output(mut readers: JoinSet<()>) {
    let rest = async { while readers.join_next().await.is_some() {} };
    let _still_open = timeout(LAST_OUTPUT, rest).await;
}

/// Why nothing was started.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// Everything is being ended.
    Closed,
    /// The system refused.
    Refused(io::Error),
}

impl NotStarted {
    /// The error of a dyno whose command was not started.
    pub(crate) fn of(self, dyno: &DynoName, command: &str) -> Error {
        let (dyno, command) = (dyno.clone(), command.to_owned());
        match self {
            Self::Closed => Error::ShuttingDown,
            Self::Refused(source) => Error::Spawn { dyno, command, source },
        }
    }
}

struct Order {
    launch: Launch,
    reply: oneshot::Sender<Result<Process, NotStarted>>,
}

/// A handle to the thread. The thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
    groups: Arc<Groups>,
}

impl Spawner {
    /// Starts the thread. Must be called within a tokio runtime, which then waits for the
    /// processes.
    pub(crate) fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel(QUEUE);
        let groups = Arc::new(Groups::default());
        let (runtime, shared) = (Handle::current(), Arc::clone(&groups));
        let thread = std::thread::Builder::new().name("dyno-spawner".to_owned());
        thread.spawn(move || serve(inbox, &runtime, &shared))?;
        Ok(Self { orders, groups })
    }

    /// Starts a process.
    pub(crate) async fn spawn(&self, launch: Launch) -> Result<Process, NotStarted> {
        let (reply, answer) = oneshot::channel();
        let order = Order { launch, reply };
        self.orders.send(order).await.map_err(|_| NotStarted::Closed)?;
        answer.await.unwrap_or(Err(NotStarted::Closed))
    }

    /// The groups of all processes started here.
    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }
}

fn serve(mut inbox: mpsc::Receiver<Order>, runtime: &Handle, groups: &Arc<Groups>) {
    let shell = Shell::discover();
    // The child is registered with this runtime, which reaps it.
    let _entered = runtime.enter();
    while let Some(Order { launch, reply }) = inbox.blocking_recv() {
        let kind = match &launch.contained {
            None if launch.ends.is_session() => Kind::Session,
            None | Some(Contained::First(_)) => Kind::Group,
            Some(Contained::Further(_)) => Kind::Helper,
        };
        let command = || match &launch.contained {
            None => shell.command(&launch),
            Some(contained) => shell.contained(&launch, contained),
        };
        let started = groups.start(kind, || command().and_then(|command| spawn(command, kind)));
        let answer = match started {
            None => Err(NotStarted::Closed),
            Some(Err(error)) => Err(NotStarted::Refused(error)),
            Some(Ok((child, group))) => Ok(Process { child, group }),
        };
        // If nobody waits for the answer any more, dropping it kills the process.
        let _unwanted = reply.send(answer);
    }
}

fn spawn(command: std::process::Command, kind: Kind) -> io::Result<(Child, i32)> {
    // A helper that is killed could not end what it started: its group asks it to.
    let kill = kind != Kind::Helper;
    let child = tokio::process::Command::from(command).kill_on_drop(kill).spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    // A child that was not waited for has an id; if it had none, dropping it would kill it.
    let id = id.ok_or_else(|| io::Error::other("the process has no id"))?;
    Ok((child, id))
}
