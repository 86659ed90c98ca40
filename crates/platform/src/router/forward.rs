//! One request: to a dyno and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Uri, Version};
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::task::TaskTracker;

use super::body::{Answer, Progress, Relay, Upload};
use super::code::{Code, Restriction};
use super::exchange::Exchange;
use super::headers::{self, Facts};
use super::link::Link;
use super::route::{self, Route};
use super::tunnel::{self, End};
use super::worker::Place;
use super::{RouterTiming, Shared};

/// Over which connection a request came.
pub(super) struct Asked {
    pub(super) client: SocketAddr,
    /// Its claim to be served.
    pub(super) place: Arc<Place>,
    /// What goes on after the answer is a task of these.
    pub(super) tasks: TaskTracker,
}

/// Serves one request. Whatever happens, it is told once in the log and to the sink.
pub(super) async fn forward(
    shared: Arc<Shared>,
    asked: Asked,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    let mut exchange = Exchange::begin(&shared, &request, asked.client);
    if let Err(code) = admit(&shared, &asked, &request) {
        return exchange.refuse(code);
    }
    let Route { lease, stream } = match route::route(&mut exchange).await {
        Ok(route) => route,
        Err(code) => return exchange.refuse(code),
    };
    let protocol = headers::upgrade(request.headers());
    let client_end = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let (upload, progress) = prepare(&exchange, request, protocol.as_ref());
    let Ok(mut link) = Link::over(stream, &shared.limits).await else {
        return exchange.refuse(Code::H13);
    };
    let answered = first_byte(link.ask(upload), progress, &shared.timing).await;
    let checked = answered.and_then(|response| {
        shared.limits.check_response(&response)?;
        Ok(response)
    });
    let response = match checked {
        Ok(response) => response,
        Err(code) => return exchange.refuse(code),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // An open end is no request in flight: a dyno that stops does not wait for it.
        drop(lease);
        let Some(client_end) = client_end else { return exchange.refuse(Code::H17) };
        return switch(response, (client_end, link), exchange, asked);
    }
    let (mut head, body) = response.into_parts();
    headers::to_client(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let relay = Relay::new(body, link, exchange, head.status.as_u16(), lease);
    Response::from_parts(head, Answer::Relay(Box::new(relay)))
}

/// Whether a request is to be served at all.
fn admit(shared: &Shared, asked: &Asked, request: &Request<Incoming>) -> Result<(), Code> {
    if !asked.place.is_served {
        return Err(Code::H22);
    }
    shared.limits.check_request(request)?;
    if shared.maintenance.load(Ordering::Relaxed) {
        return Err(Code::H80);
    }
    Ok(())
}

/// The dyno agrees to another protocol: so is the client told, and from then on bytes are carried.
fn switch(
    response: Response<Incoming>,
    (client_end, link): (OnUpgrade, Link),
    mut exchange: Exchange,
    Asked { place, tasks, .. }: Asked,
) -> Response<Answer> {
    let (mut head, _no_body) = response.into_parts();
    let protocol = head.headers.get(header::UPGRADE).cloned();
    headers::to_client(&mut head.headers);
    if let Some(protocol) = protocol {
        head.headers.insert(header::UPGRADE, protocol);
    }
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let shared = Arc::clone(exchange.shared());
    tasks.spawn(async move {
        let _place = place;
        let carry = async {
            let upgraded = client_end.await;
            let dyno = End::dyno(link.into_stream().await);
            match upgraded.ok().and_then(End::client) {
                Some(client) => tunnel::run(client, dyno, &mut exchange).await,
                None => exchange.tell(Code::H27.status(), 0, Some(Code::H27)),
            }
        };
        let killed = tokio::select! {
            () = carry => false,
            // Nobody knows when a tunnel will end, so nobody waits for it.
            () = shared.closing.cancelled() => true,
        };
        if killed {
            exchange.tell(Code::H24.status(), 0, Some(Code::H24));
        }
    });
    Response::from_parts(head, Answer::Text(http_body_util::Full::default()))
}

/// The request as the dyno gets it.
fn prepare(
    exchange: &Exchange,
    request: Request<Incoming>,
    protocol: Option<&HeaderValue>,
) -> (Request<Upload>, Option<watch::Receiver<Progress>>) {
    let (mut head, body) = request.into_parts();
    let (connect, routed) = exchange.routing();
    let facts = Facts {
        request_id: &exchange.request_id,
        forwarded_for: &exchange.forwarded_for,
        traceparent: exchange.traceparent.as_ref(),
        local: exchange.shared().local,
        received: exchange.received,
        connect,
        routed,
    };
    headers::to_dyno(&mut head.headers, &facts, protocol);
    // A dyno gets the origin form, also where the client sent an absolute address; that address
    // is then stronger than `Host` (RFC 9112 §3.2.2).
    let named = head.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(host) = named {
        head.headers.insert(header::HOST, host);
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let (upload, progress) = Upload::new(body);
    (Request::from_parts(head, upload), progress)
}

/// Waits for the head of the answer. The time for it begins when all of the request was sent;
/// before that, the client must keep sending.
async fn first_byte(
    answer: impl Future<Output = hyper::Result<Response<Incoming>>>,
    progress: Option<watch::Receiver<Progress>>,
    timing: &RouterTiming,
) -> Result<Response<Incoming>, Code> {
    tokio::pin!(answer);
    let Some(mut progress) = progress else {
        let answered = tokio::time::timeout(timing.first_byte, answer).await;
        return match answered {
            Ok(answered) => answered.map_err(|error| verdict(&error)),
            Err(_) => Err(Code::H12),
        };
    };
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
                let broken = matches!(*progress.borrow(), Progress::Broken);
                return answered.map_err(|error| {
                    if broken { Code::H27 } else { verdict(&error) }
                });
            }
            () = sleep_until(deadline) => return Err(code),
            () = moved => {}
        }
    }
}

/// What is wrong with an answer that could not be read.
fn verdict(error: &hyper::Error) -> Code {
    if error.is_parse_too_large() {
        return Code::H25(Restriction::Header);
    }
    if error.is_parse() {
        // hyper has no other word for it; a test holds it to this one.
        let length = error.to_string().contains("content-length");
        return if length { Code::H25(Restriction::ContentLength) } else { Code::H17 };
    }
    Code::H13
}
