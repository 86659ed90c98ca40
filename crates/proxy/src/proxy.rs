//! The proxy as a whole: starts the workers, tells them where to listen, ends them.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use trace::{Clock, DynoNames, Sink};

use crate::access::Doorman;
use crate::control::{Control, ORDERS_MAX, Order};
use crate::databases::Databases;
use crate::journal::Journal;
use crate::listen::unix::{self, SocketFile, SocketPermissions};
use crate::listen::{self, Listener};
use crate::timer::Timekeeper;
use crate::worker::{Command, Shared, Worker};
use crate::{Access, Address, Config, Error, cancel};

/// Commands that a worker may be behind with.
const COMMANDS_MAX: usize = 256;

/// A running proxy.
///
/// Dropped without [`Proxy::shutdown`], it tells its workers to end their sessions at once and does
/// not wait for them.
pub struct Proxy {
    pub(crate) shared: Arc<Shared>,
    pub(crate) workers: Vec<Running>,
    kill: CancellationToken,
}

/// What stands behind an address that is listened on.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Our own copies of the sockets, to give them to a successor.
    pub(crate) sockets: Vec<Listener>,
    pub(crate) dyno: Option<Arc<str>>,
    /// The file of a Unix socket that is ours to remove.
    pub(crate) file: Option<SocketFile>,
}

/// Who opened the sockets that are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A service manager, which keeps them.
    Manager,
    /// The process that served there before: what was its own is ours now.
    Predecessor,
}

/// A socket that is accepted from; see [`Proxy::serve`].
#[derive(Debug)]
pub struct Serving {
    _stop: DropGuard,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("mode", &self.shared.mode)
            .field("workers", &self.workers.len())
            .field("bound", &self.shared.bound)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Running {
    pub(crate) sessions: TaskTracker,
    commands: mpsc::Sender<Command>,
    ended: oneshot::Receiver<()>,
    thread: thread::JoinHandle<()>,
}

impl Proxy {
    /// Starts the workers. Nothing is listened on yet, and no connection to the server is opened
    /// before a client needs one.
    ///
    /// # Errors
    /// [`Error::Databases`], [`Error::Worker`].
    pub fn start(
        config: Config,
        names: Arc<DynoNames>,
        clock: Clock,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        config.check()?;
        let journal = Arc::new(Journal::new(clock, sink, names));
        let cancels = Arc::new(cancel::Registry::default());
        let doorman = Arc::new(Doorman::new(config.access.clone()));
        let databases = Databases::new(&config, &doorman, &journal, &cancels);
        let count = config.workers.get();
        let mode = config.mode;
        let shared = Arc::new(Shared {
            config: RwLock::new(config),
            mode,
            doorman,
            journal,
            databases,
            cancels,
            bound: Mutex::default(),
            orders: Mutex::default(),
        });
        let kill = CancellationToken::new();
        let time = Arc::new(Timekeeper::start().map_err(Error::Worker)?);
        let workers = (0..count)
            .map(|number| {
                let (shared, kill) = (Arc::clone(&shared), kill.clone());
                start(Worker { number, shared, sessions: TaskTracker::new(), kill }, &time)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { shared, workers, kill })
    }

    /// The operator's hand on it.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(&self.shared)
    }

    /// What admins want that only the proxy's owner can do. Until somebody has asked for it, and
    /// once it is dropped, admins are told that nobody listens.
    #[must_use]
    pub fn orders(&self) -> mpsc::Receiver<Order> {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        *self.shared.orders.lock() = Some(orders);
        taken
    }

    /// Listens on an address, in all workers. Port 0 is any free one; the address that was bound is
    /// returned. All that comes in there is `dyno`'s; without one, each client says itself who it
    /// is (`surgetank.dyno`, `application_name`), or is known by its address.
    ///
    /// # Errors
    /// [`Error::NotLoopback`], [`Error::Listen`], [`Error::WorkerGone`].
    pub fn listen(&self, addr: SocketAddr, dyno: Option<&str>) -> Result<SocketAddr, Error> {
        self.shared.check_address(&addr.into())?;
        let (bound, sockets) = listen::bind(addr, self.workers.len())
            .map_err(|source| Error::Listen { addr: addr.into(), source })?;
        self.accept_from(bound.into(), Bound { sockets, dyno: dyno.map(Into::into), file: None })?;
        Ok(bound)
    }

    /// Listens on a Unix socket, as [`Proxy::listen`] does on an address. Its file is removed when
    /// it is listened on no longer; one that a killed process has left there is replaced.
    ///
    /// # Errors
    /// [`Error::Listen`], [`Error::WorkerGone`].
    pub fn listen_unix(
        &self,
        path: &Path,
        permissions: &SocketPermissions,
        dyno: Option<&str>,
    ) -> Result<(), Error> {
        let addr = Address::Unix(path.to_owned());
        let (socket, file) = unix::bind(path, permissions)
            .map_err(|source| Error::Listen { addr: addr.clone(), source })?;
        let (sockets, dyno) = (vec![Listener::Unix(socket)], dyno.map(Into::into));
        self.accept_from(addr, Bound { sockets, dyno, file: Some(file) })
    }

