//! How large the heads of requests and answers may be.

use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response};

use super::code::{Code, Mistake, Restriction};

/// What the router lets through. The defaults are Heroku's (`heroku/vegur`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterLimits {
    /// Requests that one dyno is given at once; further ones wait. Heroku: 50.
    pub active_per_dyno: u32,
    /// Requests that wait for each dyno that is up, at most; further ones are refused (H11).
    /// Heroku: 50.
    pub backlog_per_dyno: u32,
    /// Client connections at once; requests of further ones are refused (H22).
    pub connections: usize,
    /// Bytes of a request's first line. Heroku: 8192.
    pub request_line: usize,
    /// Bytes of a request's header, name and value. Heroku: 8192.
    pub request_header: usize,
    /// Bytes of the name of a request's header. Heroku: 1000.
    pub request_header_name: usize,
    /// Headers of a request, or of an answer. Heroku: 1000.
    pub headers: usize,
    /// Bytes of an answer's header, name and value. Heroku: 512 KiB.
    pub response_header: usize,
    /// Bytes of a cookie that an answer sets. Heroku: 8192.
    pub cookie: usize,
    /// Bytes of an answer's first line. Heroku: 8192.
    pub status_line: usize,
    /// Bytes of an answer's head, and of its body that are held while the client does not read.
    /// Heroku: 1 MiB.
    pub response_buffer: usize,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            active_per_dyno: 50,
            backlog_per_dyno: 50,
            connections: 4096,
            request_line: 8192,
            request_header: 8192,
            request_header_name: 1000,
            headers: 1000,
            response_header: 512 * 1024,
            cookie: 8192,
            status_line: 8192,
            response_buffer: 1024 * 1024,
        }
    }
}

/// Between the parts of a request's first line stand two spaces, behind them `HTTP/1.1` and CRLF.
const AROUND_URI: usize = 2 + 8 + 2;
/// `HTTP/1.1 200 ` and CRLF.
const AROUND_REASON: usize = 13 + 2;

impl RouterLimits {
    /// Whether a request may pass.
    pub(super) fn check_request<B>(&self, request: &Request<B>) -> Result<(), Code> {
        let mistake = |what| Err(Code::H26(what));
        if request.method() == Method::CONNECT {
            return mistake(Mistake::Connect);
        }
        let uri = request.uri();
        let before_path = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => scheme.len() + 3 + authority.as_str().len(),
            _ => 0,
        };
        let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
        let method = request.method().as_str().len();
        if method + before_path + path + AROUND_URI > self.request_line {
            return mistake(Mistake::RequestLine);
        }
        let headers = request.headers();
        if headers.len() > self.headers {
            return mistake(Mistake::Headers);
        }
        for (name, value) in headers {
            let name = name.as_str().len();
            if name > self.request_header_name {
                return mistake(Mistake::HeaderName);
            }
            if line(name, value.len()) > self.request_header {
                return mistake(Mistake::Header);
            }
        }
        match headers.get(header::EXPECT) {
            Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                mistake(Mistake::Expect)
            }
            _ => Ok(()),
        }
    }

    /// Whether an answer may pass.
    pub(super) fn check_response<B>(&self, response: &Response<B>) -> Result<(), Code> {
        let restricted = |what| Err(Code::H25(what));
        // hyper keeps the phrase only if it is not the usual one.
        if let Some(reason) = response.extensions().get::<ReasonPhrase>() {
            let reason = reason.as_bytes().len();
            if reason == 0 && response.status().canonical_reason().is_some() {
                return Err(Code::H17);
            }
            if reason + AROUND_REASON > self.status_line {
                return restricted(Restriction::StatusLine);
            }
        }
        self.check_response_headers(response.headers())
    }

    fn check_response_headers(&self, headers: &HeaderMap) -> Result<(), Code> {
        for (name, value) in headers {
            if line(name.as_str().len(), value.len()) > self.response_header {
                return Err(Code::H25(Restriction::Header));
            }
            if *name == header::SET_COOKIE && value.len() > self.cookie {
                return Err(Code::H25(Restriction::Cookie));
            }
        }
        Ok(())
    }
}

/// `name: value` without its CRLF.
fn line(name: usize, value: usize) -> usize {
    name + 2 + value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut Request<()>)) -> Result<(), Code> {
        let mut request = Request::get("/").body(()).unwrap();
        change(&mut request);
        RouterLimits::default().check_request(&request)
    }

    #[test]
    fn requests_are_let_through_up_to_the_limits() {
        let path = |length: usize| {
            request(|it| *it.uri_mut() = format!("/{}", "a".repeat(length - 1)).parse().unwrap())
        };
        // `GET /… HTTP/1.1` and CRLF.
        assert_eq!(path(8192 - 3 - 12), Ok(()));
        assert_eq!(path(8192 - 3 - 11), Err(Code::H26(Mistake::RequestLine)));
        let header = |name: usize, value: usize| {
            request(|it| {
                let name = header::HeaderName::from_bytes("n".repeat(name).as_bytes()).unwrap();
                it.headers_mut().insert(name, "v".repeat(value).parse().unwrap());
            })
        };
        assert_eq!(header(1000, 7190), Ok(()));
        assert_eq!(header(1000, 7191), Err(Code::H26(Mistake::Header)));
        assert_eq!(header(1001, 1), Err(Code::H26(Mistake::HeaderName)));
        let many = |count: usize| {
            request(|it| {
                for _ in 0..count {
                    it.headers_mut().append("x", "y".parse().unwrap());
                }
            })
        };
        assert_eq!(many(1000), Ok(()));
        assert_eq!(many(1001), Err(Code::H26(Mistake::Headers)));
        let expect = |value: &'static str| {
            request(|it| {
                it.headers_mut().insert(header::EXPECT, value.parse().unwrap());
            })
        };
        assert_eq!(expect("100-Continue"), Ok(()));
        assert_eq!(expect("dinner"), Err(Code::H26(Mistake::Expect)));
        assert_eq!(
            request(|it| *it.method_mut() = Method::CONNECT),
            Err(Code::H26(Mistake::Connect))
        );
    }
}
