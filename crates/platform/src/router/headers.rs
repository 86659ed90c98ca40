//! What the router takes out of and puts into the headers of a request and an answer.

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
const TOTAL_ROUTE_TIME: HeaderName = HeaderName::from_static("total-route-time");

/// What the router knows of a request when it hands it on.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) request_id: &'a str,
    pub(super) forwarded_for: &'a str,
    pub(super) local: SocketAddr,
    pub(super) received: Micros,
    pub(super) connect: Micros,
    pub(super) routed: Micros,
}

/// The headers of a request as the dyno gets them.
pub(super) fn to_dyno(headers: &mut HeaderMap, facts: &Facts<'_>) {
    remove_hop_by_hop(headers);
    // We have answered `100 Continue` ourselves, by reading the body.
    headers.remove(header::EXPECT);
    set(headers, REQUEST_ID, facts.request_id);
    set(headers, FORWARDED_FOR, facts.forwarded_for);
    set(headers, FORWARDED_PROTO, "http");
    set(headers, FORWARDED_PORT, &facts.local.port().to_string());
    set(headers, REQUEST_START, &millis(facts.received));
    set(headers, CONNECT_TIME, &millis(facts.connect));
    set(headers, TOTAL_ROUTE_TIME, &millis(facts.routed));
    headers.append(header::VIA, HeaderValue::from_static(VIA));
    // HTTP/1.0 knows no `Host`, HTTP/1.1 requires one (RFC 9112 §3.2).
    if !headers.contains_key(header::HOST) {
        set(headers, header::HOST, &facts.local.to_string());
    }
    // Each request has a connection of its own.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// The headers of an answer as the client gets them.
pub(super) fn to_client(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.append(header::VIA, HeaderValue::from_static(VIA));
}

/// The chain of `X-Forwarded-For` with this client at its end.
pub(super) fn forwarded_for(headers: &HeaderMap, client: SocketAddr) -> String {
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut chain = before.collect::<Vec<_>>().join(", ");
    if !chain.is_empty() {
        chain.push_str(", ");
    }
    chain + &client.ip().to_string()
}

/// The client's request id, if it is one that Heroku would accept: 20 to 200 characters of
/// `[A-Za-z0-9+/=-]` (Dev Center, "HTTP request IDs").
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+/=-".contains(&b);
    ((20..=200).contains(&id.len()) && id.bytes().all(allowed)).then_some(id)
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
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client must not be able to take these away from the app.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&FIXED) {
        headers.remove(name);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whole milliseconds, as all of Heroku's times are.
fn millis(span: Micros) -> String {
    (span.0 / 1000).to_string()
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
        ]);
        let client: SocketAddr = "192.0.2.7:999".parse().unwrap();
        let facts = Facts {
            request_id: "id",
            forwarded_for: &forwarded_for(&headers, client),
            local: "127.0.0.1:8080".parse().unwrap(),
            received: Micros(1_500_000_000_123_456),
            connect: Micros(1_999),
            routed: Micros(2_000),
        };
        to_dyno(&mut headers, &facts);
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
        assert_eq!(value("connection"), "close");
        assert_eq!(value("host"), "shop.example");
        assert_eq!((value("x-private"), value("upgrade")), (String::new(), String::new()));
    }

    #[test]
    fn a_request_id_is_kept_only_if_it_is_a_good_one() {
        let good = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(request_id(&headers(&[("x-request-id", good)])), Some(good));
        for bad in ["short", "with spaces and more than 20", "<script>alert(1)</script>"] {
            assert_eq!(request_id(&headers(&[("x-request-id", bad)])), None, "{bad}");
        }
        assert_eq!(request_id(&headers(&[])), None);
    }
}
