//! One-off dynos: `run` with somebody at the other end, `run:detached` into the log, and the
//! `release` process of a release.
//!
//! ```text
//!   control socket (frames) ─┐            ┌─ terminal ─┐
//!   rendezvous (raw, TLS) ───┴─ channels ─┴─ or pipes ─┴─▶ one process, run.1234
//! ```
//!
//! An attached one lives as long as its client: when the connection ends, all of its processes get
//! SIGHUP, three times; one that goes on all the same is told of (R16) and left to itself.

mod attached;
pub mod frames;
mod numbers;
mod terminal;

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dyno::{Deployed, Dynos, Ends, Errand, Launched, last_output, too_late};
use crate::error::{Error, Result};
use crate::logs::LogHub;
use crate::name::DynoName;
use crate::run::RunOutcome;
use numbers::Numbers;

/// Most one-off dynos at a time. Heroku's limit is 50 for small dynos.
const ONE_OFFS_MAX: usize = 50;

/// A command to run in a dyno of its own.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OneOff {
    /// The shell's command line.
    pub command: String,
    /// Variables that go before the app's config vars.
    pub env: Vec<(String, String)>,
    /// The client's terminal; without one the process has pipes.
    pub terminal: Option<WindowSize>,
}

impl fmt::Debug for OneOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables hold secrets.
        let order = &mut f.debug_struct("OneOff");
        order.field("command", &self.command).field("terminal", &self.terminal);
        order.finish_non_exhaustive()
    }
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSize {
    /// Columns.
    pub columns: u16,
    /// Lines.
    pub lines: u16,
}

/// What an attached client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes for standard input.
    Data(Bytes),
    /// There will be no more of them.
    End,
    /// Its window has another size.
    Resized(WindowSize),
    /// Ctrl-C where there is no terminal that would make a signal of it.
    Interrupt,
}

/// What an attached client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Written to standard output, or to the terminal.
    Out(Bytes),
    /// Written to standard error.
    Err(Bytes),
    /// The process has ended with this status, as a shell tells it. The last word.
    Exited(i32),
}

/// One end of a conversation with a client. Dropping it hangs up.
#[derive(Debug)]
pub struct Line {
    /// What the client says.
    pub input: mpsc::Receiver<Input>,
    /// What it is told.
    pub output: mpsc::Sender<Output>,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOffTiming {
    /// From creation until a client has attached (R13).
    pub attach: Duration,
    /// Between two SIGHUPs after the connection has ended. Heroku: 5 s.
    pub hangup: Duration,
    /// A connection over which nothing passes for so long is closed. Heroku: 1 h.
    pub idle: Duration,
    /// From SIGTERM until all processes have ended.
    pub exit: Duration,
}

impl Default for OneOffTiming {
    fn default() -> Self {
        Self {
            attach: Duration::from_secs(60),
            hangup: Duration::from_secs(5),
            idle: Duration::from_secs(3600),
            exit: Duration::from_secs(30),
        }
    }
}

/// The one-off dynos of an app.
#[derive(Debug)]
pub struct OneOffs {
    dynos: Arc<Dynos>,
    hub: LogHub,
    timing: OneOffTiming,
    numbers: Mutex<Numbers>,
    running: Mutex<BTreeMap<DynoName, CancellationToken>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A dyno that awaits its client.
#[derive(Debug)]
pub struct Awaiting {
    /// Its name.
    pub name: DynoName,
    /// Give it the conversation, and it starts.
    pub attach: oneshot::Sender<Line>,
}

impl OneOffs {
    /// None yet.
    #[must_use]
    pub fn new(dynos: Arc<Dynos>, hub: LogHub, timing: OneOffTiming) -> Self {
        Self {
            dynos,
            hub,
            timing,
            numbers: Mutex::default(),
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// `run:detached`: starts it; what it writes goes to the log. Returns its name at once.
    ///
    /// # Errors
    /// Too many of them, or the platform is shutting down.
    pub fn detached(self: &Arc<Self>, order: &OneOff) -> Result<DynoName> {
        let (errand, stop) = self.errand("run", order, &self.dynos.deployed())?;
        let name = errand.name.clone();
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            // Whoever wants to know reads the log.
            let _told = this.detached_to_end(errand, &stop).await;
        });
        Ok(name)
    }

    /// Runs the `release` process of something that is not live yet, to its end; what it writes
    /// goes to the log.
    ///
    /// # Errors
    /// It could not be started, or the platform is shutting down.
    pub(crate) async fn release(
        self: &Arc<Self>,
        command: &str,
        deployed: &Deployed,
        limit: Duration,
    ) -> Result<RunOutcome> {
        let order = OneOff { command: command.to_owned(), ..OneOff::default() };
        let (errand, stop) = self.errand("release", &order, deployed)?;
        let end = self.detached_to_end(errand, &stop);
        tokio::pin!(end);
        match timeout(limit, &mut end).await {
            Ok(outcome) => outcome,
            Err(_) => {
                stop.cancel();
                end.await.map(|_| RunOutcome::TimedOut)
            }
        }
    }

