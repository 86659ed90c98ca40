//! The life of one dyno: launch, watch, crash, wait, launch again, in Heroku's words.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use trace::{DynoId, DynoState, Event};

use super::backoff::Backoff;
use super::cycle::lifetime;
use super::door::Door;
use super::fleet::{Busy, Phase, Start};
use super::measure::{Gauge, Look, Measured};
use super::meter::Meter;
use super::reach::Reach;
use super::spawner::{Contained, Ends, Launch, NotStarted, Process, last_output};
use super::{ChildChange, Shared, measure, shell};
use crate::container::Container;
use crate::logs::DynoOutput;
use crate::name::DynoName;
use crate::run::RunOutcome;

/// What somebody wants of a dyno; the sender is answered when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// End the process if there is one, and launch a new one.
    Restart(oneshot::Sender<()>),
    /// End the process and stay down.
    Stop(oneshot::Sender<()>),
}

/// The supervisor of one dyno.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) name: DynoName,
    dyno: DynoId,
    pub(super) shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    remove: CancellationToken,
    backoff: Backoff,
    /// The state that was last written to the log; Heroku's word for "not yet" is `created`.
    logged: &'static str,
}

/// What comes next.
enum Next {
    /// Launch; answer this order when that is done.
    Launch(Option<oneshot::Sender<()>>),
    /// Wait after a crash, then launch.
    CoolOff(Duration),
    /// Wait for an order.
    Rest,
    /// Over.
    End,
}

/// Why a process is not watched any more.
enum Watched {
    Exited,
    BootTimeout,
    /// It used more than it may; with what is to be said of it.
    Exceeded(Vec<String>),
    Cycled,
    Ordered(Order),
    Removed,
}

/// A running process with all that belongs to it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) busy: Arc<Busy>,
    readers: JoinSet<()>,
    door: Option<Door>,
    container: Option<Arc<Container>>,
    measured: Measured,
    launched: Instant,
    /// From launch until it is cycled.
    lifetime: Duration,
}

impl Life {
    pub(super) fn new(
        name: DynoName,
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
        remove: CancellationToken,
    ) -> Self {
        let dyno = shared.tracer.dyno(&name.to_string());
        let (backoff, logged) = (Backoff::default(), "created");
        Self { name, dyno, shared, orders, remove, backoff, logged }
    }

    /// Lives until it is removed.
    pub(super) async fn live(mut self) {
        let mut next = Next::Launch(None);
        loop {
            next = match next {
                _ if self.remove.is_cancelled() => break,
                Next::Launch(answer) => self.run(answer).await,
                Next::CoolOff(wait) => self.pause(Some(wait)).await,
                Next::Rest => self.pause(None).await,
                Next::End => break,
            };
        }
        // Removed while it cooled off, or before it ever ran.
        if self.logged != "down" {
            self.enter(Phase::Down, "down");
        }
        self.shared.fleet.remove(&self.name);
    }

    /// One process from launch to end.
    async fn run(&mut self, answer: Option<oneshot::Sender<()>>) -> Next {
        let launched = self.launch().await;
        // Nobody may be waiting any more; the dyno was launched all the same.
        let _gone = answer.map(|answer| answer.send(()));
        let mut running = match launched {
            Ok(running) => running,
            Err(reason) => {
                self.say(&reason);
                return self.crashed(Duration::ZERO);
            }
        };
        match self.watch(&mut running).await {
            Watched::Exited => {
                self.say_why_killed(&running);
                let ran = running.launched.elapsed();
                self.ended(running).await;
                self.crashed(ran)
            }
            Watched::BootTimeout => {
                let seconds = self.shared.options.timing.boot_timeout.as_secs();
                self.say(&format!(
                    "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within \
                     {seconds} seconds of launch"
                ));
                self.say("Stopping process with SIGKILL");
                running.process.group.signal(nix::sys::signal::Signal::SIGKILL);
                self.ended(running).await;
                self.crashed(Duration::ZERO)
            }
            Watched::Exceeded(lines) => {
                lines.iter().for_each(|line| self.say(line));
                let ran = running.launched.elapsed();
                running.process.group.signal(nix::sys::signal::Signal::SIGKILL);
                self.ended(running).await;
                self.crashed(ran)
            }
            Watched::Cycled => {
                self.say("Cycling");
                self.come_back(running, None).await
            }
            Watched::Ordered(Order::Restart(answer)) => {
                self.backoff.reset();
                self.say("Restarting");
                self.come_back(running, Some(answer)).await
            }
            Watched::Ordered(Order::Stop(answer)) => {
                self.stop_for_good(running).await;
                let _gone = answer.send(());
                Next::Rest
            }
            Watched::Removed => {
                self.stop_for_good(running).await;
                Next::End
            }
        }
    }

