//! The way in: sockets that a worker accepts from.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Worker;
use crate::timer::sleep;

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    /// Accepts from a socket until `stop` fires.
    pub(super) fn attend(
        self: &Arc<Self>,
        accepting: &mut JoinSet<()>,
        listener: StdListener,
        dyno: Option<Arc<str>>,
        stop: CancellationToken,
    ) {
        let door = Door { worker: Arc::clone(self), dyno, sessions: self.sessions.clone() };
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                accepting.spawn(door.accept(listener, stop));
            }
            Err(error) => tracing::error!(dyno = ?door.dyno, %error, "cannot accept connections"),
        }
    }
}

/// One socket's way in.
struct Door {
    worker: Arc<Worker>,
    dyno: Option<Arc<str>>,
    sessions: TaskTracker,
}

impl Door {
    async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        loop {
            // In this order: once told to stop, it accepts nothing that is another process' now.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (worker, dyno) = (Arc::clone(&self.worker), self.dyno.clone());
                    self.sessions.spawn(async move { worker.receive(stream, peer, dyno).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
