//! A proxy as a service: told apart from its manager, its predecessor and its successor here.
//!
//! ```text
//!   open ─▶ listen ─┬─ sockets of a service manager   activation
//!                   ├─ sockets of a predecessor       predecessor ◀─ link ─▶ successor
//!                   └─ sockets of our own             proxy
//!   run: signals · orders · watchdog · predecessor's news · successors, until the last session
//!        has ended
//! ```
//! A restart refuses nobody: the sockets, and with them the connections that wait in the kernel, go
//! from process to process. The old one serves its sessions to their end. A process ends after its
//! predecessor, so that cancel requests find their way through it.

mod activation;
mod control;
pub(crate) mod files;
mod link;
mod notify;
pub(crate) mod offspring;
mod orders;
mod predecessor;
mod successor;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use proxy::{Address, Origin, Proxy, SocketPermissions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use control::ControlSocket;
use link::Place;
use notify::Notifier;
use predecessor::{Passed, Predecessor};

use crate::metrics;

/// How long open sessions may go on after Ctrl-C.
const SOON: Duration = Duration::from_secs(5);

/// How to live with a service manager and with other generations of the same service.
#[derive(Debug, clap::Args)]
pub(crate) struct ServiceArgs {
    /// Restart without a refused connection: take over from the proxy at this Unix socket, if one
    /// runs there, and give way to the next that comes there
    #[arg(long, value_name = "PATH")]
    handover: Option<PathBuf>,

    /// With --handover: seconds that sessions may go on in the old process
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "handover")]
    drain: u64,

    /// Seconds that open sessions may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    grace: u64,
}

/// Where to listen, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// For clients.
    pub(crate) listen: &'a [Address],
    /// Who may connect to Unix sockets among them.
    pub(crate) socket_permissions: &'a SocketPermissions,
    /// Whose they all are.
    pub(crate) dyno: Option<&'a str>,
    /// For Prometheus.
    pub(crate) metrics: Option<SocketAddr>,
}

/// The proxy's life as a service.
#[derive(Debug)]
pub(crate) struct Service {
    notifier: Notifier,
    handover: Option<PathBuf>,
    drain: Duration,
    grace: Duration,
    /// Opened by a service manager, until they are listened on.
    activated: BTreeMap<Address, Vec<OwnedFd>>,
    /// Where we listen, and what was asked for; `None` for a service manager's sockets.
    asked: BTreeMap<Address, Option<Address>>,
    listening: Option<Listening>,
    /// Where Prometheus comes, if it does.
    metrics: RefCell<Option<metrics::Endpoint>>,
    /// When it ends even if sessions are left.
    ending: watch::Sender<Option<Instant>>,
    /// Another process speaks for the service now; the connection to it.
    successor: RefCell<Option<OwnedFd>>,
}

/// Dropped when all server connections are closed: the successor, if there is one, takes the end of
/// the connection to it as the sign that the whole limit is its own.
#[derive(Debug)]
pub(crate) struct Finished {
    _successor: Option<OwnedFd>,
}

/// What there is from the moment we listen.
#[derive(Debug)]
struct Listening {
    signals: Signals,
    predecessor: Option<Predecessor>,
    control: Option<ControlSocket>,
}

impl Service {
    /// To be called first of all, while there is one thread: takes what a service manager left in
    /// the environment.
    pub(crate) fn open(args: &ServiceArgs) -> anyhow::Result<Self> {
        Ok(Self {
            notifier: Notifier::from_env().context("NOTIFY_SOCKET")?,
            handover: args.handover.clone(),
            drain: Duration::from_secs(args.drain),
            grace: Duration::from_secs(args.grace),
            activated: activation::sockets()?,
            asked: BTreeMap::new(),
            listening: None,
            metrics: RefCell::default(),
            ending: watch::Sender::new(None),
            successor: RefCell::default(),
        })
    }

    /// Where this process records if it is told to do so in `folder`: with a handover two processes
    /// record at the same time, and a recording has one writer.
    pub(crate) fn own_folder(&self, folder: &Path) -> PathBuf {
        if self.handover.is_none() {
            return folder.to_owned();
        }
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        folder.join(format!("{now}-{}", std::process::id()))
    }

