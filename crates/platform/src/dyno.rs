//! Dynos: the processes of an app, supervised as Heroku does it.
//!
//! ```text
//!   Dynos ── one task per dyno (life) ──▶ spawner thread ──▶ bash -c 'exec CMD'
//!     │                │                                          │ pipes
//!     │                ▼                                          ▼
//!     │              Fleet  ◀── router: which web dyno is up?   LogHub
//!     ▼
//!   Groups: every process group, killed on Drop
//! ```

mod backoff;
mod cycle;
mod deploy;
mod door;
mod errand;
mod fleet;
mod group;
mod life;
mod measure;
mod meter;
mod options;
mod port;
mod reach;
mod shell;
mod size;
mod spawner;
mod stop;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use deploy::Deployed;
pub(crate) use errand::{Errand, Launched};
pub use fleet::DynoInfo;
pub(crate) use fleet::{Fleet, Lease, Pick};
use life::{Life, Order};
use meter::Meter;
pub use options::{ChildChange, ChildPid, DynoOptions, EnvFor, Isolation, Timing};
use port::Ports;
pub use size::Size;
pub(crate) use spawner::{Contained, Ends, Launch, NotStarted, Process, Spawner, last_output};
pub(crate) use stop::too_late;

use crate::container::{Container, Wanted};
use crate::error::{Error, Result};
use crate::formation::Formation;
use crate::logs::LogHub;
use crate::name::DynoName;
use crate::procfile::Procfile;
use crate::tracer::Tracer;

/// What all dynos of an app share.
#[derive(Debug)]
pub(crate) struct Shared {
    options: DynoOptions,
    deployed: RwLock<Arc<Deployed>>,
    hub: LogHub,
    tracer: Tracer,
    fleet: Arc<Fleet>,
    spawner: Spawner,
    ports: Ports,
    /// The formation, for the sizes in it; changed with [`Crew::formation`].
    sized: RwLock<Formation>,
}

impl Shared {
    /// A container for one process of this dyno, if dynos are containers.
    async fn container(&self, name: &DynoName) -> io::Result<Option<Arc<Container>>> {
        let Isolation::Container(options) = &self.options.isolation else { return Ok(None) };
        let (options, name, size) = (Arc::clone(options), name.clone(), self.size(name));
        let app_dir = self.options.app_dir.clone();
        let create = move || {
            let wanted = Wanted { name: &name, size };
            Container::create(&options, &app_dir, &wanted)
        };
        let container = tokio::task::spawn_blocking(create).await.map_err(io::Error::other)??;
        Ok(Some(Arc::new(container)))
    }

    /// How large a dyno is that starts now.
    fn size(&self, name: &DynoName) -> Size {
        self.sized.read().size(name.process_type())
    }
}

/// The dynos of an app. Dropping it kills every process; [`Dynos::shutdown`] asks first.
#[derive(Debug)]
pub struct Dynos {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    closing: CancellationToken,
    crew: Mutex<Crew>,
}

/// Who is supervised. Behind an async lock: one scaling or restart after the other.
#[derive(Debug)]
struct Crew {
    formation: Formation,
    members: BTreeMap<DynoName, Member>,
    /// Who is no member any more and has perhaps not ended yet. Another dyno of the same name waits
    /// for that: the two would share a place on the board.
    leaving: BTreeMap<DynoName, CancellationToken>,
}

/// How to reach the task of one dyno.
#[derive(Clone, Debug)]
struct Member {
    orders: mpsc::Sender<Order>,
    remove: CancellationToken,
    removed: CancellationToken,
}

