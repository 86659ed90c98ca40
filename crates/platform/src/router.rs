//! The HTTP router: spreads requests over the web dynos by Heroku's rules, and tells of each one
//! in Heroku's words.
//!
//! ```text
//!   client ─▶ worker ─▶ forward ─▶ route ─▶ dyno      one connection per request
//!                          │ limits, headers, codes
//!                          ├─▶ body    the answer, as it comes
//!                          └─▶ tunnel  after an `Upgrade` (WebSocket)
//! ```
//!
//! A dyno is chosen at random among those that are up. Bodies stream both ways. Each request has a
//! connection of its own to its dyno, as with Heroku's `http-disable-keepalive-to-dyno`: a dyno
//! that can speak to one client at a time (many can) is then never kept from its next request by a
//! connection that idles, and none is lost on one that the dyno has just closed.
//!
//! Rules and defaults: Heroku Dev Center "HTTP routing" and "Error codes", and `heroku/vegur`.

mod body;
mod code;
mod exchange;
mod forward;
mod headers;
mod identity;
mod limits;
mod link;
mod quarantine;
mod route;
mod tunnel;
mod worker;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use limits::RouterLimits;

use crate::dyno::{Dynos, Fleet};
use crate::error::{Error, Result};
use crate::logs::LogHub;
use crate::tracer::Tracer;
use quarantine::Quarantine;

/// Where and how the router listens.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// The address to listen on; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Seeds the choice of dynos and the request ids.
    pub seed: u64,
    /// How long things may take.
    pub timing: RouterTiming,
    /// How much there may be.
    pub limits: RouterLimits,
    /// Threads that carry requests.
    pub workers: NonZeroUsize,
}

impl RouterOptions {
    /// Heroku's timing and limits; one worker per two cores, as the dynos need the rest.
    #[must_use]
    pub fn new(bind: SocketAddr, seed: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            bind,
            seed,
            timing: RouterTiming::default(),
            limits: RouterLimits::default(),
            workers: NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// How long a request may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterTiming {
    /// For a client to send a request's head. Heroku: 30 s.
    pub head: Duration,
    /// To connect to a dyno (H19). Heroku: 5 s.
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer (H12). Heroku: 30 s.
    pub first_byte: Duration,
    /// Between two pieces of a body (H15, H28). Heroku: 55 s.
    pub idle: Duration,
    /// For a dyno to boot (H20), to have room (H11) or to come out of quarantine (H99). Heroku:
    /// 75 s.
    pub queue: Duration,
    /// A dyno that refused a connection is left alone for so long. Heroku: 5 s.
    pub quarantine: Duration,
}

impl Default for RouterTiming {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(55),
            queue: Duration::from_secs(75),
            quarantine: Duration::from_secs(5),
        }
    }
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    local: SocketAddr,
    timing: RouterTiming,
    limits: RouterLimits,
    fleet: Arc<Fleet>,
    hub: LogHub,
    tracer: Tracer,
    quarantine: Quarantine,
    random: Mutex<ChaCha8Rng>,
    /// Requests that wait for a dyno with room.
    backlog: AtomicU32,
    maintenance: AtomicBool,
    /// For client connections.
    places: Arc<Semaphore>,
    closing: CancellationToken,
    killed: CancellationToken,
}

impl Shared {
    fn random(&self) -> u64 {
        self.random.lock().next_u64()
    }
}

/// A listening router. Dropping it closes every connection; [`Router::shutdown`] lets requests
/// finish.
#[derive(Debug)]
pub struct Router {
    shared: Arc<Shared>,
    workers: Vec<worker::Worker>,
}

impl Router {
    /// Listens, and serves the web dynos of `dynos`.
    ///
    /// # Errors
    /// The address cannot be bound, or a thread cannot be started.
    pub async fn start(
        options: RouterOptions,
        dynos: &Dynos,
        hub: LogHub,
        tracer: Tracer,
    ) -> Result<Self> {
        let wrong = |source| Error::RouterBind { address: options.bind, source };
        let listener = TcpListener::bind(options.bind).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let local = listener.local_addr().map_err(wrong)?;
        let shared = Arc::new(Shared {
            local,
            quarantine: Quarantine::new(options.timing.quarantine),
            timing: options.timing,
            fleet: Arc::clone(dynos.fleet()),
            hub,
            tracer,
            random: Mutex::new(ChaCha8Rng::seed_from_u64(options.seed)),
            backlog: AtomicU32::new(0),
            maintenance: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(options.limits.connections)),
            limits: options.limits,
            closing: CancellationToken::new(),
            killed: CancellationToken::new(),
        });
        let start = |_| worker::Worker::start(listener.try_clone()?, Arc::clone(&shared));
        let workers = (0..options.workers.get()).map(start).collect::<std::io::Result<_>>();
        match workers {
            Ok(workers) => Ok(Self { shared, workers }),
            Err(error) => {
                // Those that have started end.
                shared.closing.cancel();
                Err(wrong(error))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.local
    }

    /// A handle on maintenance mode, in which every request is answered with H80.
    #[must_use]
    pub fn maintenance(&self) -> Maintenance {
        Maintenance { shared: Arc::clone(&self.shared) }
    }

    /// Takes no new request, lets those in flight finish for at most `grace`, then closes what is
    /// left. Returns when all of its threads have ended their work.
    pub async fn shutdown(self, grace: Duration) {
        self.shared.closing.cancel();
        let ended = async {
            for worker in &self.workers {
                worker.ended().await;
            }
        };
        if tokio::time::timeout(grace, ended).await.is_err() {
            self.shared.killed.cancel();
            for worker in &self.workers {
                worker.ended().await;
            }
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.shared.killed.cancel();
    }
}

/// Maintenance mode of a router (`heroku maintenance:on`).
#[derive(Clone, Debug)]
pub struct Maintenance {
    shared: Arc<Shared>,
}

impl Maintenance {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.maintenance.load(Ordering::Relaxed)
    }

    /// Turns it on or off. Requests under way go on.
    pub fn set(&self, on: bool) {
        self.shared.maintenance.store(on, Ordering::Relaxed);
    }
}