    /// Listens: on the sockets of a predecessor or a service manager, else on its own. Everything
    /// that may fail was done before, or a predecessor serves on. Gives the addresses.
    pub(crate) async fn listen(
        &mut self,
        proxy: &Proxy,
        wanted: Wanted<'_>,
    ) -> anyhow::Result<String> {
        let Wanted { listen: wanted, socket_permissions, dyno, metrics } = wanted;
        let signals = Signals::new()?;
        let predecessor = match &self.handover {
            Some(path) => Predecessor::meet(path).await?,
            None => None,
        };
        let (predecessor, Passed { places: mut passed, metrics: theirs }) = match predecessor {
            Some((predecessor, passed)) => (Some(predecessor), passed),
            None => (None, Passed::default()),
        };
        let metrics = match metrics {
            Some(asked) => Some(self.metrics_socket(asked, theirs).await?),
            None => None,
        };
        for (bound, sockets) in std::mem::take(&mut self.activated) {
            // What a predecessor has already are the same sockets.
            if passed.iter().all(|(place, _)| place.bound != bound) {
                passed.push((Place { asked: None, bound, dyno: None, sockets: 0 }, sockets));
            }
        }
        let by_manager = passed.iter().any(|(place, _)| place.asked.is_none());
        passed.retain(|(place, _)| match &place.asked {
            None => true,
            Some(asked) => !by_manager && (wanted.contains(asked) || wanted.contains(&place.bound)),
        });
        let has = |addr: &Address| passed.iter().any(|(place, _)| place.is_at(addr));
        for addr in wanted.iter().filter(|addr| !by_manager && !has(addr)) {
            let bound = match addr {
                Address::Tcp(addr) => proxy.listen(*addr, dyno)?.into(),
                Address::Unix(path) => {
                    proxy.listen_unix(path, socket_permissions, dyno)?;
                    addr.clone()
                }
            };
            self.asked.insert(bound, Some(addr.clone()));
        }
        let predecessor = match predecessor {
            Some(predecessor) => predecessor.replace(proxy).await?,
            None => None,
        };
        for (place, sockets) in passed {
            let origin = if place.asked.is_none() { Origin::Manager } else { Origin::Predecessor };
            self.asked.insert(proxy.adopt(sockets, origin, dyno)?, place.asked);
        }
        let predecessor = match predecessor {
            Some(predecessor) => predecessor.accepting(proxy).await?,
            None => None,
        };
        let control = self.handover.as_deref().map(ControlSocket::bind).transpose()?;
        self.metrics = RefCell::new(metrics.map(|socket| socket.serve(proxy)));
        if predecessor.is_none() {
            self.notifier.ready(&self.status());
        }
        self.listening = Some(Listening { signals, predecessor, control });
        Ok(self.addresses())
    }

    /// The socket for Prometheus: the predecessor's or the service manager's, if it is at this
    /// address, else our own.
    async fn metrics_socket(
        &mut self,
        asked: SocketAddr,
        theirs: Option<(Place, Vec<OwnedFd>)>,
    ) -> anyhow::Result<metrics::Socket> {
        let address = asked.into();
        let activated = self.activated.remove(&address);
        let same = |(place, _): &(Place, _)| place.is_at(&address);
        let passed = theirs.filter(same).map(|(_, sockets)| sockets).or(activated);
        match passed.into_iter().flatten().next() {
            Some(socket) => metrics::Socket::adopt(socket, asked),
            None => metrics::Socket::bind(asked).await,
        }
    }

    fn addresses(&self) -> String {
        let addresses: Vec<String> = self.asked.keys().map(ToString::to_string).collect();
        addresses.join(", ")
    }

    fn status(&self) -> String {
        format!("listening on {}", self.addresses())
    }

