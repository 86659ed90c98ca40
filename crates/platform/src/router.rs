//! The HTTP router: spreads requests over the web dynos by Heroku's rules, and tells of each one
//! in Heroku's words.
//!
//! A dyno is chosen at random among those that are up, and each request has a connection of its
//! own to it. Bodies stream both ways. Not in this cut: `Upgrade` (WebSocket), which is taken out
//! of the request so that the app answers it as an ordinary one.
//!
//! Rules and defaults: Heroku Dev Center "HTTP routing" and "Error codes", and `heroku/vegur`.

mod body;
mod code;
mod exchange;
mod forward;
mod headers;
mod quarantine;
mod route;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dyno::{Dynos, Fleet};
use crate::error::{Error, Result};
use crate::logs::LogHub;
use crate::tracer::Tracer;
use quarantine::Quarantine;

/// Client connections at once; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;
/// A client that has not sent a request's head within this time is let go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed `accept` (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where and how the router listens.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// The address to listen on; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Seeds the choice of dynos and the request ids.
    pub seed: u64,
    /// How long things may take.
    pub timing: RouterTiming,
}

impl RouterOptions {
    /// Heroku's timing.
    #[must_use]
    pub fn new(bind: SocketAddr, seed: u64) -> Self {
        Self { bind, seed, timing: RouterTiming::default() }
    }
}

/// How long a request may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterTiming {
    /// To connect to a dyno (H19). Heroku: 5 s.
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer (H12). Heroku: 30 s.
    pub first_byte: Duration,
    /// Between two pieces of a body (H15, H28). Heroku: 55 s.
    pub idle: Duration,
    /// For a dyno to boot (H20) or to come out of quarantine (H99). Heroku: 75 s.
    pub queue: Duration,
    /// A dyno that refused a connection is left alone for so long. Heroku: 5 s.
    pub quarantine: Duration,
}

impl Default for RouterTiming {
    fn default() -> Self {
        Self {
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
    fleet: Arc<Fleet>,
    hub: LogHub,
    tracer: Tracer,
    quarantine: Quarantine,
    random: Mutex<ChaCha8Rng>,
    tasks: TaskTracker,
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
}

impl Router {
    /// Listens, and serves the web dynos of `dynos`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(
        options: RouterOptions,
        dynos: &Dynos,
        hub: LogHub,
        tracer: Tracer,
    ) -> Result<Self> {
        let wrong = |source| Error::RouterBind { address: options.bind, source };
        let listener = TcpListener::bind(options.bind).await.map_err(wrong)?;
        let local = listener.local_addr().map_err(wrong)?;
        let shared = Arc::new(Shared {
            local,
            quarantine: Quarantine::new(options.timing.quarantine),
            timing: options.timing,
            fleet: Arc::clone(dynos.fleet()),
            hub,
            tracer,
            random: Mutex::new(ChaCha8Rng::seed_from_u64(options.seed)),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            killed: CancellationToken::new(),
        });
        shared.tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.local
    }

    /// Takes no new request, lets those in flight finish for at most `grace`, then closes what is
    /// left. Returns when all of its tasks have ended.
    pub async fn shutdown(self, grace: Duration) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(grace, self.shared.tasks.wait()).await.is_err() {
            self.shared.killed.cancel();
            self.shared.tasks.wait().await;
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.shared.killed.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            // The semaphore is never closed, so there is always a place in the end.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = shared.closing.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, client)) => {
                let connection = serve(stream, client, Arc::clone(&shared));
                shared.tasks.spawn(async move {
                    let _place = place;
                    connection.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "router cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one client connection until either side closes it.
async fn serve(stream: TcpStream, client: SocketAddr, shared: Arc<Shared>) {
    // Latency before throughput; where the option is not there the connection works all the same.
    let _unset = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let answer = forward::forward(Arc::clone(&shared), client, request);
        async { Ok::<_, Infallible>(Box::pin(answer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A connection that breaks off has been told of, where a request was under way, by its
    // `Exchange`; there is nobody else to tell.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shared.closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shared.killed.cancelled() => {}
    }
}
