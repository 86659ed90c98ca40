//! A thread that carries requests: a runtime of its own, so that nothing has to be woken across
//! threads on the way from a client to a dyno and back.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exchange::Exchange;
use super::{Shared, forward};

/// After a failed `accept` (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections beyond the limit that are told so at once; still further ones wait in the backlog of
/// the listener.
const REFUSED_MAX: usize = 64;

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    ended: CancellationToken,
}

impl Worker {
    /// Starts the thread; it ends when the router closes and its requests are over.
    pub(super) fn start(listener: StdListener, shared: Arc<Shared>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = CancellationToken::new();
        let last_word = ended.clone().drop_guard();
        std::thread::Builder::new().name("router".to_owned()).spawn(move || {
            runtime.block_on(work(listener, shared));
            // What could not be ended in order is dropped here, before the last word.
            drop(runtime);
            drop(last_word);
        })?;
        Ok(Self { ended })
    }

    /// Returns when the worker has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

async fn work(listener: StdListener, shared: Arc<Shared>) {
    let tasks = TaskTracker::new();
    match TcpListener::from_std(listener) {
        Ok(listener) => accept(listener, &shared, &tasks).await,
        Err(error) => tracing::error!(%error, "router cannot accept connections"),
    }
    tasks.close();
    tasks.wait().await;
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>, tasks: &TaskTracker) {
    let refused = Arc::new(tokio::sync::Semaphore::new(REFUSED_MAX));
    loop {
        let next = async {
            let place = match Arc::clone(&shared.places).try_acquire_owned() {
                Ok(place) => Place::Taken(place),
                // The semaphore is never closed, so there is always room in the end.
                Err(_) => Place::None(Arc::clone(&refused).acquire_owned().await.ok()),
            };
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = shared.closing.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, client)) => {
                let (shared, connections) = (Arc::clone(shared), tasks.clone());
                tasks.spawn(serve(stream, client, shared, connections, place));
            }
            Err(error) => {
                tracing::warn!(%error, "router cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A client connection's claim to be served.
enum Place {
    Taken(OwnedSemaphorePermit),
    /// There was none left: its requests are refused (H22).
    None(Option<OwnedSemaphorePermit>),
}

/// Serves one client connection until either side closes it.
async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    place: Place,
) {
    // Latency before throughput; where the option is not there the connection works all the same.
    let _unset = stream.set_nodelay(true);
    let has_place = matches!(place, Place::Taken(_));
    let service = service_fn(|request| {
        let asked = forward::Asked { client, has_place, tasks: tasks.clone() };
        let answer = forward::forward(Arc::clone(&shared), asked, request);
        async { Ok::<_, Infallible>(Box::pin(answer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.timing.head)
        .max_headers(shared.limits.headers)
        .keep_alive(has_place)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shared.closing.cancelled() => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = shared.killed.cancelled() => None,
        };
    }
    // A connection that breaks off has been told of, where a request was under way, by its
    // `Exchange`; but of what cannot be read there is none.
    if let Some(Err(error)) = ended
        && error.is_parse()
    {
        Exchange::malformed(&shared, client);
    }
    match place {
        Place::Taken(place) => drop(place),
        Place::None(place) => drop(place),
    }
}
