//! A thread that carries requests: a runtime of its own, so that nothing has to be woken across
//! threads on the way from a client to a dyno and back.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exchange::Exchange;
use super::{Shared, forward};
use crate::accept;

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
        Ok(listener) => let_in(listener, &shared, &tasks).await,
        Err(error) => tracing::error!(%error, "router cannot accept connections"),
    }
    tasks.close();
    tasks.wait().await;
}

async fn let_in(listener: TcpListener, shared: &Arc<Shared>, tasks: &TaskTracker) {
    let refused = Arc::new(Semaphore::new(REFUSED_MAX));
    let listen = || async {
        let (stream, client) = listener.accept().await?;
        // Not before: what waits for a client must not keep a place from another worker's.
        let place = match Arc::clone(&shared.places).try_acquire_owned() {
            Ok(place) => Place { is_served: true, _permit: Some(place) },
            Err(_) => {
                // The semaphore is never closed, so there is always room in the end.
                let room = Arc::clone(&refused).acquire_owned().await.ok();
                Place { is_served: false, _permit: room }
            }
        };
        Ok((stream, client, place))
    };
    while let Some(accepted) = accept::next("the router", &listen, &shared.closing).await {
        let (stream, client, place) = accepted;
        tasks.spawn(serve(stream, client, Arc::clone(shared), tasks.clone(), Arc::new(place)));
    }
}

/// A client connection's claim, kept until the connection ends, also as a tunnel.
#[derive(Debug)]
pub(super) struct Place {
    /// If not, there was none left: its requests are refused (H22).
    pub(super) is_served: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Serves one client connection until either side closes it.
async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    place: Arc<Place>,
) {
    // Latency before throughput; where the option is not there the connection works all the same.
    let _unset = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let asked = forward::Asked { client, place: Arc::clone(&place), tasks: tasks.clone() };
        let answer = forward::forward(Arc::clone(&shared), asked, request);
        async { Ok::<_, Infallible>(Box::pin(answer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.timing.head)
        .max_headers(shared.limits.headers)
        .keep_alive(place.is_served)
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
}