    /// `run`: a dyno that starts when its client is there, and is given up with R13 if none comes.
    ///
    /// # Errors
    /// Too many of them, or the platform is shutting down.
    pub fn attached(self: &Arc<Self>, order: &OneOff) -> Result<Awaiting> {
        let (errand, stop) = self.errand("run", order, &self.dynos.deployed())?;
        let name = errand.name.clone();
        let (attach, attached) = oneshot::channel();
        let (this, size) = (Arc::clone(self), order.terminal);
        self.tasks.spawn(async move { this.attend(errand, &stop, attached, size).await });
        Ok(Awaiting { name, attach })
    }

    pub(crate) fn dynos(&self) -> &Arc<Dynos> {
        &self.dynos
    }

    /// Ends a one-off dyno as any other is ended. Returns before it has ended.
    ///
    /// # Errors
    /// There is no such one.
    pub fn stop(&self, name: &DynoName) -> Result<()> {
        let running = self.running.lock();
        let Some(stop) = running.get(name) else {
            let known: Vec<_> = running.keys().map(ToString::to_string).collect();
            return Err(Error::UnknownDyno { name: name.to_string(), known: known.join(", ") });
        };
        stop.cancel();
        Ok(())
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, name: &DynoName) -> bool {
        self.running.lock().contains_key(name)
    }

    /// Ends all of them. Returns when they have ended.
    pub async fn shutdown(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn errand(
        &self,
        process_type: &str,
        order: &OneOff,
        deployed: &Deployed,
    ) -> Result<(Errand, CancellationToken)> {
        let mut running = self.running.lock();
        if running.len() >= ONE_OFFS_MAX {
            return Err(Error::TooManyOneOffs { most: ONE_OFFS_MAX });
        }
        let number =
            self.numbers.lock().next(|number| running.keys().all(|name| name.number() != number));
        let name = DynoName::new(process_type, number);
        let errand = self.dynos.errand(name.clone(), &order.command, deployed, &order.env)?;
        let stop = self.closing.child_token();
        running.insert(name, stop.clone());
        Ok((errand, stop))
    }

    async fn detached_to_end(
        &self,
        errand: Errand,
        stop: &CancellationToken,
    ) -> Result<RunOutcome> {
        let name = errand.name.clone();
        let _listed = Listed { name: &name, running: &self.running };
        let output = errand.output();
        let mut launched = self.launch(errand, Ends::Output).await?;
        let readers = launched.process.read(output);
        let status = tokio::select! {
            status = launched.process.child.wait() => status,
            () = stop.cancelled() => self.end(&mut launched).await,
        };
        launched.process.group.signal(Signal::SIGKILL);
        last_output(readers).await;
        Ok(self.ended(&name, status))
    }

    /// Starts the process and says so.
    async fn launch(&self, errand: Errand, ends: Ends) -> Result<Launched> {
        let (name, command) = (errand.name.clone(), errand.command().to_owned());
        self.say(&name, &format!("Starting process with command `{command}`"));
        let launched = errand.launch(ends).await;
        match &launched {
            Ok(_) => self.say(&name, "State changed from starting to up"),
            Err(error) => {
                self.say(&name, &format!("cannot start: {error}"));
                self.say(&name, "State changed from starting to crashed");
            }
        }
        launched
    }

    /// SIGTERM to all processes, SIGKILL to those that do not end.
    async fn end(&self, launched: &mut Launched) -> std::io::Result<ExitStatus> {
        let name = launched.errand().name.clone();
        self.say(&name, "Stopping all processes with SIGTERM");
        launched.process.group.signal(Signal::SIGTERM);
        let asked = timeout(self.timing.exit, launched.process.child.wait()).await;
        if let Ok(status) = asked {
            return status;
        }
        too_late(self.timing.exit).iter().for_each(|line| self.say(&name, line));
        launched.process.group.signal(Signal::SIGKILL);
        launched.process.child.wait().await
    }

    /// Says how it ended.
    fn ended(&self, name: &DynoName, status: std::io::Result<ExitStatus>) -> RunOutcome {
        // The process was ours and not waited for by anybody else: its status is never lost.
        let outcome = status.map_or(RunOutcome::Signalled(0), RunOutcome::from);
        self.say(name, "State changed from up to complete");
        self.say(name, &format!("Process exited with status {}", outcome.code()));
        outcome
    }

    fn say(&self, name: &DynoName, text: &str) {
        self.hub.heroku(&name.to_string(), text);
    }
}

/// A name in the list of those that run; dropping it takes it off.
struct Listed<'a> {
    name: &'a DynoName,
    running: &'a Mutex<BTreeMap<DynoName, CancellationToken>>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.running.lock().remove(self.name);
    }
}
