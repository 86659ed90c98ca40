//! The board on which every dyno's state stands: written by their supervisors, read by the router
//! and by `ps`.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use trace::{Clock, DynoState, Micros};

use super::meter::Meter;
use super::reach::Reach;
use super::size::Size;
use crate::container::{Container, Usage};
use crate::name::DynoName;

/// One dyno at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DynoInfo {
    /// `web.1`.
    pub name: DynoName,
    /// Its state.
    #[serde(with = "state_serde")]
    pub state: DynoState,
    /// Since when it has been in this state.
    #[serde(with = "micros_serde")]
    pub since: Micros,
    /// Its process, and at the same time its process group.
    pub pid: Option<i32>,
    /// The port it should listen on; web dynos only.
    pub port: Option<u16>,
    /// Its command as it stands in the Procfile.
    pub command: String,
    /// The release it runs, counted from 1; 0 where there are no releases.
    #[serde(default)]
    pub release: u64,
    /// Its size.
    #[serde(default)]
    pub size: Size,
    /// What it uses, if that was asked for and it is contained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl DynoInfo {
    /// One that is about to have a process.
    pub(crate) fn starting(name: DynoName, command: &str) -> Self {
        let (state, since, command) = (DynoState::Starting, Micros::ZERO, command.to_owned());
        let (size, usage) = (Size::default(), None);
        Self { name, state, since, pid: None, port: None, command, release: 0, size, usage }
    }
}

/// A dyno's phase. One more than Heroku's words: a dyno that stops in order to come back is worth
/// waiting for, one that stops for good is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Up,
    Restarting,
    Stopping,
    Crashed,
    Down,
}

impl Phase {
    fn state(self) -> DynoState {
        match self {
            Self::Starting => DynoState::Starting,
            Self::Up => DynoState::Up,
            Self::Restarting | Self::Stopping => DynoState::Stopping,
            Self::Crashed => DynoState::Crashed,
            Self::Down => DynoState::Down,
        }
    }
}

/// The board.
#[derive(Debug)]
pub(crate) struct Fleet {
    clock: Clock,
    members: Mutex<BTreeMap<DynoName, Member>>,
    changed: watch::Sender<()>,
    /// A dyno was given back by a request.
    freed: Arc<Notify>,
}

#[derive(Debug)]
struct Member {
    info: DynoInfo,
    phase: Phase,
    environment: Vec<(String, String)>,
    reach: Reach,
    /// Whose life is the supervisor's.
    container: Weak<Container>,
    busy: Arc<Busy>,
}

/// What is known of a process when it starts.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) port: Option<u16>,
    pub(super) command: String,
    pub(super) release: u64,
    pub(super) size: Size,
    pub(super) environment: Vec<(String, String)>,
    pub(super) reach: Reach,
}

/// The router's requests that one process has not answered yet.
#[derive(Debug)]
pub(super) struct Busy {
    requests: AtomicU32,
    idle: Notify,
    freed: Arc<Notify>,
}

impl Busy {
    /// Waits until no request is in flight. Only meaningful once no new one can come.
    pub(super) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.requests.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One request's claim on a web dyno. While it lives, the dyno's stop waits (up to its drain time).
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) name: DynoName,
    pub(crate) port: u16,
    reach: Reach,
    busy: Arc<Busy>,
}

impl Lease {
    /// Connects to the port on which the dyno should listen.
    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        self.reach.connect(self.port).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.busy.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.busy.idle.notify_waiters();
        }
        self.busy.freed.notify_one();
    }
}

/// What the board has to offer to a request.
#[derive(Debug)]
pub(crate) enum Pick {
    /// This dyno.
    Leased(Lease),
    /// All that are up are being left alone by this router.
    Resting,
    /// So many are up and not left alone, and each has as many requests as it may have.
    Full {
        /// How many.
        up: usize,
    },
    /// None is up, but one will be.
    Booting,
    /// All have crashed.
    AllCrashed,
    /// There is no web dyno.
    NoDynos,
}

impl Fleet {
    pub(super) fn new(clock: Clock) -> Self {
        let changed = watch::Sender::new(());
        Self { clock, members: Mutex::default(), changed, freed: Arc::default() }
    }

    /// This dyno will start as soon as its supervisor runs: from now on it is on the board, so that
    /// nobody takes a dyno that is on its way for one that is not there.
    pub(super) fn hired(&self, name: &DynoName, command: &str, size: Size) {
        let command = command.to_owned();
        let (environment, reach) = (Vec::new(), Reach::Shared);
        let start = Start { port: None, command, release: 0, size, environment, reach };
        self.starting(name, start);
    }

