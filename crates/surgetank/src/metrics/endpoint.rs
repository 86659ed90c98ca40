//! The HTTP side: few connections, small heads, short times; one request each.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use platform::accept;
use proxy::Control;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trace::Micros;

use super::page::Page;
use super::{Socket, families, process};

/// Connections at once; more wait in the kernel's queue. A Prometheus needs one, a highly available
/// pair two.
const CONNECTIONS_MAX: usize = 16;

/// How long a request's head may take, and how long all of it.
const HEAD_TIME: Duration = Duration::from_secs(5);
const WHOLE_TIME: Duration = Duration::from_secs(30);

/// How long the end of the process waits for scrapes that were begun.
const END_TIME: Duration = Duration::from_millis(500);

/// Longest head, the least that hyper allows; and its header lines.
const HEAD_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 64;

/// Text format 0.0.4.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What else there is to say, as a comment of that format.
const WHERE: &str = "# Surgetank: GET /metrics\n";

/// What every request needs.
#[derive(Debug)]
struct Shared {
    control: Control,
    started: Micros,
}

/// Answers scrapes. Dropped, it ends at once.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Until it leaves the address to another process.
    listener: Option<Arc<TcpListener>>,
    asked: SocketAddr,
    bound: SocketAddr,
    leaves: CancellationToken,
    /// Dropped, it ends what it runs.
    tasks: JoinSet<()>,
}

impl Endpoint {
    pub(super) fn start(socket: Socket, control: Control) -> Self {
        let Socket { listener, asked, bound } = socket;
        let listener = Arc::new(listener);
        let started = control.look().at;
        let shared = Arc::new(Shared { control, started });
        let leaves = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(let_in(Arc::clone(&listener), shared, leaves.clone()));
        Self { listener: Some(listener), asked, bound, leaves, tasks }
    }

    /// Where it is found.
    pub(crate) fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// What was asked for.
    pub(crate) fn asked(&self) -> SocketAddr {
        self.asked
    }

    /// A copy of the socket, for another process.
    pub(crate) fn socket(&self) -> std::io::Result<Option<OwnedFd>> {
        self.listener.as_ref().map(|listener| listener.as_fd().try_clone_to_owned()).transpose()
    }

    /// Another process answers now; who was let in here still gets his answer.
    pub(crate) fn leave(&mut self) {
        self.leaves.cancel();
        self.listener = None;
    }

    /// The process is about to end: accepts nothing more and answers the scrapes that were begun,
    /// but waits for slow ones no longer than [`END_TIME`].
    pub(crate) async fn end(mut self) {
        self.leave();
        // A scrape that takes longer is cut off.
        let _ = timeout(END_TIME, self.tasks.join_all()).await;
    }
}

/// Lets clients in, until it is to leave and the last one is answered.
async fn let_in(listener: Arc<TcpListener>, shared: Arc<Shared>, leaves: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let listen = || async {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        Ok((listener.accept().await?.0, place))
    };
    while let Some((stream, place)) = accept::next("metrics", &listen, &leaves).await {
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // Too slow is too slow: the client sees the connection end.
            let _ = timeout(WHOLE_TIME, converse(stream, &shared)).await;
            drop(place);
        });
    }
    drop(listener);
    connections.join_all().await;
}

async fn converse(stream: TcpStream, shared: &Shared) {
    let service = service_fn(async |request| answer(&request, shared));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "metrics: a request that is none");
    }
}

fn answer(
    request: &Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_known = ["/", "/metrics"].contains(&request.uri().path());
    let looks = [Method::GET, Method::HEAD].contains(request.method());
    let (status, text) = match request.uri().path() {
        _ if !is_known => (StatusCode::NOT_FOUND, WHERE.to_owned()),
        _ if !looks => (StatusCode::METHOD_NOT_ALLOWED, WHERE.to_owned()),
        "/metrics" => (StatusCode::OK, shared.page()),
        _ => (StatusCode::OK, WHERE.to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORMAT));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Ok(response)
}