impl Dynos {
    /// Starts the dynos of `formation`; returns at once, with all of them
    /// `starting`; [`Dynos::wait_until`] waits for other states.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The thread that starts processes cannot be started.
    pub async fn start(
        procfile: Procfile,
        formation: Formation,
        options: DynoOptions,
        hub: LogHub,
        tracer: Tracer,
    ) -> Result<Self> {
        let spawner = Spawner::start().map_err(|source| Error::Spawn {
            dyno: DynoName::new("dyno-spawner", 1),
            command: "thread".to_owned(),
            source,
        })?;
        let ports = Ports::new(tracer.now().0 ^ (u64::from(std::process::id()) << 32));
        let fleet = Arc::new(Fleet::new(tracer.clock()));
        let config_vars = options.config_vars.clone();
        let deployed = Deployed { release: 0, procfile, config_vars };
        deployed.record(&tracer);
        let deployed = RwLock::new(Arc::new(deployed));
        let sized = RwLock::new(formation.clone());
        let shared = Shared { options, deployed, hub, tracer, fleet, spawner, ports, sized };
        let (members, leaving) = (BTreeMap::new(), BTreeMap::new());
        let dynos = Self {
            crew: Mutex::new(Crew { formation: formation.clone(), members, leaving }),
            shared: Arc::new(shared),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        dynos.crew.lock().await.members = dynos.hire(&formation, &BTreeMap::new());
        Ok(dynos)
    }

    /// Starts those of the formation that are not there yet.
    fn hire(
        &self,
        formation: &Formation,
        present: &BTreeMap<DynoName, Member>,
    ) -> BTreeMap<DynoName, Member> {
        let absent = formation.dynos().into_iter().filter(|name| !present.contains_key(name));
        absent.map(|name| (name.clone(), self.hire_one(name))).collect()
    }

    fn hire_one(&self, name: DynoName) -> Member {
        let size = self.shared.size(&name);
        self.shared.fleet.hired(&name, self.shared.deployed().command(&name), size);
        let (orders, inbox) = mpsc::channel(1);
        let remove = self.closing.child_token();
        let removed = CancellationToken::new();
        let life = Life::new(name, Arc::clone(&self.shared), inbox, remove.clone());
        let ended = removed.clone().drop_guard();
        self.tasks.spawn(async move {
            let _ended = ended;
            life.live().await;
        });
        Member { orders, remove, removed }
    }

    /// A snapshot of all dynos, ordered by name.
    #[must_use]
    pub fn ps(&self) -> Vec<DynoInfo> {
        self.shared.fleet.snapshot()
    }

    /// The same, with what each uses now. Reads some files for each.
    #[must_use]
    pub fn ps_with_usage(&self) -> Vec<DynoInfo> {
        let used = |(mut info, meter): (DynoInfo, Option<Meter>)| {
            info.usage = meter.and_then(|meter| meter.usage());
            info
        };
        self.shared.fleet.with_meters().into_iter().map(used).collect()
    }

    /// Where a further command of a dyno runs: within its container, or, if it has none at the
    /// moment, in one like it.
    pub(crate) async fn place(&self, name: &DynoName) -> io::Result<Option<Contained>> {
        if let Some(container) = self.shared.fleet.container(name) {
            return Ok(Some(Contained::Further(container)));
        }
        Ok(self.shared.container(name).await?.map(Contained::First))
    }

    /// How many of each type there should be.
    pub async fn formation(&self) -> Formation {
        self.crew.lock().await.formation.clone()
    }

    /// Changes the formation (`web=2,worker+1`); returns the new one when the new dynos have been
    /// asked to start and the superfluous ones have ended.
    ///
    /// # Errors
    /// The changes cannot be read, or the platform is shutting down.
    pub async fn scale(&self, changes: &str) -> Result<Formation> {
        let mut crew = self.crew.lock().await;
        self.open()?;
        let formation = crew.formation.changed_by(changes)?;
        self.shared.hub.write(crate::logs::Source::Heroku, "api", &format!("Scale to {formation}"));
        let wanted = formation.dynos();
        let resized = |name: &DynoName| {
            let process_type = name.process_type();
            formation.size(process_type) != crew.formation.size(process_type)
        };
        let resized: Vec<Member> = crew
            .members
            .iter()
            .filter(|(name, _)| resized(name) && wanted.contains(name))
            .map(|(_, member)| member.clone())
            .collect();
        *self.shared.sized.write() = formation.clone();
        for predecessor in wanted.iter().filter_map(|name| crew.leaving.remove(name)) {
            predecessor.cancelled().await;
        }
        let hired = self.hire(&formation, &crew.members);
        crew.members.extend(hired);
        resized.iter().for_each(|member| self.restart_later(member));
        crew.formation = formation.clone();
        crew.dismiss_all_but(&wanted);
        for gone in crew.leaving.values() {
            gone.cancelled().await;
        }
        Ok(formation)
    }

    /// Ends the process of a dyno and starts a new one; also starts one that was stopped or waits
    /// after a crash. Returns when the new process was launched.
    ///
    /// # Errors
    /// No such dyno, or the platform is shutting down.
    pub async fn restart(&self, name: &DynoName) -> Result<()> {
        let member = self.member(name).await?;
        let (done, launched) = oneshot::channel();
        member.give(Order::Restart(done), launched).await
    }

    /// Ends the process of a dyno, which then stays `down` until it is restarted. Returns when all
    /// its processes have ended.
    ///
    /// # Errors
    /// No such dyno, or the platform is shutting down.
    pub async fn stop(&self, name: &DynoName) -> Result<()> {
        let member = self.member(name).await?;
        let (done, stopped) = oneshot::channel();
        member.give(Order::Stop(done), stopped).await
    }

    async fn member(&self, name: &DynoName) -> Result<Member> {
        self.open()?;
        let crew = self.crew.lock().await;
        crew.members.get(name).cloned().ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &DynoName) -> Error {
        let known: Vec<_> = self.ps().iter().map(|dyno| dyno.name.to_string()).collect();
        Error::UnknownDyno { name: name.to_string(), known: known.join(", ") }
    }

    fn open(&self) -> Result<()> {
        if self.closing.is_cancelled() { Err(Error::ShuttingDown) } else { Ok(()) }
    }

    /// Waits until the snapshot of all dynos is as wanted; looks at every change, at once first.
    /// Has no deadline of its own.
    pub async fn wait_until(&self, wanted: impl Fn(&[DynoInfo]) -> bool) {
        let mut changes = self.shared.fleet.changes();
        loop {
            changes.mark_unchanged();
            if wanted(&self.ps()) {
                return;
            }
            // The sender is in `self`, so it cannot have gone.
            let _changed = changes.changed().await;
        }
    }

    /// The environment of a dyno's present or last process, ordered by variable name.
    ///
    /// # Errors
    /// No such dyno.
    pub fn environment(&self, name: &DynoName) -> Result<Vec<(String, String)>> {
        self.shared.fleet.environment(name).ok_or_else(|| self.unknown(name))
    }

    /// Ends all dynos: SIGTERM to all at once, SIGKILL to those that take longer than the exit
    /// timeout. Returns when no process is left. Nothing can be started afterwards.
    pub async fn shutdown(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // One-off runs are not in the tracker.
        self.shared.spawner.groups().kill_all();
    }

    pub(crate) fn size_of(&self, name: &DynoName) -> Size {
        self.shared.size(name)
    }

    pub(crate) fn fleet(&self) -> &Arc<Fleet> {
        &self.shared.fleet
    }

    pub(crate) fn spawner(&self) -> &Spawner {
        &self.shared.spawner
    }

    pub(crate) fn app_dir(&self) -> &PathBuf {
        &self.shared.options.app_dir
    }
}

impl Crew {
    /// Asks those to end who are not wanted any more.
    fn dismiss_all_but(&mut self, wanted: &[DynoName]) {
        self.leaving.retain(|_, gone| !gone.is_cancelled());
        for (name, member) in self.members.extract_if(.., |name, _| !wanted.contains(name)) {
            member.remove.cancel();
            self.leaving.insert(name, member.removed);
        }
    }
}

impl Member {
    async fn give(&self, order: Order, done: oneshot::Receiver<()>) -> Result<()> {
        self.orders.send(order).await.map_err(|_| Error::ShuttingDown)?;
        done.await.map_err(|_| Error::ShuttingDown)
    }
}

impl Drop for Dynos {
    fn drop(&mut self) {
        self.closing.cancel();
        self.shared.spawner.groups().kill_all();
    }
}