    /// A process of this dyno is about to start. Returns its count of requests in flight.
    pub(super) fn starting(&self, name: &DynoName, start: Start) -> Arc<Busy> {
        let freed = Arc::clone(&self.freed);
        let busy = Arc::new(Busy { requests: AtomicU32::new(0), idle: Notify::new(), freed });
        let info = DynoInfo {
            name: name.clone(),
            state: DynoState::Starting,
            since: self.clock.now(),
            pid: None,
            port: start.port,
            command: start.command,
            release: start.release,
            size: start.size,
            usage: None,
        };
        let Start { environment, reach, .. } = start;
        let phase = Phase::Starting;
        let (container, shared) = (Weak::new(), Arc::clone(&busy));
        let member = Member { info, phase, environment, reach, container, busy: shared };
        self.members.lock().insert(name.clone(), member);
        self.changed.send_replace(());
        busy
    }

    /// A dyno's process was started.
    pub(super) fn started(&self, name: &DynoName, pid: i32, container: Option<&Arc<Container>>) {
        if let Some(member) = self.members.lock().get_mut(name) {
            member.info.pid = Some(pid);
            member.container = container.map_or_else(Weak::new, Arc::downgrade);
        }
        self.changed.send_replace(());
    }

    /// A dyno's process has ended.
    pub(super) fn ended(&self, name: &DynoName) {
        if let Some(member) = self.members.lock().get_mut(name) {
            member.info.pid = None;
            member.container = Weak::new();
        }
        self.changed.send_replace(());
    }

    /// The container in which a dyno runs now, if it does.
    pub(crate) fn container(&self, name: &DynoName) -> Option<Arc<Container>> {
        self.members.lock().get(name)?.container.upgrade()
    }

    pub(super) fn set(&self, name: &DynoName, phase: Phase) {
        if let Some(member) = self.members.lock().get_mut(name) {
            member.phase = phase;
            member.info.state = phase.state();
            member.info.since = self.clock.now();
        }
        self.changed.send_replace(());
    }

    pub(super) fn remove(&self, name: &DynoName) {
        self.members.lock().remove(name);
        self.changed.send_replace(());
    }

    pub(super) fn snapshot(&self) -> Vec<DynoInfo> {
        self.members.lock().values().map(|member| member.info.clone()).collect()
    }

    /// The snapshot, with what measures those that run.
    pub(super) fn with_meters(&self) -> Vec<(DynoInfo, Option<Meter>)> {
        let members = self.members.lock();
        let meter = |member: &Member| {
            Some(Meter::of(member.container.upgrade().as_ref(), member.info.pid?))
        };
        members.values().map(|member| (member.info.clone(), meter(member))).collect()
    }

    pub(super) fn environment(&self, name: &DynoName) -> Option<Vec<(String, String)>> {
        Some(self.members.lock().get(name)?.environment.clone())
    }

    /// Wakes at every change of any dyno.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Wakes one of those who wait for room when a dyno is given back.
    pub(crate) fn room(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Wakes the next of those who wait for room: there may be more.
    pub(crate) fn wake_next(&self) {
        self.freed.notify_one();
    }

    /// Most attempts that make sense for one request.
    pub(crate) fn web_dynos(&self) -> usize {
        self.members.lock().keys().filter(|name| name.is_web()).count()
    }

    /// Chooses one of the web dynos that are up, do not `rest`, and have less than `most` requests;
    /// `choose` is given how many there are. Choosing and claiming are one step, so that a dyno
    /// that begins to stop knows of every request that it was given.
    pub(crate) fn pick(
        &self,
        most: u32,
        choose: impl FnOnce(usize) -> usize,
        rest: impl Fn(&DynoName, u16) -> bool,
    ) -> Pick {
        let members = self.members.lock();
        let web = || members.values().filter(|member| member.info.name.is_web());
        let up = || web().filter(|member| member.phase == Phase::Up);
        let mut ready: Vec<(&Member, u16)> = up()
            .filter_map(|member| Some((member, member.info.port?)))
            .filter(|(member, port)| !rest(&member.info.name, *port))
            .collect();
        let awake = ready.len();
        ready.retain(|(member, _)| member.busy.requests.load(Ordering::SeqCst) < most);
        if !ready.is_empty() {
            let (member, port) = ready[choose(ready.len()) % ready.len()];
            member.busy.requests.fetch_add(1, Ordering::SeqCst);
            let name = member.info.name.clone();
            let (reach, busy) = (member.reach.clone(), Arc::clone(&member.busy));
            return Pick::Leased(Lease { name, port, reach, busy });
        }
        if awake > 0 {
            return Pick::Full { up: awake };
        }
        let comes = |member: &Member| matches!(member.phase, Phase::Starting | Phase::Restarting);
        if up().next().is_some() {
            Pick::Resting
        } else if web().any(comes) {
            Pick::Booting
        } else if web().any(|member| member.phase == Phase::Crashed) {
            Pick::AllCrashed
        } else {
            Pick::NoDynos
        }
    }
}

/// Heroku's word for a state.
pub(crate) fn state_word(state: DynoState) -> &'static str {
    match state {
        DynoState::Starting => "starting",
        DynoState::Up => "up",
        DynoState::Stopping => "stopping",
        DynoState::Crashed => "crashed",
        DynoState::Down => "down",
    }
}