    /// As [`Proxy::listen`], with sockets that somebody else opened, all on one address.
    ///
    /// # Errors
    /// [`Error::Adopt`], [`Error::NotLoopback`], [`Error::Listen`], [`Error::WorkerGone`].
    pub fn adopt(
        &self,
        sockets: Vec<OwnedFd>,
        origin: Origin,
        dyno: Option<&str>,
    ) -> Result<Address, Error> {
        let (addr, sockets) = listen::adopt(sockets).map_err(Error::Adopt)?;
        self.shared.check_address(&addr)?;
        let file = match (&addr, origin) {
            // Where somebody has removed it, there is none to remove.
            (Address::Unix(path), Origin::Predecessor) => SocketFile::of(path).ok(),
            (Address::Unix(_), Origin::Manager) | (Address::Tcp(_), _) => None,
        };
        self.accept_from(addr.clone(), Bound { sockets, dyno: dyno.map(Into::into), file })?;
        Ok(addr)
    }

    /// Accepts from a socket in another network namespace, where several may have the same address:
    /// all that comes in there is `dyno`'s. Ends when what it returns is dropped; the sessions that
    /// came in go on. A successor does not get it: only whoever made the namespace can.
    ///
    /// # Errors
    /// [`Error::Adopt`], [`Error::NotLoopback`], [`Error::Listen`], [`Error::WorkerGone`].
    pub fn serve(&self, socket: OwnedFd, dyno: &str) -> Result<Serving, Error> {
        let (addr, sockets) = listen::adopt(vec![socket]).map_err(Error::Adopt)?;
        self.shared.check_address(&addr)?;
        let hands = listen::deal(&sockets, self.workers.len())
            .map_err(|source| Error::Listen { addr, source })?;
        let (stop, dyno) = (CancellationToken::new(), Arc::from(dyno));
        let serving = Serving { _stop: stop.clone().drop_guard() };
        for (worker, listener) in self.workers.iter().zip(hands.into_iter().flatten()) {
            let (dyno, stop) = (Arc::clone(&dyno), stop.clone());
            worker.tell(Command::Serve { listener, dyno, stop })?;
        }
        Ok(serving)
    }

    fn accept_from(&self, addr: Address, bound: Bound) -> Result<(), Error> {
        self.accept(&addr, &bound)?;
        self.shared.bound.lock().insert(addr, bound);
        Ok(())
    }

    pub(crate) fn accept(&self, addr: &Address, bound: &Bound) -> Result<(), Error> {
        let hands = listen::deal(&bound.sockets, self.workers.len())
            .map_err(|source| Error::Listen { addr: addr.clone(), source })?;
        for (worker, hand) in self.workers.iter().zip(hands) {
            for listener in hand {
                let addr = addr.clone();
                worker.tell(Command::Listen { listener, addr, dyno: bound.dyno.clone() })?;
            }
        }
        Ok(())
    }

    /// Accepts no more connections on an address that [`Proxy::listen`] gave or
    /// [`Proxy::listen_unix`] was given; the sessions that came in there go on.
    ///
    /// # Errors
    /// [`Error::NotListening`], [`Error::WorkerGone`].
    pub fn unlisten(&self, addr: impl Into<Address>) -> Result<(), Error> {
        let addr = addr.into();
        if self.shared.bound.lock().remove(&addr).is_none() {
            return Err(Error::NotListening(addr));
        }
        self.no_longer_accept(&addr)
    }

    pub(crate) fn no_longer_accept(&self, addr: &Address) -> Result<(), Error> {
        let mut workers = self.workers.iter();
        workers.try_for_each(|worker| worker.tell(Command::Unlisten(addr.clone())))
    }

    /// From now on others may come in, or by other means: the whole of [`Config::access`] is
    /// exchanged, certificates too. Who is in stays in.
    ///
    /// # Errors
    /// [`Error::Access`], [`Error::NotLoopback`]; then nothing has changed.
    pub fn set_access(&self, access: Access) -> Result<(), Error> {
        let mut config = self.shared.config.write();
        let next = Config { access: access.clone(), ..config.clone() };
        self.shared.check_config(&next)?;
        *config = next;
        self.shared.doorman.set_access(access);
        Ok(())
    }

    /// Accepts nothing more, gives the sessions `grace` to end by themselves, then ends them with a
    /// FATAL 57P01, closes all server connections and returns when all threads have ended.
    pub async fn shutdown(mut self, grace: Duration) {
        self.shared.bound.lock().clear();
        let workers = std::mem::take(&mut self.workers);
        for worker in &workers {
            // A worker that takes no commands has ended, or will when its sender is dropped.
            let _ = worker.tell(Command::Stop { grace });
        }
        for Running { commands, ended, thread, .. } in workers {
            drop(commands);
            // Also when the worker has panicked: its sender is gone then.
            let _ = ended.await;
            if thread.join().is_err() {
                tracing::error!("a worker of the proxy panicked");
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.bound.lock().clear();
        self.kill.cancel();
    }
}

impl Running {
    pub(crate) fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|_| Error::WorkerGone)
    }
}

fn start(worker: Worker, time: &Arc<Timekeeper>) -> Result<Running, Error> {
    let sessions = worker.sessions.clone();
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let (sender, ended) = oneshot::channel();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Error::Worker)?;
    let time = Arc::clone(time);
    let thread = thread::Builder::new()
        .name(format!("proxy-{}", worker.number))
        .spawn(move || {
            let shared = Arc::clone(&worker.shared);
            time.keep_time_here();
            runtime.block_on(worker.run(receiver));
            // The idle connections are closed while a runtime is there to do it.
            shared.databases.close_idle();
            drop(runtime);
            drop(time);
            let _ = sender.send(());
        })
        .map_err(Error::Worker)?;
    Ok(Running { sessions, commands, ended, thread })
}