    /// Serves until all sessions have ended after a signal or a successor came, or had their time.
    /// `reload` reads the configuration again.
    pub(crate) async fn run(
        mut self,
        proxy: &Proxy,
        reload: impl AsyncFn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Finished> {
        let listening = self.listening.take().context("it does not listen")?;
        self.serve(listening, proxy, reload).await?;
        if let Some(metrics) = self.metrics.take() {
            metrics.end().await;
        }
        Ok(Finished { _successor: self.successor.take() })
    }

    async fn serve(
        &self,
        listening: Listening,
        proxy: &Proxy,
        reload: impl AsyncFn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Listening { mut signals, predecessor, control } = listening;
        let (alone, mut is_alone) = watch::channel(predecessor.is_none());
        let follow = async {
            if let Some(predecessor) = predecessor {
                predecessor.follow(proxy, || self.notifier.ready(&self.status())).await;
                alone.send_replace(true);
            }
            std::future::pending().await
        };
        let ended = async {
            // The sender lives as long as this.
            let _ = is_alone.wait_for(|alone| *alone).await;
            proxy.sessions_ended().await;
        };
        let Signals { end, again, succeed } = &mut signals;
        tokio::select! {
            () = self.over(ended) => Ok(()),
            never = self.obey(end, proxy) => never,
            never = self.take_orders(again, proxy, reload) => never,
            never = self.keep_alive(proxy) => never,
            never = self.give_way(control, succeed, proxy) => never,
            never = follow => never,
        }
    }

    /// Returns when it is to end and all has ended, or the time is up.
    async fn over(&self, ended: impl Future<Output = ()>) {
        let mut ending = self.ending.subscribe();
        // The sender lives as long as we do.
        let _ = ending.wait_for(Option::is_some).await;
        tokio::pin!(ended);
        loop {
            let until = *ending.borrow_and_update();
            tokio::select! {
                () = &mut ended => return,
                () = sleep_until(until.unwrap_or_else(Instant::now)) => return,
                _ = ending.changed() => {}
            }
        }
    }

    /// Ends in so much time, or earlier if that was said before.
    fn end_in(&self, time: Duration) {
        let until = Instant::now() + time;
        self.ending.send_modify(|ending| {
            *ending = Some(ending.map_or(until, |earlier| earlier.min(until)));
        });
    }

    fn is_succeeded(&self) -> bool {
        self.successor.borrow().is_some()
    }

    async fn obey(&self, end: &mut End, proxy: &Proxy) -> anyhow::Result<()> {
        let mut asked_before = false;
        loop {
            let time = match end.recv().await {
                // systemd's second SIGTERM goes to whoever is left when the main process has ended.
                Asked::Orderly if !asked_before || self.notifier.is_heard() => self.grace,
                Asked::Soon if !asked_before => SOON.min(self.grace),
                Asked::Orderly | Asked::Soon => Duration::ZERO,
            };
            asked_before = true;
            self.end(time, proxy)?;
        }
    }

    /// Lets nobody in any more, and ends in so much time.
    fn end(&self, time: Duration, proxy: &Proxy) -> anyhow::Result<()> {
        if !self.is_succeeded() {
            self.notifier.stopping("waiting for sessions to end");
        }
        proxy.unlisten_all()?;
        self.end_in(time);
        Ok(())
    }

    /// Tells the service manager that the workers are alive, twice as often as it wants to know.
    async fn keep_alive(&self, proxy: &Proxy) -> anyhow::Result<()> {
        let Some(period) = self.notifier.watchdog() else { return std::future::pending().await };
        let mut ticks = interval((period / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // A worker that does not answer is what a watchdog is for: nothing is said then.
            match timeout(period, proxy.pulse()).await {
                Ok(Ok(())) if !self.is_succeeded() => self.notifier.alive(),
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the workers do not answer"),
                Err(_) => tracing::error!("the workers do not answer"),
            }
        }
    }
}

/// The signals that a service obeys. Caught from before anybody is told that it serves.
#[derive(Debug)]
struct Signals {
    end: End,
    /// SIGHUP: read the configuration again.
    again: Signal,
    /// SIGUSR2: start a successor.
    succeed: Signal,
}

/// The signals that end it.
#[derive(Debug)]
struct End {
    interrupt: Signal,
    terminate: Signal,
}

/// How it is to end.
enum Asked {
    Soon,
    Orderly,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let end = End {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        };
        Ok(Self {
            end,
            again: signal(SignalKind::hangup())?,
            succeed: signal(SignalKind::user_defined2())?,
        })
    }
}

impl End {
    async fn recv(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Soon,
            _ = self.terminate.recv() => Asked::Orderly,
        }
    }
}
