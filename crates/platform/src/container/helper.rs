//! The helper: a process with one thread that starts a container, or one more command in it, waits
//! for its end, and ends as it did.
//!
//! Signals sent to it are passed on. It is killed with the thread that started it, and what it
//! started with it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::init::{First, Further};
use super::{Cgroup, FAILURE, Joining, userns};

/// Exit status of a helper that failed; the file [`FAILURE`] says why. As docker(1) has it.
const FAILED: u8 = 125;

/// What libcontainer calls the container; each has a folder of its own for its state.
const ID: &str = "dyno";
/// How long the first command of a container may take to start, for one that wants to join it.
const STARTING: Duration = Duration::from_secs(5);

/// What goes wrong before there is a status to pass on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("not called as a helper")]
    Words,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    System(#[from] Errno),
    #[error(transparent)]
    Order(#[from] serde_json::Error),
    #[error("{}", chain(.0))]
    Container(#[from] LibcontainerError),
}

/// An error with its causes: libcontainer's own words are only the outermost.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The whole of a helper process: call it first thing in `main`, before a second thread exists,
/// with the words that follow [`super::ContainerOptions::helper`].
#[must_use]
pub fn main(words: &[OsString]) -> ExitCode {
    let done = match words {
        [verb, folder] if verb == "start" => start(Path::new(folder)),
        [verb, folder, order] if verb == "join" => join(Path::new(folder), Path::new(order)),
        [verb, ports @ ..] if verb == "keep" => keep(ports),
        [verb, user, network, rest @ ..] if verb == "within" => {
            let error = userns::within(Path::new(user), Path::new(network), rest);
            tell(rest, &error.into());
            return ExitCode::from(FAILED);
        }
        _ => Err(Failure::Words),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            tell(words, &failure);
            ExitCode::from(FAILED)
        }
    }
}

fn keep(words: &[OsString]) -> Result<u8, Failure> {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    userns::keep(&words.ok_or(Failure::Words)?)?;
    Ok(0)
}

/// Says why it failed: where the platform looks for it, or, of a further command, to whoever reads
/// what that writes.
fn tell(words: &[OsString], failure: &Failure) {
    let _unread = match words {
        [.., verb, folder] if verb == "start" => {
            fs::write(Path::new(folder).join(FAILURE), failure.to_string())
        }
        _ => writeln!(io::stderr(), "surgetank: {failure}"),
    };
}

/// The container of this folder; its state is below the folder too.
fn builder(folder: &Path) -> Result<ContainerBuilder, Failure> {
    let builder = ContainerBuilder::new(ID.to_owned(), SyscallType::default());
    Ok(builder.with_root_path(folder.join("state"))?)
}

fn start(folder: &Path) -> Result<u8, Failure> {
    prepare()?;
    let init = builder(folder)?.with_executor(First).as_init(folder).with_systemd(false);
    let mut container = init.build()?;
    let pid = container.pid().ok_or_else(|| io::Error::other("the container has no process"))?;
    let pid = Pid::from_raw(pid.as_raw());
    let config = fs::read(folder.join("config.json"))?;
    let config: serde_json::Value = serde_json::from_slice(&config)?;
    let cgroup = config["linux"]["cgroupsPath"].as_str().unwrap_or_default();
    // Beside the old hierarchies there may be a new one, with readings that the old do not have.
    Cgroup::at(cgroup).join_unified(pid.as_raw())?;
    container.start()?;
    Ok(attend(pid, |signal| kill(pid, signal))?)
}

fn join(folder: &Path, order: &Path) -> Result<u8, Failure> {
    let joining: Joining = serde_json::from_slice(&fs::read(order)?)?;
    fs::remove_file(order)?;
    prepare()?;
    wait_until_running(folder);
    let tenant = builder(folder)?
        .with_executor(Further { env: joining.env })
        .as_tenant()
        .with_container_args(joining.words)
        .with_cwd(Some(super::APP))
        .with_no_new_privs(true);
    let pid = Pid::from_raw(tenant.build()?.as_raw());
    // It leads a group of its own; PID 1 there is not its parent and would not end the rest of it.
    // Killed, we could not do that either: so whoever wants an end to it sends SIGQUIT.
    let pass = |signal| match signal {
        Signal::SIGQUIT => killpg(pid, Signal::SIGKILL),
        other => killpg(pid, other),
    };
    let status = attend(pid, pass)?;
    let _none_left = killpg(pid, Signal::SIGKILL);
    Ok(status)
}

/// Its first command may be at work for a moment before the state says so.
fn wait_until_running(folder: &Path) {
    let state = folder.join("state").join(ID);
    crate::postgres::wait_until(STARTING, || {
        let container = Container::load(state.clone());
        container.is_ok_and(|container| container.status() == ContainerStatus::Running)
    });
}

/// Binds this process to the thread that started it, and keeps signals until they are asked for:
/// also in what it starts, which inherits that.
fn prepare() -> Result<(), Failure> {
    set_pdeathsig(Signal::SIGKILL)?;
    Ok(all_signals().thread_block()?)
}

/// Passes signals on until the process has ended; gives its status as a shell tells it.
fn attend(pid: Pid, pass: impl Fn(Signal) -> nix::Result<()>) -> nix::Result<u8> {
    let signals = all_signals();
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => return Ok(u8::try_from(code).unwrap_or(1)),
            WaitStatus::Signaled(_, signal, _) => {
                return Ok(u8::try_from(128 + signal as i32).unwrap_or(FAILED));
            }
            _ => {}
        }
        match signals.wait()? {
            Signal::SIGCHLD => {}
            // It may have ended meanwhile.
            signal => drop(pass(signal)),
        }
    }
}

/// What is passed on, and SIGCHLD.
pub(super) fn all_signals() -> SigSet {
    let signals = [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
    ];
    signals.into_iter().collect()
}
