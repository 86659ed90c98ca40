//! One request and its answer, told once when it is over, however it ends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use trace::{DynoId, Event, HttpServed, Micros};

use super::body::Answer;
use super::code::Code;
use super::{Shared, headers};
use crate::name::DynoName;

/// One request under way. If it is dropped before it was finished, the client has gone (H27).
#[derive(Debug)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    method: String,
    path: String,
    host: String,
    pub(super) request_id: String,
    pub(super) forwarded_for: String,
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
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| request.uri().host()).unwrap_or("").to_owned();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let request_id = match headers::request_id(request.headers()) {
            Some(id) => id.to_owned(),
            None => uuid(shared.random(), shared.random()),
        };
        Self {
            shared: Arc::clone(shared),
            method: request.method().to_string(),
            path,
            host,
            request_id,
            forwarded_for: headers::forwarded_for(request.headers(), client),
            received: shared.tracer.now(),
            attempt: None,
            accepted: None,
            told: false,
        }
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
        let line = Line { exchange: self, service, status, bytes, code };
        self.shared.hub.heroku("router", &line.to_string());
        let dyno = match &self.attempt {
            Some(attempt) => self.shared.tracer.dyno(&attempt.name.to_string()),
            None => DynoId::default(),
        };
        self.shared.tracer.record(Event::HttpServed(Box::new(HttpServed {
            at,
            dyno,
            method: self.method.as_str().into(),
            path: self.path.as_str().into(),
            status,
            code: code.map_or("", Code::name).into(),
            service: service.unwrap_or_default(),
        })));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.tell(Code::H27.status(), 0, Some(Code::H27));
    }
}

/// Heroku's router log line; unknown values stay empty.
struct Line<'a> {
    exchange: &'a Exchange,
    service: Option<Micros>,
    status: u16,
    bytes: u64,
    code: Option<Code>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exchange { method, path, host, request_id, forwarded_for, .. } = self.exchange;
        let dyno = &self.exchange.attempt;
        match self.code {
            None => f.write_str("at=info")?,
            Some(code) => {
                let (name, description) = (code.name(), code.description());
                write!(f, "{} code={name} desc=\"{description}\"", code.prefix())?;
            }
        }
        write!(f, " method={method} path=\"{path}\" host={host} request_id={request_id}")?;
        write!(f, " fwd=\"{forwarded_for}\" dyno=")?;
        if let Some(attempt) = dyno {
            write!(f, "{}", attempt.name)?;
        }
        let connect = Millis(dyno.as_ref().map(|attempt| attempt.connect));
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

/// 128 random bits as a UUID of version 4 (RFC 9562 §5.4).
fn uuid(high: u64, low: u64) -> String {
    let high = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let low = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_a_random_uuid() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert!(
            headers::request_id(&{
                let mut map = hyper::HeaderMap::new();
                map.insert(headers::REQUEST_ID, uuid(1, 2).parse().unwrap());
                map
            })
            .is_some()
        );
    }
}
