//! One request and its answer, told once when it is over, however it ends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use trace::{DynoId, Event, HttpServed, Micros, TraceId};

use super::body::Answer;
use super::code::{Code, Mistake};
use super::{Shared, headers, identity};
use crate::name::DynoName;

/// One request under way. If it is dropped before it was finished, the client has gone (H27).
#[derive(Debug)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    pub(super) request_id: HeaderValue,
    pub(super) forwarded_for: HeaderValue,
    trace: TraceId,
    /// The one that was made for it, where the client sent none that is well-formed.
    pub(super) traceparent: Option<HeaderValue>,
    pub(super) received: Micros,
    attempt: Option<Attempt>,
    accepted: Option<Micros>,
    told: bool,
}

/// The dyno that was tried last.
#[derive(Debug)]
struct Attempt {
    name: DynoName,
    connect: Micros,
}

impl Exchange {
    pub(super) fn begin<B>(shared: &Arc<Shared>, request: &Request<B>, client: SocketAddr) -> Self {
        let headers = request.headers();
        let request_id = match headers::request_id(headers) {
            Some(id) => id.clone(),
            None => identity::request_id(shared.random(), shared.random()),
        };
        let given = headers.get(headers::TRACEPARENT).and_then(|value| value.to_str().ok());
        let (trace, traceparent) = match given.and_then(TraceId::of_traceparent) {
            Some(trace) => (trace, None),
            None => {
                let (trace, made) = identity::trace([(); 3].map(|()| shared.random()));
                (trace, Some(made))
            }
        };
        Self {
            shared: Arc::clone(shared),
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: headers.get(header::HOST).cloned(),
            request_id,
            forwarded_for: headers::forwarded_for(headers, client),
            trace,
            traceparent,
            received: shared.tracer.now(),
            attempt: None,
            accepted: None,
            told: false,
        }
    }

    /// Tells of a request that could not be read: nothing is known of it but where it came from.
    pub(super) fn malformed(shared: &Shared, client: SocketAddr) {
        let code = Code::H26(Mistake::Malformed);
        let request_id = identity::request_id(shared.random(), shared.random());
        let line = Line {
            method: "",
            path: "",
            host: "",
            request_id: text(&request_id),
            forwarded_for: &client.ip().to_string(),
            attempt: None,
            service: None,
            status: code.status(),
            bytes: 0,
            code: Some(code),
        };
        shared.hub.heroku("router", &line.to_string());
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A dyno was tried, and connecting took so long.
    pub(super) fn tried(&mut self, name: DynoName, connect: Micros) {
        self.attempt = Some(Attempt { name, connect });
    }

    /// The dyno that was tried has accepted the connection.
    pub(super) fn accepted(&mut self) {
        self.accepted = Some(self.shared.tracer.now());
    }

    /// How long connecting took, and how long it took until now to route the request.
    pub(super) fn routing(&self) -> (Micros, Micros) {
        let connect = self.attempt.as_ref().map_or(Micros::ZERO, |attempt| attempt.connect);
        (connect, self.shared.tracer.now().since(self.received))
    }

    /// Ends the request without an answer of a dyno: the client gets Heroku's code.
    pub(super) fn refuse(mut self, code: Code) -> Response<Answer> {
        self.tell(code.status(), 0, Some(code));
        let text = format!("{} {}\n", code.name(), code.description());
        let mut response = Response::new(Answer::Text(Full::new(Bytes::from(text))));
        // 499 is no status of the standard; nobody is left to see it.
        *response.status_mut() =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    }

    /// The answer is complete, or broke off with `code`. Only the first call counts.
    pub(super) fn tell(&mut self, status: u16, bytes: u64, code: Option<Code>) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        // Whatever breaks off once we close by force is our doing.
        let forced = code.is_some() && self.shared.killed.is_cancelled();
        let (code, status) =
            if forced { (Some(Code::H24), Code::H24.status()) } else { (code, status) };
        let at = self.shared.tracer.now();
        let service = self.accepted.map(|accepted| at.since(accepted));
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let line = Line {
            method: self.method.as_str(),
            path,
            host: self.host.as_ref().map(text).or_else(|| self.uri.host()).unwrap_or(""),
            request_id: text(&self.request_id),
            forwarded_for: text(&self.forwarded_for),
            attempt: self.attempt.as_ref(),
            service,
            status,
            bytes,
            code,
        };
        let line = line.to_string();
        let dyno = match &self.attempt {
            Some(attempt) => self.shared.tracer.dyno(&attempt.name.to_string()),
            None => DynoId::default(),
        };
        self.shared.tracer.record(Event::HttpServed(Box::new(HttpServed {
            at,
            dyno,
            method: self.method.as_str().into(),
            path: path.into(),
            status,
            code: code.map_or("", Code::name).into(),
            service: service.unwrap_or_default(),
            request_id: text(&self.request_id).into(),
            trace: self.trace,
        })));
        // Last, so that who has read it finds what was recorded of it.
        self.shared.hub.heroku("router", &line);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.tell(Code::H27.status(), 0, Some(Code::H27));
    }
}

/// A header as text; one that is none is not shown.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("")
}

/// Heroku's router log line; unknown values stay empty.
struct Line<'a> {
    method: &'a str,
    path: &'a str,
    host: &'a str,
    request_id: &'a str,
    forwarded_for: &'a str,
    attempt: Option<&'a Attempt>,
    service: Option<Micros>,
    status: u16,
    bytes: u64,
    code: Option<Code>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { method, path, host, request_id, forwarded_for, attempt, .. } = self;
        match self.code {
            None => f.write_str("at=info")?,
            Some(code) => {
                let (name, description) = (code.name(), code.description());
                write!(f, "{} code={name} desc=\"{description}\"", code.prefix())?;
                if let Code::H26(mistake) = code {
                    write!(f, " cause=\"{}\"", mistake.cause())?;
                }
            }
        }
        write!(f, " method={method} path=\"{path}\" host={host} request_id={request_id}")?;
        write!(f, " fwd=\"{forwarded_for}\" dyno=")?;
        if let Some(attempt) = attempt {
            write!(f, "{}", attempt.name)?;
        }
        let connect = Millis(attempt.map(|attempt| attempt.connect));
        write!(f, " connect={connect} service={}", Millis(self.service))?;
        write!(f, " status={} bytes={} protocol=http", self.status, self.bytes)
    }
}

/// `18ms`, or nothing.
struct Millis(Option<Micros>);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |span| write!(f, "{}ms", span.0 / 1000))
    }
}
