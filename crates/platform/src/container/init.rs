//! PID 1 of a dyno. Ours, because a process that is PID 1 of a namespace does not get SIGTERM
//! unless it has a handler for it, and because somebody must reap what lost its parent.

use std::collections::HashMap;
use std::ffi::{CString, NulError};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::helper::all_signals;
use super::seccomp;

/// As a shell says that a program was not found.
const NOT_FOUND: i32 = 127;
/// Everybody in the namespace but ourselves.
const ALL: Pid = Pid::from_raw(-1);

/// What a container's first process does.
#[derive(Clone, Debug)]
pub(super) struct First;

impl Executor for First {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let code = supervise(process(spec)?).unwrap_or_else(|error| {
            tell(&error);
            NOT_FOUND
        });
        leave(code)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        valid(spec)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // It is given to the command, not to us.
        Ok(())
    }
}

/// What a further command in a container does: becomes it.
#[derive(Clone, Debug)]
pub(super) struct Further {
    pub(super) env: Vec<(String, String)>,
}

impl Executor for Further {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        // Its helper passes signals on; when that is killed, so is this.
        set_pdeathsig(Signal::SIGKILL).map_err(other)?;
        SigSet::all().thread_unblock().map_err(other)?;
        seccomp::apply().map_err(other)?;
        let (program, words) = words(process(spec)?)?;
        let mut command = Command::new(program);
        command.args(words).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        tell(&command.exec());
        leave(NOT_FOUND)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        valid(spec)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> ExecutorError {
    ExecutorError::Execution(Box::new(error))
}

fn process(spec: &Spec) -> Result<&Process, ExecutorError> {
    spec.process().as_ref().ok_or(ExecutorError::InvalidArg)
}

fn words(process: &Process) -> Result<(&String, &[String]), ExecutorError> {
    let words = process.args().as_deref().unwrap_or_default();
    words.split_first().ok_or(ExecutorError::InvalidArg)
}

fn valid(spec: &Spec) -> Result<(), ExecutorValidationError> {
    let valid = process(spec).and_then(words).map(drop);
    valid.map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
}

/// The app's log is the only place left to say it.
fn tell(error: &dyn std::error::Error) {
    use std::io::Write;
    let _unheard = writeln!(io::stderr(), "surgetank: the command could not be started: {error}");
}

/// Ends this process: its executor may not return, and there is no `main` to go back to.
#[expect(clippy::exit, reason = "libcontainer's process ends here or becomes another program")]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

/// Starts the command and looks after everybody until nobody is left; gives the command's status
/// as a shell tells it.
fn supervise(process: &Process) -> Result<i32, ExecutorError> {
    set_name(c"init").and_then(|()| set_pdeathsig(Signal::SIGKILL)).map_err(other)?;
    seccomp::apply().map_err(other)?;
    // They are blocked since before we existed, and stay so: they are asked for one by one.
    let command = start(process)?;
    let mut status = None;
    let mut stopping = false;
    let signals = all_signals();
    loop {
        loop {
            match waitpid(ALL, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return Ok(status.unwrap_or(NOT_FOUND)),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(other(error)),
                Ok(WaitStatus::StillAlive) => break,
                Ok(ended) => {
                    if let Some(code) = status_of(ended, command) {
                        status = Some(code);
                        if !stopping {
                            // Crashed: a dyno is its command. What it left has no purpose.
                            let _none = kill(ALL, Signal::SIGKILL);
                        }
                    }
                }
            }
        }
        let signal = signals.wait().map_err(other)?;
        if signal != Signal::SIGCHLD {
            stopping |= matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT);
            // Nobody else is there any more: that is seen in the next round.
            let _none = kill(ALL, signal);
        }
    }
}

/// The status of this process, if it is the one that ended.
fn status_of(ended: WaitStatus, pid: Pid) -> Option<i32> {
    match ended {
        WaitStatus::Exited(who, code) if who == pid => Some(code),
        WaitStatus::Signaled(who, signal, _) if who == pid => Some(128 + signal as i32),
        _ => None,
    }
}

fn start(process: &Process) -> Result<Pid, ExecutorError> {
    let (program, words) = words(process)?;
    let text = |text: &String| CString::new(text.as_bytes());
    let all: Result<Vec<CString>, NulError> =
        std::iter::once(program).chain(words).map(text).collect();
    let env: Result<Vec<CString>, NulError> = process.env().iter().flatten().map(text).collect();
    let mut how = PosixSpawnAttr::init().map_err(other)?;
    // Rust's runtime has us ignore SIGPIPE; an app ends by it, as in any shell.
    let flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    how.set_flags(flags).map_err(other)?;
    how.set_sigmask(&SigSet::empty()).map_err(other)?;
    how.set_sigdefault(&SigSet::from(Signal::SIGPIPE)).map_err(other)?;
    let files = PosixSpawnFileActions::init().map_err(other)?;
    let (all, env) = (all.map_err(other)?, env.map_err(other)?);
    posix_spawn(program.as_str(), &files, &how, &all, &env).map_err(other)
}