impl Shared {
    fn page(&self) -> String {
        let mut page = Page::default();
        let seen = self.control.look();
        families::put(&mut page, &seen);
        process::put(&mut page, self.started, seen.memory);
        page.into_text()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxy::{Config, Mode, Proxy, Upstream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use trace::{Clock, DynoNames, NoSink};

    use super::*;

    /// A proxy without a server, and its endpoint.
    async fn start() -> (Proxy, Endpoint) {
        let upstream = Upstream::parse("postgres://app@127.0.0.1:1/app").unwrap();
        let clock = Clock::start();
        let names = Arc::new(DynoNames::new(clock));
        let config = Config::new(Mode::Regulate, upstream);
        let proxy = Proxy::start(config, names, clock, Arc::new(NoSink)).unwrap();
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let endpoint = socket.serve(&proxy);
        (proxy, endpoint)
    }

    /// What comes back until the server hangs up.
    async fn ask(endpoint: &Endpoint, request: &str) -> String {
        let mut stream = TcpStream::connect(endpoint.bound()).await.unwrap();
        let mut answer = Vec::new();
        // It may hang up while we still write.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn paths_and_methods() {
        let (proxy, endpoint) = start().await;
        let cases = [
            ("GET /metrics", "200 OK", "# HELP surgetank_info "),
            ("GET /metrics?x=1", "200 OK", "# HELP surgetank_info "),
            ("HEAD /metrics", "200 OK", ""),
            ("GET /", "200 OK", WHERE),
            ("GET /metrics/", "404 Not Found", WHERE),
            ("POST /other", "404 Not Found", WHERE),
            ("POST /metrics", "405 Method Not Allowed", WHERE),
            ("DELETE /", "405 Method Not Allowed", WHERE),
        ];
        for (request, status, begins) in cases {
            let answer = ask(&endpoint, &format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {head}");
            assert!(body.starts_with(begins), "{request}: {body}");
            assert_eq!(body.is_empty(), begins.is_empty(), "{request}: {body}");
            assert_eq!(head.contains("\r\nallow: GET, HEAD"), status.starts_with("405"), "{head}");
            assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4"), "{head}");
        }
        proxy.shutdown(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn long_heads_and_what_is_no_request_are_refused() {
        let (proxy, endpoint) = start().await;
        let long = format!("GET /metrics HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(64 * 1024));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
        for request in [long.as_str(), &many, "hello\r\n\r\n", "\u{0}"] {
            let answer = ask(&endpoint, request).await;
            assert!(!answer.contains("surgetank_"), "{answer}");
        }
        assert!(ask(&endpoint, "GET /metrics HTTP/1.0\r\n\r\n").await.contains("surgetank_info"));
        proxy.shutdown(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn the_end_answers_what_was_begun_and_waits_for_nobody_else() {
        let (proxy, endpoint) = start().await;
        let silent = TcpStream::connect(endpoint.bound()).await.unwrap();
        let mut begun = TcpStream::connect(endpoint.bound()).await.unwrap();
        begun.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        // This one is answered: those before it are accepted.
        assert!(ask(&endpoint, "GET / HTTP/1.0\r\n\r\n").await.contains(WHERE));
        let rest = async {
            begun.write_all(b"host: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            begun.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let ((), answer) = tokio::join!(endpoint.end(), rest);
        assert!(answer.contains("surgetank_info"), "{answer}");
        drop(silent);
        proxy.shutdown(Duration::ZERO).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_keeps_his_place_for_a_while_only() {
        let (proxy, endpoint) = start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(endpoint.bound()).await.unwrap());
        }
        // Served when one of them has had his time.
        assert!(ask(&endpoint, "GET / HTTP/1.0\r\n\r\n").await.contains(WHERE));
        proxy.shutdown(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn who_left_takes_nobody_in() {
        let (proxy, mut endpoint) = start().await;
        let addr = endpoint.bound();
        let socket = endpoint.socket().unwrap().unwrap();
        endpoint.leave();
        assert!(endpoint.socket().unwrap().is_none());
        let next = Socket::adopt(socket, addr).unwrap().serve(&proxy);
        assert_eq!(next.bound(), addr);
        for _ in 0..20 {
            assert!(ask(&next, "GET / HTTP/1.0\r\n\r\n").await.contains(WHERE));
        }
        proxy.shutdown(Duration::ZERO).await;
    }
}