/// States as words; `trace` knows no formats.
mod state_serde {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use trace::DynoState;

    pub(super) fn serialize<S: Serializer>(state: &DynoState, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(super::state_word(*state))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DynoState, D::Error> {
        let word = String::deserialize(from)?;
        let states = [
            DynoState::Starting,
            DynoState::Up,
            DynoState::Stopping,
            DynoState::Crashed,
            DynoState::Down,
        ];
        let state = states.into_iter().find(|state| super::state_word(*state) == word);
        state.ok_or_else(|| D::Error::custom(format!("`{word}` is not a dyno state")))
    }
}

/// Times as microseconds since the Unix epoch.
mod micros_serde {
    use serde::{Deserialize, Deserializer, Serializer};
    use trace::Micros;

    pub(super) fn serialize<S: Serializer>(at: &Micros, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Micros, D::Error> {
        u64::deserialize(from).map(Micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(port: u16) -> Start {
        let (command, environment, reach) = ("x".to_owned(), Vec::new(), Reach::Shared);
        let size = Size::default();
        Start { port: Some(port), command, release: 1, size, environment, reach }
    }

    fn kind(pick: &Pick) -> &'static str {
        match pick {
            Pick::Leased(_) => "leased",
            Pick::Resting => "resting",
            Pick::Full { .. } => "full",
            Pick::Booting => "booting",
            Pick::AllCrashed => "crashed",
            Pick::NoDynos => "none",
        }
    }

    #[test]
    fn what_is_offered_follows_the_phases() {
        let fleet = Fleet::new(Clock::start());
        let (one, two) = (DynoName::new("web", 1), DynoName::new("web", 2));
        let pick = |rest: bool| kind(&fleet.pick(1, |_| 0, |_, _| rest)).to_owned();
        assert_eq!(pick(false), "none");
        fleet.starting(&DynoName::new("worker", 1), start(1));
        fleet.set(&DynoName::new("worker", 1), Phase::Up);
        assert_eq!(pick(false), "none");
        fleet.starting(&one, start(2));
        assert_eq!(pick(false), "booting");
        fleet.set(&one, Phase::Up);
        assert_eq!(pick(false), "leased");
        assert_eq!(pick(true), "resting");
        fleet.set(&one, Phase::Restarting);
        assert_eq!(pick(false), "booting");
        fleet.set(&one, Phase::Crashed);
        assert_eq!(pick(false), "crashed");
        fleet.starting(&two, start(3));
        assert_eq!(pick(false), "booting");
        fleet.set(&two, Phase::Stopping);
        fleet.remove(&one);
        assert_eq!(pick(false), "none");
    }

    #[tokio::test]
    async fn a_dyno_is_idle_when_its_last_lease_ends() {
        let fleet = Fleet::new(Clock::start());
        let name = DynoName::new("web", 1);
        let busy = fleet.starting(&name, start(1));
        fleet.set(&name, Phase::Up);
        busy.idle().await;
        let Pick::Leased(lease) = fleet.pick(1, |_| 0, |_, _| false) else { panic!("not leased") };
        assert_eq!(kind(&fleet.pick(1, |_| 0, |_, _| false)), "full");
        let idle = busy.idle();
        tokio::pin!(idle);
        let waits = tokio::time::timeout(std::time::Duration::from_millis(1), idle.as_mut());
        assert!(waits.await.is_err());
        drop(lease);
        idle.await;
    }

    #[test]
    fn ps_survives_json() {
        let fleet = Fleet::new(Clock::start());
        fleet.starting(&DynoName::new("web", 1), start(7));
        let json = serde_json::to_string(&fleet.snapshot()).unwrap();
        assert!(json.contains(r#""name":"web.1","state":"starting""#), "{json}");
        let back: Vec<DynoInfo> = serde_json::from_str(&json).unwrap();
        assert_eq!(back, fleet.snapshot());
    }
}
