//! The proxy as a whole: starts the workers, tells them where to listen, ends them.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use trace::{Clock, DynoNames, Sink};

use crate::control::{Control, ORDERS_MAX, Order};
use crate::databases::Databases;
use crate::journal::Journal;
use crate::worker::{Command, Shared, Worker};
use crate::{Access, Config, Error, cancel, listen};

/// Commands that a worker may be behind with.
const COMMANDS_MAX: usize = 256;

/// A running proxy.
///
/// Dropped without [`Proxy::shutdown`], it tells its workers to end their sessions at once and does
/// not wait for them.
pub struct Proxy {
    shared: Arc<Shared>,
    workers: Vec<Running>,
    kill: CancellationToken,
    bound: Mutex<HashSet<SocketAddr>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("mode", &self.shared.mode)
            .field("workers", &self.workers.len())
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

struct Running {
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
        let databases = Databases::new(&config, &journal, &cancels);
        let access = RwLock::new(Arc::new(config.access.clone()));
        let count = config.workers.get();
        let mode = config.mode;
        let shared = Arc::new(Shared {
            access,
            config: RwLock::new(config),
            mode,
            journal,
            databases,
            cancels,
            orders: Mutex::default(),
        });
        let kill = CancellationToken::new();
        let workers = (0..count)
            .map(|number| {
                let (shared, kill) = (Arc::clone(&shared), kill.clone());
                start(Worker { number, shared, kill })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { shared, workers, kill, bound: Mutex::default() })
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
        if !addr.ip().is_loopback() && !self.shared.databases.ask_for_passwords() {
            return Err(Error::NotLoopback(addr));
        }
        let (addr, listeners) = listen::bind(addr, self.workers.len())
            .map_err(|source| Error::Listen { addr, source })?;
        let dyno: Option<Arc<str>> = dyno.map(Into::into);
        for (worker, listener) in self.workers.iter().zip(listeners) {
            worker.tell(Command::Listen { listener, addr, dyno: dyno.clone() })?;
        }
        self.bound.lock().insert(addr);
        Ok(addr)
    }

    /// Accepts no more connections on an address that [`Proxy::listen`] gave; the sessions that
    /// came in there go on.
    ///
    /// # Errors
    /// [`Error::NotListening`], [`Error::WorkerGone`].
    pub fn unlisten(&self, addr: SocketAddr) -> Result<(), Error> {
        if !self.bound.lock().remove(&addr) {
            return Err(Error::NotListening(addr));
        }
        self.workers.iter().try_for_each(|worker| worker.tell(Command::Unlisten(addr)))
    }

    /// From now on others may come in, or by other means: the whole of [`Config::access`] is
    /// exchanged, certificates too. Who is in stays in.
    ///
    /// # Errors
    /// [`Error::Access`]; then nothing has changed.
    pub fn set_access(&self, access: Access) -> Result<(), Error> {
        access.check()?;
        *self.shared.access.write() = Arc::new(access);
        Ok(())
    }

    /// Accepts nothing more, gives the sessions `grace` to end by themselves, then ends them with a
    /// FATAL 57P01, closes all server connections and returns when all threads have ended.
    pub async fn shutdown(mut self, grace: Duration) {
        let workers = std::mem::take(&mut self.workers);
        for worker in &workers {
            // A worker that takes no commands has ended, or will when its sender is dropped.
            let _ = worker.tell(Command::Stop { grace });
        }
        for Running { commands, ended, thread } in workers {
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
        self.kill.cancel();
    }
}

impl Running {
    fn tell(&self, command: Command) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|_| Error::WorkerGone)
    }
}

fn start(worker: Worker) -> Result<Running, Error> {
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let (sender, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Worker)?;
    let thread = thread::Builder::new()
        .name(format!("proxy-{}", worker.number))
        .spawn(move || {
            let shared = Arc::clone(&worker.shared);
            runtime.block_on(worker.run(receiver));
            // The idle connections are closed while a runtime is there to do it.
            shared.databases.close_idle();
            drop(runtime);
            let _ = sender.send(());
        })
        .map_err(Error::Worker)?;
    Ok(Running { commands, ended, thread })
}
