//! Log sessions: a secret URL that gives lines as server-sent events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::answer::{Answered, Fault, created, number, read};
use super::{Shared, resources};
use crate::control::Reply;
use crate::logs::{LogFilter, LogHub, Source};

/// So long one may come to a session, and come back (Heroku: five minutes).
const LIFETIME: Duration = Duration::from_secs(300);
/// More sessions at a time displace the oldest.
const SESSIONS_MAX: usize = 100;
/// Lines between the tail and the connection; the tail itself does the losing.
const LINES_AHEAD: usize = 64;
/// Something is sent at least so often, so that nobody takes the silence for the end.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The sessions that were asked for.
#[derive(Debug, Default)]
pub(super) struct LogSessions {
    sessions: Mutex<VecDeque<Session>>,
}

#[derive(Clone, Debug)]
struct Session {
    token: String,
    filter: LogFilter,
    tail: bool,
    until: Instant,
}

#[derive(Deserialize)]
struct SessionOrder {
    dyno: Option<String>,
    lines: Option<Value>,
    source: Option<String>,
    tail: Option<bool>,
}

pub(super) async fn session(shared: &Arc<Shared>, body: Incoming) -> Answered {
    let order: SessionOrder = read(body).await?;
    let source = order.source.as_deref().map(str::parse::<Source>).transpose();
    let lines = order.lines.as_ref().and_then(number).and_then(|lines| usize::try_from(lines).ok());
    let mut filter = LogFilter::default();
    filter.dyno = order.dyno;
    filter.source = source.map_err(Fault::invalid)?;
    filter.lines = lines.unwrap_or(filter.lines);
    let token = crate::random::hex(16).map_err(crate::Error::Random)?;
    let url = format!("http://{}/log-sessions/{token}", shared.address);
    let until = Instant::now() + LIFETIME;
    let session = Session { token: token.clone(), filter, tail: order.tail == Some(true), until };
    let mut sessions = shared.log_sessions.sessions.lock();
    if sessions.len() == SESSIONS_MAX {
        sessions.pop_front();
    }
    sessions.push_back(session);
    let now = resources::time(shared.staging.platform.hub.now().0);
    created(&json!({ "id": token, "logplex_url": url, "created_at": now, "updated_at": now }))
}

impl LogSessions {
    /// Sends the lines of a session.
    pub(super) fn answer(&self, shared: &Arc<Shared>, token: &str) -> Answered {
        let now = Instant::now();
        let session = {
            let mut sessions = self.sessions.lock();
            sessions.retain(|session| session.until > now);
            let found = sessions
                .iter()
                .find(|session| super::same(session.token.as_bytes(), token.as_bytes()));
            found.cloned().ok_or_else(|| Fault::not_found("log session"))?
        };
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let (hub, closing) = (shared.staging.platform.hub.clone(), shared.closing.clone());
        shared.tasks.spawn(async move {
            tokio::select! {
                () = send(&hub, session, &sender) => {}
                () = sender.closed() => {}
                () = closing.cancelled() => {}
            }
        });
        let mut response = Response::new(Reply::Lines(lines));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(response)
    }
}

async fn send(hub: &LogHub, session: Session, to: &mpsc::Sender<Bytes>) {
    if !session.tail {
        for entry in hub.history(&session.filter) {
            // A client that went away ends this from outside.
            let _gone = to.send(event(&entry.to_string())).await;
        }
        return;
    }
    let mut tail = hub.tail(session.filter);
    loop {
        let next = match timeout(HEARTBEAT, tail.next()).await {
            Ok(Some(entry)) => event(&entry.to_string()),
            Ok(None) => return,
            // A comment, which readers of events pass over.
            Err(_) => Bytes::from_static(b":\n\n"),
        };
        let _gone = to.send(next).await;
    }
}

/// One line is one event. A carriage return would end the field, as a line feed does.
fn event(line: &str) -> Bytes {
    Bytes::from(format!("data: {}\n\n", line.replace('\r', " ")))
}