    async fn come_back(&mut self, running: Running, answer: Option<oneshot::Sender<()>>) -> Next {
        self.enter(Phase::Restarting, "starting");
        self.stop(running).await;
        Next::Launch(answer)
    }

    async fn stop_for_good(&mut self, running: Running) {
        self.enter(Phase::Stopping, "down");
        self.stop(running).await;
        self.enter(Phase::Down, "down");
    }

    /// Waits for time or an order, whichever is first.
    async fn pause(&mut self, wait: Option<Duration>) -> Next {
        let over = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let order = tokio::select! {
            () = over => return Next::Launch(None),
            () = self.remove.cancelled() => None,
            order = self.orders.recv() => order,
        };
        match order {
            Some(Order::Restart(answer)) => {
                self.backoff.reset();
                Next::Launch(Some(answer))
            }
            Some(Order::Stop(answer)) => {
                self.enter(Phase::Down, "down");
                let _gone = answer.send(());
                Next::Rest
            }
            None => Next::End,
        }
    }

    async fn launch(&mut self) -> Result<Running, String> {
        let container =
            self.shared.container(&self.name).await.map_err(|error| cannot_start(&error))?;
        let network = container.as_ref().and_then(|container| container.network());
        let door = if self.name.is_web() { self.shared.ports.door(network) } else { None };
        let number = door.as_ref().map(Door::number);
        let deployed = self.shared.deployed();
        let command = deployed.command(&self.name).to_owned();
        let environment = self.shared.environment(&deployed, &self.name, number);
        let launch = Launch {
            command: command.clone(),
            dir: self.shared.options.app_dir.clone(),
            env: environment.clone(),
            ends: Ends::Output,
            contained: container.clone().map(Contained::First),
        };
        let shown = shell::shown(&command, number);
        let release = deployed.release;
        let reach = door.as_ref().map_or(Reach::Shared, |door| door.way().0);
        let size = self.shared.size(&self.name);
        let start = Start { port: number, command, release, size, environment, reach };
        let busy = self.shared.fleet.starting(&self.name, start);
        let (at, size_name) = (self.shared.tracer.now(), size.to_string().into());
        self.shared.tracer.record(Event::DynoSized { at, dyno: self.dyno, size: size_name });
        self.enter(Phase::Starting, "starting");
        self.say(&format!("Starting process with command `{shown}`"));
        if self.name.is_web() && number.is_none() {
            return Err("cannot start: the system has no free port".to_owned());
        }
        let mut process = match self.shared.spawner.spawn(launch).await {
            Ok(process) => process,
            Err(NotStarted::Closed) => return Err("cannot start: shutting down".to_owned()),
            Err(NotStarted::Refused(error)) => return Err(cannot_start(&error)),
        };
        let pid = process.group.id();
        (self.shared.options.child_pid)(&self.name, ChildChange::Started(pid));
        self.shared.fleet.started(&self.name, pid, container.as_ref());
        let (hub, tracer) = (self.shared.hub.clone(), self.shared.tracer.clone());
        let readers = process.read(DynoOutput::new(hub, &self.name, tracer));
        let launched = Instant::now();
        if door.is_none() {
            self.enter(Phase::Up, "up");
        }
        let meter = Meter::of(container.as_ref(), pid);
        let source = container.as_ref().map_or_else(
            || format!("source={} dyno=surgetank.{pid}", self.name),
            |container| container.source(),
        );
        let measured = Measured { meter, source, size };
        let seed = self.shared.tracer.now().0 ^ u64::from(pid.unsigned_abs());
        let lifetime = lifetime(&self.shared.options.timing, seed);
        Ok(Running { process, busy, readers, door, container, measured, launched, lifetime })
    }

