//! The proxy as a service, in processes of its own: restarts, signals, the service manager's words.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::cli::surgetank;

mod exposition;
mod manager;
mod metrics;
mod orders;
mod restart;
mod several;

/// How long a condition may take to come true: it only ends a test that hangs, so it is far beyond
/// what a busy machine needs.
const SOON: Duration = Duration::from_secs(120);

/// A proxy in a process of its own. Killed when dropped.
struct Process {
    child: Child,
    addr: SocketAddr,
    /// Where its numbers are.
    metrics: Option<SocketAddr>,
}

impl Process {
    /// Starts a proxy in front of a database and waits until it serves.
    fn start(words: &[&str]) -> Self {
        Self::spawn(&mut surgetank(&[&["proxy"], words].concat()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary runs");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut told = String::new();
        while !told.contains("Ctrl-C ends it") {
            let read = errors.read_line(&mut told).expect("UTF-8");
            assert!(read > 0, "it ended early:\n{told}");
        }
        // Whatever it still says must find a reader.
        std::thread::spawn(move || std::io::copy(&mut errors.by_ref(), &mut std::io::sink()));
        let last = told.lines().last().expect("a line");
        let addr = last.split(" on ").nth(1).and_then(|rest| rest.split(", Ctrl-C").next());
        // A Unix socket may follow.
        let addr = addr.and_then(|all| all.split(", ").next()?.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("no address in {last}"));
        let metrics = told.split("metrics on http://").nth(1);
        let metrics = metrics.and_then(|rest| rest.split("/metrics").next()?.parse().ok());
        Self { child, addr, metrics }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process id"))
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Waits for its end.
    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "process {} did not end", self.child.id());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
