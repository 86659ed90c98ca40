//! The serving side of the control socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    Controlled, LogsOrder, MaintenanceMode, Refusal, RestartOrder, RunOrder, ScaleOrder, Scaled,
    orders, socket,
};
use crate::accept;
use crate::error::{Error, Result};
use crate::router::Maintenance;

/// An order is a few words, or at most all config vars of an app, escaped.
const ORDER_BYTES_MAX: usize = 256 * 1024;
/// Log lines between the hub's tail and the connection; the tail itself does the losing.
const LINES_AHEAD: usize = 64;

/// Serves the control socket. Dropping it closes it and removes the socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Server {
    /// Listens at the first of `paths` (see [`super::candidates`]) that can be had; a socket that
    /// nobody serves any more is replaced.
    ///
    /// # Errors
    /// Another process serves this app, or no path can be had.
    pub async fn start<C: Controlled>(paths: &[PathBuf], controlled: Arc<C>) -> Result<Self> {
        let (listener, path) = socket::bind(paths).await?;
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let desk = Arc::new(Desk { controlled, tasks: tasks.clone(), closing: closing.clone() });
        tasks.spawn(let_in(listener, desk));
        Ok(Self { path, tasks, closing })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Breaks off every conversation and removes the socket. Returns when all tasks have ended.
    pub async fn shutdown(self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.cancel();
        // If it is gone already, that is what we want.
        let _gone = std::fs::remove_file(&self.path);
    }
}

/// What all connections share.
pub(super) struct Desk<C> {
    pub(super) controlled: Arc<C>,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
}

async fn let_in<C: Controlled>(listener: UnixListener, desk: Arc<Desk<C>>) {
    let listen = || listener.accept();
    while let Some((stream, _)) = accept::next("the control socket", &listen, &desk.closing).await {
        desk.tasks.spawn(serve(stream, Arc::clone(&desk)));
    }
}

async fn serve<C: Controlled>(stream: UnixStream, desk: Arc<Desk<C>>) {
    let service = service_fn(|request| {
        let answer = answer(Arc::clone(&desk), request);
        async { Ok::<_, Infallible>(Box::pin(answer).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client that goes away in the middle has nothing to be told.
        _ = connection.with_upgrades() => {}
        () = desk.closing.cancelled() => {}
    }
}

async fn answer<C: Controlled>(desk: Arc<Desk<C>>, request: Request<Incoming>) -> Response<Reply> {
    let answered = match orders::answer(&desk, request).await {
        Ok(answered) => answered,
        Err(other) => answer_other(&desk, other).await,
    };
    answered.unwrap_or_else(|(status, error)| {
        let text = serde_json::to_vec(&Refusal { error }).unwrap_or_default();
        let mut response = Response::new(Reply::Whole(Full::new(text.into())));
        *response.status_mut() = status;
        response
    })
}

async fn answer_other<C: Controlled>(desk: &Arc<Desk<C>>, request: Request<Incoming>) -> Answered {
    let (head, body) = request.into_parts();
    let controlled = &desk.controlled;
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/info") => json(&controlled.info()),
        (&Method::GET, "/ps") => json(&controlled.ps()),
        (&Method::POST, "/logs") => read(body).await.map(|order| logs(desk, order)),
        (&Method::POST, "/scale") => scale(&**controlled, body).await,
        (&Method::POST, "/restart") => restart(&**controlled, body).await,
        (&Method::GET, "/maintenance") => maintenance(&**controlled, None),
        (&Method::POST, "/maintenance") => match read(body).await {
            Ok(wanted) => maintenance(&**controlled, Some(&wanted)),
            Err(wrong) => Err(wrong),
        },
        (&Method::POST, "/run") => run(&**controlled, body).await,
        (method, path) => Err((StatusCode::NOT_FOUND, format!("no {method} {path} here"))),
    }
}

/// An answer, or a status and what to say.
pub(super) type Answered<T = Response<Reply>> = Result<T, (StatusCode, String)>;

async fn scale<C: Controlled>(controlled: &C, body: Incoming) -> Answered {
    let order: ScaleOrder = read(body).await?;
    let formation = controlled.scale(order.changes).await.map_err(|error| refused(&error))?;
    json(&Scaled { formation })
}

async fn restart<C: Controlled>(controlled: &C, body: Incoming) -> Answered {
    let order: RestartOrder = read(body).await?;
    json(&controlled.restart(order.target).await.map_err(|error| refused(&error))?)
}

fn maintenance<C: Controlled>(controlled: &C, wanted: Option<&MaintenanceMode>) -> Answered {
    let none = || (StatusCode::NOT_FOUND, "there is no router".to_owned());
    let mode = controlled.maintenance().ok_or_else(none)?;
    if let Some(MaintenanceMode { on }) = wanted {
        maintain(controlled, mode, *on);
    }
    json(&MaintenanceMode { on: mode.is_on() })
}

/// Turns maintenance mode on or off, and says so.
pub(crate) fn maintain<C: Controlled>(controlled: &C, mode: &Maintenance, on: bool) {
    mode.set(on);
    let done = if on { "Enable" } else { "Disable" };
    controlled.hub().heroku("api", &format!("{done} maintenance mode"));
}

async fn run<C: Controlled>(controlled: &C, body: Incoming) -> Answered {
    let order: RunOrder = read(body).await?;
    json(&controlled.run(order).await.map_err(|error| refused(&error))?)
}

pub(super) fn refused(error: &Error) -> (StatusCode, String) {
    let status = match error {
        Error::UnknownDyno { .. } | Error::UnknownRelease { .. } | Error::UnknownDrain => {
            StatusCode::NOT_FOUND
        }
        Error::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, error.to_string())
}

pub(super) async fn read<T: DeserializeOwned>(body: Incoming) -> Answered<T> {
    let wrong = |what: String| (StatusCode::BAD_REQUEST, what);
    let body = Limited::new(body, ORDER_BYTES_MAX).collect().await;
    let bytes = body.map_err(|error| wrong(error.to_string()))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

pub(super) fn json<T: Serialize>(value: &T) -> Answered {
    let text = serde_json::to_vec(value)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Response::new(Reply::Whole(Full::new(text.into()))))
}

/// Starts to send lines: history, and with `follow` all that comes after.
fn logs<C: Controlled>(desk: &Desk<C>, order: LogsOrder) -> Response<Reply> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    let hub = desk.controlled.hub().clone();
    let closing = desk.closing.clone();
    desk.tasks.spawn(async move {
        let send = send_lines(hub, order, &sender);
        tokio::select! {
            () = send => {}
            () = sender.closed() => {}
            () = closing.cancelled() => {}
        }
    });
    Response::new(Reply::Lines(lines))
}

async fn send_lines(hub: crate::logs::LogHub, order: LogsOrder, to: &mpsc::Sender<Bytes>) {
    if !order.follow {
        for entry in hub.history(&order.filter) {
            // A client that went away ends this from outside.
            let _gone = to.send(format!("{entry}\n").into()).await;
        }
        return;
    }
    let mut tail = hub.tail(order.filter);
    while let Some(entry) = tail.next().await {
        let _gone = to.send(format!("{entry}\n").into()).await;
    }
}

/// The body of an answer.
pub(crate) enum Reply {
    Whole(Full<Bytes>),
    Lines(mpsc::Receiver<Bytes>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Lines(lines) => {
                lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Lines(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}
