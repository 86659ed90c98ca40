//! The way in: sockets that a worker accepts from.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Worker;
use crate::client::Comer;
use crate::listen::Listener;
use crate::timer::sleep;

/// How long accepting pauses when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    /// Accepts from a socket until `stop` fires.
    pub(super) fn attend(
        self: &Arc<Self>,
        accepting: &mut JoinSet<()>,
        listener: Listener,
        dyno: Option<Arc<str>>,
        stop: CancellationToken,
    ) {
        let door = Door { worker: Arc::clone(self), dyno, sessions: self.sessions.clone() };
        match Entrance::open(listener) {
            Ok(entrance) => {
                accepting.spawn(door.accept(entrance, stop));
            }
            Err(error) => tracing::error!(dyno = ?door.dyno, %error, "cannot accept connections"),
        }
    }
}

/// A socket in the runtime of its worker.
enum Entrance {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Entrance {
    fn open(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    /// The next that comes. Cancellation safe.
    async fn next(&self) -> io::Result<Comer> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Comer::Tcp(stream, peer))
            }
            Self::Unix(listener) => Ok(Comer::Unix(listener.accept().await?.0)),
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
    async fn accept(self, entrance: Entrance, stop: CancellationToken) {
        loop {
            // In this order: once told to stop, it accepts nothing that is another process' now.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = entrance.next() => accepted,
            };
            match accepted {
                Ok(comer) => {
                    let (worker, dyno) = (Arc::clone(&self.worker), self.dyno.clone());
                    self.sessions.spawn(async move { worker.receive(comer, dyno).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
