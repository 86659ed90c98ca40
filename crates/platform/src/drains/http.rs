//! A drain that is a series of POST requests with counted messages (`application/logplex-1`).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use trace::Micros;

use super::connect::Connector;
use super::{DrainOptions, Target, frame};
use crate::logs::Tail;

/// A request is about so large at most.
const BATCH_BYTES: usize = 100 * 1024;
/// Lines that come within this are sent together.
const LINGER: Duration = Duration::from_millis(200);
/// Of an answer's body so much is read, to be able to use the connection again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is sent at once. It stays the same, with its id, until it was taken.
struct Batch {
    id: String,
    body: Vec<u8>,
    messages: u64,
    since: Micros,
}

/// What became of a batch.
enum Fate {
    Taken,
    /// The receiver will never take it.
    Refused(StatusCode),
}

/// A connection that may serve several requests.
#[derive(Default)]
struct Connection {
    sender: Option<SendRequest<Full<Bytes>>>,
    driver: JoinSet<()>,
}

/// Sends all lines until the log ends.
pub(super) async fn send(
    mut tail: Tail,
    connector: Connector,
    target: &Target,
    token: &str,
    options: &DrainOptions,
) {
    let mut connection = Connection::default();
    while let Some(batch) = next_batch(&mut tail).await {
        let mut failures = 0;
        loop {
            match connection.post(&batch, &connector, target, token, options).await {
                Ok(Fate::Taken) => break,
                Ok(Fate::Refused(status)) => {
                    tracing::warn!(%status, "a log drain refuses lines");
                    tail.lost(batch.messages, batch.since);
                    break;
                }
                Err(error) => {
                    connection = Connection::default();
                    failures += 1;
                    tracing::debug!(%error, failures, "a log drain does not take lines");
                    sleep(options.backoff(failures)).await;
                }
            }
        }
    }
}

async fn next_batch(tail: &mut Tail) -> Option<Batch> {
    let first = tail.next().await?;
    // Without a random source the time has to do: it only tells batches apart.
    let id = crate::random::hex(16).unwrap_or_else(|_| format!("{:032x}", first.at.0));
    let mut batch = Batch { id, body: Vec::new(), messages: 1, since: first.at };
    frame::append(&mut batch.body, frame::HOST, &first, "\n");
    let until = Instant::now() + LINGER;
    while batch.body.len() < BATCH_BYTES {
        let Ok(Some(entry)) = timeout_at(until, tail.next()).await else { break };
        frame::append(&mut batch.body, frame::HOST, &entry, "\n");
        batch.messages += 1;
    }
    Some(batch)
}

impl Connection {
    async fn post(
        &mut self,
        batch: &Batch,
        connector: &Connector,
        target: &Target,
        token: &str,
        options: &DrainOptions,
    ) -> io::Result<Fate> {
        // One that was idle may have been closed by the other side: that is no failure of it.
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        if self.sender.is_none() {
            let stream = connector.connect().await?;
            let (sender, driver) =
                http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            self.driver = JoinSet::new();
            self.driver.spawn(async move {
                // What breaks here is seen by whoever waits for the answer.
                let _broken = driver.await;
            });
            self.sender = Some(sender);
        }
        let Some(sender) = &mut self.sender else { return Err(io::ErrorKind::NotConnected.into()) };
        let request = request(batch, target, token).map_err(io::Error::other)?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            body.map_err(io::Error::other)?;
            Ok::<_, io::Error>(status)
        };
        let status =
            timeout(options.answer, answered).await.map_err(|_| io::ErrorKind::TimedOut)??;
        // As Logplex: what is wrong with the request will be wrong the next time too.
        let for_good = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        match status {
            status if status.is_success() => Ok(Fate::Taken),
            status if for_good => Ok(Fate::Refused(status)),
            status => Err(io::Error::other(format!("answered with {status}"))),
        }
    }
}

fn request(
    batch: &Batch,
    target: &Target,
    token: &str,
) -> hyper::http::Result<Request<Full<Bytes>>> {
    let host =
        if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let mut request = Request::post(&target.path)
        .header(HOST, format!("{host}:{}", target.port))
        .header(CONTENT_TYPE, "application/logplex-1")
        .header(USER_AGENT, concat!("Logplex/v72 surgetank/", env!("CARGO_PKG_VERSION")))
        .header("Logplex-Msg-Count", batch.messages)
        .header("Logplex-Frame-Id", &batch.id)
        .header("Logplex-Drain-Token", token);
    if let Some(authorization) = &target.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(Full::new(Bytes::from(batch.body.clone())))
}
