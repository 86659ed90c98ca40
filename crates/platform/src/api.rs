//! The part of Heroku's Platform API that its own command line needs, so that `heroku ps`, `logs`,
//! `config:set`, `releases`, `run` and the like work on the app that runs here.
//!
//! ```text
//!   heroku CLI ── HTTP, loopback, `Authorization: Bearer KEY` ──▶ routes ─▶ Platform
//!       │  logs: GET a secret URL, server-sent events
//!       └─ run:  TLS to a secret rendezvous ──▶ a one-off dyno
//! ```
//!
//! Who has the key may do everything with the app, so it is random for each app, kept for its owner
//! only, and compared in constant time. Answers have the shapes of Heroku's; what is not served is
//! answered as Heroku answers what it does not know.

mod answer;
mod dynos;
mod logs;
mod rendezvous;
mod resources;
mod routes;
mod settings;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::control::{Reply, Staging};
use crate::error::{Error, Result};
use answer::Fault;
use logs::LogSessions;
use rendezvous::Rendezvous;

/// What is remembered from one run to the next.
const FILE: &str = "api.json";
/// Connections at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// A client has so long to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Who the app is to the API. Kept, so that what was exported into a shell stays true.
#[derive(Clone, Serialize, Deserialize)]
struct Identity {
    app_id: String,
    key: String,
    port: u16,
}

/// What all requests share.
struct Shared {
    staging: Arc<Staging>,
    identity: Identity,
    name: String,
    address: SocketAddr,
    log_sessions: LogSessions,
    rendezvous: Rendezvous,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// The API of an app, served. Dropping it closes it.
pub struct Api {
    shared: Arc<Shared>,
    certificate: PathBuf,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret.
        f.debug_struct("Api").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Api {
    /// Serves the API at `address`; with port 0, at the port of the last run if it is free, else at
    /// any. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound, or the app's folder cannot be written to.
    pub async fn start(staging: Arc<Staging>, address: SocketAddr) -> Result<Self> {
        let kept = &staging.platform.kept;
        let known: Option<Identity> = kept.read(FILE)?;
        let last = known.as_ref().map_or(0, |known| known.port);
        let listener = listen(address, last).await?;
        let wrong = |source| Error::ApiBind { address, source };
        let address = listener.local_addr().map_err(wrong)?;
        let identity = match known {
            Some(known) => Identity { port: address.port(), ..known },
            None => Identity {
                app_id: crate::random::uuid().map_err(Error::Random)?,
                key: crate::random::uuid().map_err(Error::Random)?,
                port: address.port(),
            },
        };
        kept.write(FILE, &identity)?;
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let own = SocketAddr::new(address.ip(), 0);
        let (rendezvous, certificate) = Rendezvous::start(own, &tasks, &closing).await?;
        let certificate = kept.write_text("api.pem", &certificate)?;
        let shared = Arc::new(Shared {
            name: crate::app_name(&staging.platform.releases.app().dir),
            log_sessions: LogSessions::default(),
            staging,
            identity,
            address,
            rendezvous,
            tasks: tasks.clone(),
            closing,
        });
        tasks.spawn(let_in(listener, Arc::clone(&shared)));
        Ok(Self { shared, certificate })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.shared.identity.key
    }

    /// The certificate of the rendezvous, for clients to trust.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The variables with which Heroku's command line finds this app, as a shell reads them.
    #[must_use]
    pub fn exports(&self) -> String {
        let Shared { name, address, identity, .. } = &*self.shared;
        // As a shell takes a text with a quote in it.
        let certificate = self.certificate.display().to_string().replace('\'', r"'\''");
        format!(
            "export HEROKU_HOST=http://{address} HEROKU_API_KEY={} HEROKU_APP={name}\n\
             export HEROKU_PARTICLEBOARD_URL=http://{address} NODE_EXTRA_CA_CERTS='{certificate}'",
            identity.key
        )
    }

    /// Breaks off every conversation. Returns when all tasks have ended.
    pub async fn shutdown(self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

/// The port of the last run serves those who exported it; if it is taken, any does.
async fn listen(address: SocketAddr, last: u16) -> Result<TcpListener> {
    if address.port() == 0
        && last != 0
        && let Ok(listener) = TcpListener::bind(SocketAddr::new(address.ip(), last)).await
    {
        return Ok(listener);
    }
    TcpListener::bind(address).await.map_err(|source| Error::ApiBind { address, source })
}

async fn let_in(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let listen = || async {
        // The semaphore is never closed, so there is always a place in the end.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        Ok((listener.accept().await?.0, place))
    };
    let (who, closing) = ("the Platform API", &shared.closing);
    while let Some((stream, place)) = accept::next(who, &listen, closing).await {
        let connection = serve(stream, Arc::clone(&shared));
        shared.tasks.spawn(async move {
            let _place = place;
            connection.await;
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let answer = answered(Arc::clone(&shared), request);
        async { Ok::<_, Infallible>(Box::pin(answer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client that goes away in the middle has nothing to be told.
        _ = connection => {}
        () = shared.closing.cancelled() => {}
    }
}

async fn answered(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Reply> {
    let path = request.uri().path().to_owned();
    // The URL of a log session is its own secret: what reads it sends no key.
    let answered = if let Some(token) = path.strip_prefix("/log-sessions/") {
        shared.log_sessions.answer(&shared, token)
    } else if authorized(&request, &shared.identity.key) {
        routes::answer(&shared, request).await
    } else {
        Err(Fault::unauthorized())
    };
    answered.unwrap_or_else(Fault::into_response)
}

fn authorized(request: &Request<Incoming>, key: &str) -> bool {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    same(given.trim().as_bytes(), key.as_bytes())
}

/// Compares in a time that tells nothing of where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differences =
        one.iter().zip(other).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_same_is_the_same() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        for other in [&b""[..], b"ab", b"abcd", b"abd", b"Abc"] {
            assert!(!same(b"abc", other) && !same(other, b"abc"));
        }
    }
}
