//! Log drains against receivers that are there, slow, away, or refuse.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use platform::{DrainOptions, LogHub, Platform, Source};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::stage::{Stage, drain_options, soon};

async fn app(options: DrainOptions) -> (Stage, Arc<Platform>) {
    let stage = Stage::new("worker: exec sleep 1000", "worker=0", |_| ()).await;
    let platform = stage.platform_with(|_| (), options);
    (stage, platform)
}

fn write(hub: &LogHub, text: &str) {
    hub.write(Source::App, "web.1", text);
}

/// Takes counted messages out of a stream.
async fn message(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut length = 0;
    loop {
        match soon("a length", stream.read_u8()).await.expect("a byte") {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut bytes = vec![0; length];
    soon("a message", stream.read_exact(&mut bytes)).await.expect("all of it");
    String::from_utf8(bytes).expect("UTF-8")
}

/// A port of ours on which nobody listens yet: while this is there, nobody else has it.
fn kept_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("an option");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

async fn accepted(listener: &TcpListener) -> BufReader<TcpStream> {
    BufReader::new(soon("a connection", listener.accept()).await.expect("it comes").0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_syslog_drain_gets_counted_messages_and_survives_its_receiver() {
    let (_stage, platform) = app(drain_options()).await;
    let (next, address) = kept_port();
    let first = TcpSocket::new_v4().unwrap();
    first.set_reuseport(true).unwrap();
    first.bind(address).unwrap();
    let listener = first.listen(8).unwrap();
    write(&platform.hub, "before the drain");
    let drain = platform.drains.add(&format!("syslog://{address}")).unwrap();
    let mut stream = accepted(&listener).await;
    write(&platform.hub, "first é");
    let first = message(&mut stream).await;
    let (head, text) = first.split_once(" - ").unwrap();
    assert_eq!(text, "first é");
    let head: Vec<&str> = head.split(' ').collect();
    assert_eq!((head[0], head[2]), ("<190>1", drain.token.as_str()));
    assert!(head[1].ends_with("+00:00"), "{first}");
    assert_eq!(head[3..], ["app", "web.1"]);

    // The receiver ends, and the drain has seen it; what comes meanwhile goes to the next one.
    drop(listener);
    stream.shutdown().await.unwrap();
    assert!(soon("the drain's own end", stream.read_u8()).await.is_err());
    drop(stream);
    for number in 0..100 {
        write(&platform.hub, &format!("line {number}"));
    }
    let listener = next.listen(8).unwrap();
    let mut stream = accepted(&listener).await;
    for number in 0..100 {
        let expected = format!(" - line {number}");
        let line = message(&mut stream).await;
        assert!(line.ends_with(&expected), "{line} instead of {expected}");
    }
    platform.drains.remove(&drain.token).unwrap();
    let end = soon("the end", stream.read_u8()).await;
    assert!(end.is_err(), "a drain that was removed sends nothing more");
    platform.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_drain_loses_is_told_in_it_and_nobody_waits() {
    let (stage, platform) = app(drain_options()).await;
    let (receiver, address) = kept_port();
    platform.drains.add(&format!("syslog://{address}")).unwrap();
    // Written by a dyno, which is done long before anybody takes a line.
    let order = platform::OneOff { command: "seq 1 5000".to_owned(), ..Default::default() };
    let name = platform.one_offs.detached(&order).unwrap();
    stage.line(&format!("heroku[{name}]: Process exited with status 0")).await;
    let listener = receiver.listen(8).unwrap();
    let mut stream = accepted(&listener).await;
    let notice = message(&mut stream).await;
    assert!(notice.starts_with("<172>1 ") && notice.contains(" heroku logplex - "), "{notice}");
    let (_, loss) = notice.split_once("Error L10 (output buffer overflow): ").unwrap();
    let (count, since) = loss.split_once(" messages dropped since ").unwrap();
    assert!(since.ends_with("+00:00."), "{notice}");
    // 5000 lines of the dyno, and four of the platform about it.
    let lost: usize = count.parse().unwrap();
    for kept in 0..(5004 - lost) {
        let line = message(&mut stream).await;
        assert!(!line.contains("L10"), "{kept}: {line}");
        if line.ends_with("Process exited with status 0") {
            assert_eq!(kept + lost + 1, 5004, "every line arrived, or was told as lost");
            break;
        }
    }
    platform.shutdown().await;
}

/// A request as it came.
struct Posted {
    headers: HeaderMap,
    body: String,
    /// Takes the status to answer with; dropped, it is 200.
    answer: oneshot::Sender<u16>,
}

/// An HTTPS server that answers as the test wants it.
struct Receiver {
    address: SocketAddr,
    posted: mpsc::Receiver<Posted>,
    authority: PathBuf,
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

async fn receiver() -> Receiver {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a pair");
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, made.cert.pem()).expect("a file");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // `localhost` may be either of them; the drain tries both.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, posted) = mpsc::channel(64);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let sender = sender.clone();
                    async move { Ok::<_, Infallible>(take(request, &sender).await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _gone = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Receiver { address, posted, authority, _folder: folder, _tasks: tasks }
}

async fn take(request: Request<Incoming>, to: &mpsc::Sender<Posted>) -> Response<Empty<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("UTF-8");
    let (answer, answered) = oneshot::channel();
    let posted = Posted { headers: head.headers, body, answer };
    // When the test is over nobody looks on.
    let _over = to.send(posted).await;
    let status = answered.await.unwrap_or(200);
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

impl Receiver {
    fn options(&self) -> DrainOptions {
        // The test answers when it is ready to.
        let answer = Duration::from_secs(120);
        DrainOptions { authorities: Some(self.authority.clone()), answer, ..drain_options() }
    }

    fn url(&self) -> String {
        format!("https://ann:secret@localhost:{}/in?app=shop", self.address.port())
    }

    async fn next(&mut self) -> Posted {
        soon("a request", self.posted.recv()).await.expect("the server runs")
    }
}

fn header<'a>(posted: &'a Posted, name: &str) -> &'a str {
    posted.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_drain_gets_frames_and_the_same_one_again_until_it_is_taken() {
    let mut receiver = receiver().await;
    let (_stage, platform) = app(receiver.options()).await;
    let drain = platform.drains.add(&receiver.url()).unwrap();
    write(&platform.hub, "first");
    let held = receiver.next().await;
    assert!(held.body.ends_with("app web.1 - first\n"), "{}", held.body);
    // What comes while a frame is under way goes together into the next one.
    platform.hub.write(Source::App, "web.1", "one");
    platform.hub.write(Source::Heroku, "router", "two");
    drop(held);
    let mut first = receiver.next().await;
    assert_eq!(header(&first, "content-type"), "application/logplex-1");
    assert_eq!(header(&first, "logplex-drain-token"), drain.token);
    assert_eq!(header(&first, "logplex-msg-count"), "2");
    assert!(header(&first, "user-agent").starts_with("Logplex/v"));
    assert_eq!(header(&first, "authorization"), "Basic YW5uOnNlY3JldA==");
    let id = header(&first, "logplex-frame-id").to_owned();
    assert_eq!(id.len(), 32);
    let mut bytes = first.body.as_bytes();
    let one = message(&mut bytes).await;
    let two = message(&mut bytes).await;
    assert!(one.starts_with("<190>1 ") && one.ends_with(" host app web.1 - one\n"), "{one}");
    assert!(two.starts_with("<158>1 ") && two.ends_with(" host heroku router - two\n"), "{two}");
    assert_eq!(bytes, b"");
    for status in [500, 429] {
        first.answer.send(status).unwrap();
        let again = receiver.next().await;
        assert_eq!((header(&again, "logplex-frame-id"), &again.body), (&*id, &first.body));
        first = again;
    }
    drop(first);
    write(&platform.hub, "three");
    let next = receiver.next().await;
    assert_ne!(header(&next, "logplex-frame-id"), id);
    assert!(next.body.ends_with("app web.1 - three\n"), "{}", next.body);
    platform.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_refused_is_given_up_and_told() {
    let mut receiver = receiver().await;
    let (_stage, platform) = app(receiver.options()).await;
    platform.drains.add(&receiver.url()).unwrap();
    write(&platform.hub, "refused");
    let refused = receiver.next().await;
    assert!(refused.body.ends_with("refused\n"));
    refused.answer.send(400).unwrap();
    let notice = receiver.next().await;
    let told = "heroku logplex - Error L10 (output buffer overflow): 1 messages dropped since ";
    assert!(notice.body.contains(told), "{}", notice.body);
    platform.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted_is_told_without_credentials() {
    let receiver = receiver().await;
    let (stage, platform) = app(drain_options()).await;
    platform.drains.add(&receiver.url()).unwrap();
    write(&platform.hub, "something to send");
    let line = stage.line("heroku[logplex]: Error L14 (certificate validation): error=\"").await;
    let uri = format!("uri=\"https://localhost:{}/in\"", receiver.address.port());
    assert!(line.ends_with(&uri) && !line.contains("secret"), "{line}");
    platform.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_outlive_the_run() {
    let (stage, platform) = app(drain_options()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("syslog://{}", listener.local_addr().unwrap());
    platform.drains.add(&url).unwrap();
    let mut stream = accepted(&listener).await;
    write(&platform.hub, "last words");
    platform.shutdown().await;
    assert!(message(&mut stream).await.ends_with(" - last words"));
    let known = platform.drains.list();
    drop(platform);

    let hub = LogHub::new(trace::Clock::start());
    let again = stage.platform_on(hub.clone());
    assert_eq!(again.drains.list(), known);
    let mut stream = accepted(&listener).await;
    write(&hub, "of the next run");
    assert!(message(&mut stream).await.ends_with(" - of the next run"));
    assert!(again.drains.add(&url).is_err() && again.drains.add("ftp://x").is_err());
    again.shutdown().await;
}
