//! One request: to a dyno and back.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::body::{Answer, Progress, Relay, Upload};
use super::code::Code;
use super::exchange::Exchange;
use super::headers::{self, Facts};
use super::route::{self, Route};
use super::{RouterTiming, Shared};

/// Serves one request. Whatever happens, it is told once in the log and to the sink.
pub(super) async fn forward(
    shared: Arc<Shared>,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Response<Answer> {
    let mut exchange = Exchange::begin(&shared, &request, client);
    if request.method() == Method::CONNECT {
        // A router to one app is no way to anywhere else.
        return exchange.refuse(Code::H26);
    }
    let Route { lease, stream } = match route::route(&mut exchange).await {
        Ok(route) => route,
        Err(code) => return exchange.refuse(code),
    };
    let (upload, progress) = prepare(&exchange, request);
    let sent = http1::handshake(TokioIo::new(stream)).await;
    let Ok((mut sender, connection)) = sent else { return exchange.refuse(Code::H13) };
    let killed = shared.killed.clone();
    shared.tasks.spawn(async move {
        tokio::select! {
            // What goes wrong here is seen by the request or by its body.
            _ = connection => {}
            () = killed.cancelled() => {}
        }
    });
    match first_byte(sender.send_request(upload), progress, &shared.timing).await {
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            headers::to_client(&mut head.headers);
            head.version = Version::HTTP_11;
            head.extensions.clear();
            let relay = Relay::new(body, exchange, head.status.as_u16(), lease);
            Response::from_parts(head, Answer::Relay(Box::new(relay)))
        }
        Err(code) => exchange.refuse(code),
    }
}

/// The request as the dyno gets it.
fn prepare(
    exchange: &Exchange,
    request: Request<Incoming>,
) -> (Request<Upload>, watch::Receiver<Progress>) {
    let (mut head, body) = request.into_parts();
    let (connect, routed) = exchange.routing();
    let facts = Facts {
        request_id: &exchange.request_id,
        forwarded_for: &exchange.forwarded_for,
        local: exchange.shared().local,
        received: exchange.received,
        connect,
        routed,
    };
    headers::to_dyno(&mut head.headers, &facts);
    // A dyno gets the origin form, also where the client sent an absolute address; that address
    // is then stronger than `Host` (RFC 9112 §3.2.2).
    let named = head.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(host) = named {
        head.headers.insert(header::HOST, host);
    }
    let path = head.uri.path_and_query().cloned();
    head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let (upload, progress) = Upload::new(body);
    (Request::from_parts(head, upload), progress)
}

/// Waits for the head of the answer. The time for it begins when all of the request was sent;
/// before that, the client must keep sending.
async fn first_byte(
    answer: impl Future<Output = hyper::Result<Response<Incoming>>>,
    mut progress: watch::Receiver<Progress>,
    timing: &RouterTiming,
) -> Result<Response<Incoming>, Code> {
    tokio::pin!(answer);
    loop {
        let (deadline, code) = match *progress.borrow_and_update() {
            Progress::Sent(at) => (at + timing.first_byte, Code::H12),
            Progress::Sending(at) => (at + timing.idle, Code::H28),
            Progress::Broken => return Err(Code::H27),
        };
        // The body is dropped once it was sent, and with it the sender of its progress.
        let moved = async {
            if progress.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            answered = answer.as_mut() => {
                return answered.map_err(|error| verdict(&error, *progress.borrow()));
            }
            () = sleep_until(deadline) => return Err(code),
            () = moved => {}
        }
    }
}

/// Whose fault it is that no answer came.
fn verdict(error: &hyper::Error, progress: Progress) -> Code {
    match progress {
        Progress::Broken => Code::H27,
        _ if error.is_parse() => Code::H17,
        _ => Code::H13,
    }
}
