//! A successor that this process starts, and how it becomes nobody's child.
//!
//! A service manager waits only for the end of its own children: systemd, told that another's child
//! is the main process, kills that one without the time it was promised when the service is to end
//! (`main_pid_alien` in its `service.c`). So a process in between starts the successor and ends;
//! whoever adopts orphans, the service manager, is its parent from then on.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// The first word of the process in between. Before the successor's own.
pub(crate) const STARTER: &str = "__successor";

/// A successor that has not taken over yet.
#[derive(Debug)]
pub(super) struct Offspring {
    starter: Child,
    /// The other end is the successor's standard input, which ends with it.
    life: UnixStream,
}

impl Offspring {
    /// Starts the program as it is on disk now, with our own words. It speaks for itself: to the
    /// service manager too, whose watchdog it must take over.
    pub(super) fn start() -> anyhow::Result<Self> {
        let program = program()?;
        let (life, theirs) = StdUnixStream::pair()?;
        life.set_nonblocking(true)?;
        let mut command = Command::new(&program);
        command.arg(STARTER).args(std::env::args_os().skip(1)).env_remove("WATCHDOG_PID");
        let starter = command
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { starter, life: UnixStream::from_std(life)? })
    }

    /// Returns when it is nobody's child. That takes no longer than it does to start a process.
    pub(super) async fn adopted(&mut self) {
        // How it ended says nothing of the successor.
        let _ = self.starter.wait().await;
    }

    /// Returns when it has ended. Cancellation safe.
    pub(super) async fn ended(&mut self) {
        let mut bytes = [0; 16];
        while self.life.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    }
}

fn program() -> std::io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    // Linux's way to say that the file was replaced.
    let replaced = program.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(replaced.map(PathBuf::from).unwrap_or(program))
}

/// The process in between: starts the successor with these words, and ends.
pub(crate) fn starter_main(words: impl Iterator<Item = OsString>) -> ExitCode {
    // Not tokio's: there is no runtime here.
    let started =
        program().and_then(|program| std::process::Command::new(program).args(words).spawn());
    match started {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            crate::out::talk(&format!("surgetank: cannot start a successor: {error}"));
            ExitCode::FAILURE
        }
    }
}