    /// Watches a process, and notes when a web dyno becomes ready.
    async fn watch(&mut self, running: &mut Running) -> Watched {
        let timing = &self.shared.options.timing;
        let mut gauge = Gauge::new(running.measured.clone(), timing.sample);
        let door = running.door.as_ref();
        let mut booting = door.is_some();
        let boot = timeout(timing.boot_timeout, Door::opened(door.map(Door::way)));
        tokio::pin!(boot);
        loop {
            tokio::select! {
                booted = &mut boot, if booting => match booted {
                    Ok(()) => {
                        booting = false;
                        self.enter(Phase::Up, "up");
                    }
                    Err(_) => return Watched::BootTimeout,
                },
                _ = running.process.child.wait() => return Watched::Exited,
                () = sleep_until(running.launched + running.lifetime), if !booting => {
                    return Watched::Cycled;
                }
                () = self.remove.cancelled() => return Watched::Removed,
                order = self.orders.recv() => return ordered(order),
                look = gauge.look() => match look {
                    Look::Quiet => {}
                    Look::Lines(lines) => lines.iter().for_each(|line| self.say(line)),
                    Look::Exceeded(lines) => return Watched::Exceeded(lines),
                },
            }
        }
    }

    /// If the kernel killed it for its memory before a look could show that, it is said now.
    fn say_why_killed(&self, running: &Running) {
        let Measured { meter, size, .. } = &running.measured;
        let lines = meter.usage().and_then(|usage| measure::exceeded(*size, &usage));
        lines.iter().flatten().for_each(|line| self.say(line));
    }

    /// After the end of the process: ends the rest of its group, reads what it still wrote, and
    /// says how it ended.
    pub(super) async fn ended(&mut self, mut running: Running) {
        let status = running.process.child.wait().await;
        let pid = running.process.group.id();
        drop(running.process.group);
        last_output(running.readers).await;
        if let Some(failure) = running.container.as_ref().and_then(|dead| dead.failure()) {
            self.say(&format!("cannot start: {failure}"));
        }
        self.say(&match status {
            Ok(status) => format!("Process exited with status {}", RunOutcome::from(status).code()),
            Err(error) => format!("Process exited, its status is unknown: {error}"),
        });
        self.shared.fleet.ended(&self.name);
        if let Some(container) = running.container {
            container.remove().await;
        }
        (self.shared.options.child_pid)(&self.name, ChildChange::Ended(pid));
    }

    /// Any end that nobody asked for is a crash, whatever the status.
    fn crashed(&mut self, ran: Duration) -> Next {
        self.enter(Phase::Crashed, "crashed");
        let wait = self.backoff.crashed(ran, &self.shared.options.timing);
        if !wait.is_zero() {
            let crashes = self.backoff.crashes();
            self.say(&format!("Restarting in {wait:?} after {crashes} crashes"));
        }
        Next::CoolOff(wait)
    }

    /// Goes over to another phase; `word` is how the log calls it.
    fn enter(&mut self, phase: Phase, word: &'static str) {
        self.shared.fleet.set(&self.name, phase);
        let at = self.shared.tracer.now();
        let state = match phase {
            Phase::Starting => DynoState::Starting,
            Phase::Up => DynoState::Up,
            Phase::Restarting | Phase::Stopping => DynoState::Stopping,
            Phase::Crashed => DynoState::Crashed,
            Phase::Down => DynoState::Down,
        };
        self.shared.tracer.record(Event::DynoStateChanged { at, dyno: self.dyno, state });
        if self.logged != word {
            self.say(&format!("State changed from {} to {word}", self.logged));
            self.logged = word;
        }
    }

    pub(super) fn say(&self, text: &str) {
        self.shared.hub.heroku(&self.name.to_string(), text);
    }
}

fn cannot_start(error: &io::Error) -> String {
    format!("cannot start: {error}")
}

/// No order can come any more only if everything is being dropped.
fn ordered(order: Option<Order>) -> Watched {
    order.map_or(Watched::Removed, Watched::Ordered)
}
