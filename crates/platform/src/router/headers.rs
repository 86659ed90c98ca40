//! What the router takes out of and puts into the headers of a request and an answer.

use std::fmt::Write;
use std::net::SocketAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use trace::Micros;

/// Heroku's router names itself so, on requests and on answers; apps that look for it find it.
const VIA: &str = "1.1 vegur";

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const CONNECT_TIME: HeaderName = HeaderName::from_static("connect-time");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const TOTAL_ROUTE_TIME: HeaderName = HeaderName::from_static("total-route-time");

/// What the router knows of a request when it hands it on.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) request_id: &'a HeaderValue,
    pub(super) forwarded_for: &'a HeaderValue,
    /// The one that the router made, where the client sent none.
    pub(super) traceparent: Option<&'a HeaderValue>,
    pub(super) local: SocketAddr,
    pub(super) received: Micros,
    pub(super) connect: Micros,
    pub(super) routed: Micros,
}

/// The protocol that a request wants to switch to.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    named_by_connection(headers)
        .any(|name| name.eq_ignore_ascii_case("upgrade"))
        .then(|| protocol.clone())
}

/// The headers of a request as the dyno gets them.
pub(super) fn to_dyno(headers: &mut HeaderMap, facts: &Facts<'_>, protocol: Option<&HeaderValue>) {
    remove_hop_by_hop(headers);
    // We have answered `100 Continue` ourselves, by reading the body.
    headers.remove(header::EXPECT);
    headers.insert(REQUEST_ID, facts.request_id.clone());
    headers.insert(FORWARDED_FOR, facts.forwarded_for.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(FORWARDED_PORT, facts.local.port().into());
    headers.insert(REQUEST_START, millis(facts.received));
    headers.insert(CONNECT_TIME, millis(facts.connect));
    headers.insert(TOTAL_ROUTE_TIME, millis(facts.routed));
    if let Some(traceparent) = facts.traceparent {
        headers.insert(TRACEPARENT, traceparent.clone());
        // It belongs to a trace that is not continued (W3C Trace Context §3.3.1).
        headers.remove(TRACESTATE);
    }
    headers.append(header::VIA, HeaderValue::from_static(VIA));
    // HTTP/1.0 knows no `Host`, HTTP/1.1 requires one (RFC 9112 §3.2).
    if !headers.contains_key(header::HOST)
        && let Ok(local) = HeaderValue::from_str(&facts.local.to_string())
    {
        headers.insert(header::HOST, local);
    }
    // Each request has a connection of its own.
    let connection = match protocol {
        Some(protocol) => {
            headers.insert(header::UPGRADE, protocol.clone());
            "upgrade"
        }
        None => "close",
    };
    headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
}

/// The headers of an answer as the client gets them.
pub(super) fn to_client(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.append(header::VIA, HeaderValue::from_static(VIA));
}

/// The chain of `X-Forwarded-For` with this client at its end.
pub(super) fn forwarded_for(headers: &HeaderMap, client: SocketAddr) -> HeaderValue {
    let mut chain = String::new();
    for before in headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()) {
        chain.push_str(before);
        chain.push_str(", ");
    }
    // Writing to a string cannot fail.
    let _written = write!(chain, "{}", client.ip());
    HeaderValue::try_from(chain).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The client's request id, if it is one that Heroku would accept: 20 to 200 characters of
/// `[A-Za-z0-9+/=-]` (Dev Center, "HTTP request IDs").
pub(super) fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"+/=-".contains(b);
    ((20..=200).contains(&id.len()) && id.as_bytes().iter().all(allowed)).then_some(id)
}

/// RFC 9110 §7.6.1: fields that are meant for one connection are not handed on, nor those that
/// `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    const FIXED: [HeaderName; 8] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    // Most clients name nothing here that is not among the fixed ones.
    let is_fixed =
        |name: &&str| FIXED.iter().any(|fixed| name.eq_ignore_ascii_case(fixed.as_str()));
    let named: Vec<HeaderName> = named_by_connection(headers)
        .filter(|name| !is_fixed(name))
        .filter_map(|name| name.parse().ok())
        // A client must not be able to take these away from the app.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&FIXED) {
        headers.remove(name);
    }
}

/// The names in `Connection`.
fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// Whole milliseconds, as all of Heroku's times are.
fn millis(span: Micros) -> HeaderValue {
    (span.0 / 1000).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn the_dyno_learns_where_a_request_comes_from() {
        let mut headers = headers(&[
            ("host", "shop.example"),
            ("connection", "keep-alive, x-private, host"),
            ("x-private", "1"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "10.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("via", "1.0 other"),
            ("traceparent", "broken"),
            ("tracestate", "of=it"),
        ]);
        let client: SocketAddr = "192.0.2.7:999".parse().unwrap();
        let facts = Facts {
            request_id: &HeaderValue::from_static("id"),
            forwarded_for: &forwarded_for(&headers, client),
            traceparent: Some(&HeaderValue::from_static("made")),
            local: "127.0.0.1:8080".parse().unwrap(),
            received: Micros(1_500_000_000_123_456),
            connect: Micros(1_999),
            routed: Micros(2_000),
        };
        to_dyno(&mut headers, &facts, None);
        let value = |name: &str| {
            let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join("|")
        };
        assert_eq!(value("x-forwarded-for"), "10.1.1.1, 192.0.2.7");
        assert_eq!(value("x-forwarded-proto"), "http");
        assert_eq!(value("x-forwarded-port"), "8080");
        assert_eq!(value("x-request-start"), "1500000000123");
        assert_eq!(value("x-request-id"), "id");
        assert_eq!((value("connect-time"), value("total-route-time")), ("1".into(), "2".into()));
        assert_eq!(value("via"), "1.0 other|1.1 vegur");
        assert_eq!((value("traceparent"), value("tracestate")), ("made".into(), String::new()));
        assert_eq!(value("connection"), "close");
        assert_eq!(value("host"), "shop.example");
        assert_eq!((value("x-private"), value("upgrade")), (String::new(), String::new()));
    }

    #[test]
    fn an_upgrade_is_one_only_if_connection_says_so() {
        let asks =
            |connection| upgrade(&headers(&[("upgrade", "websocket"), ("connection", connection)]));
        assert_eq!(asks("keep-alive, Upgrade").unwrap(), "websocket");
        assert_eq!(asks("keep-alive"), None);
        assert_eq!(upgrade(&headers(&[("connection", "upgrade")])), None);
    }

    #[test]
    fn a_request_id_is_kept_only_if_it_is_a_good_one() {
        let good = "01234567-89ab-cdef-0123-456789abcdef";
        let kept = headers(&[("x-request-id", good)]);
        assert_eq!(request_id(&kept).map(HeaderValue::as_bytes), Some(good.as_bytes()));
        for bad in ["short", "with spaces and more than 20", "<script>alert(1)</script>"] {
            assert_eq!(request_id(&headers(&[("x-request-id", bad)])), None, "{bad}");
        }
        assert_eq!(request_id(&headers(&[])), None);
    }
}
