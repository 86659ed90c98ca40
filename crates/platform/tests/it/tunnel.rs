//! `Upgrade`: what WebSocket and its like need of the router.

use std::net::SocketAddr;
use std::time::Duration;

use platform::{Router, RouterTiming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trace::DynoState;

use crate::app;
use crate::stage::{Stage, request, soon};

const ASK: &str = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
                   Upgrade: shout\r\n";

async fn good(change: impl FnOnce(&mut RouterTiming)) -> (Stage, Router) {
    let stage = Stage::new(&format!("web: {}", app::command("good")), "web=1", |_| ()).await;
    stage.until("web.1", DynoState::Up).await;
    let router = stage.router(change).await;
    (stage, router)
}

/// Reads until the text has come, and returns all of it.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let read = async {
        while !all.ends_with(end.as_bytes()) {
            // One by one: what comes behind it in the same packet is for the next reader.
            let byte = stream.read_u8().await.unwrap_or_else(|_| panic!("ended before {end}"));
            all.push(byte);
        }
    };
    soon(end, read).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// A connection that speaks the other protocol, and the head of the answer.
async fn switched(router: SocketAddr, early: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(router).await.expect("the router listens");
    // What is said behind the head at once is part of the other protocol.
    let said = format!("{ASK}\r\n{early}");
    stream.write_all(said.as_bytes()).await.expect("the router reads");
    let head = until(&mut stream, "HELLO ").await;
    (stream, head)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_pass_both_ways_after_an_upgrade() {
    let (stage, router) = good(|_| ()).await;
    let (mut stream, head) = switched(router.address(), "early ").await;
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: shout\r\n"));
    assert!(head.contains("via: 1.1 vegur\r\n"), "{head}");
    assert_eq!(until(&mut stream, "EARLY ").await, "EARLY ");
    for word in ["one", "two", "three"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        assert_eq!(until(&mut stream, &word.to_uppercase()).await, word.to_uppercase());
    }
    // The client has said all, the dyno has not.
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    soon("the end", stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, " BYE");
    let bytes = "HELLO EARLY ONETWOTHREE BYE".len();
    let line = stage.line("status=101").await;
    assert!(line.contains("at=info method=GET path=\"/upgrade\" host=x"), "{line}");
    assert!(line.contains(&format!("status=101 bytes={bytes} protocol=http")), "{line}");
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_passes_both_ways_at_once() {
    let (stage, router) = good(|_| ()).await;
    let (stream, _) = switched(router.address(), "").await;
    let (mut from, mut to) = stream.into_split();
    let sent = vec![b'a'; 8 << 20];
    let send = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let receive = async { from.read_to_end(&mut got).await.unwrap() };
    soon("all of it", async { tokio::join!(send, receive) }).await;
    assert_eq!(got.len(), sent.len() + " BYE".len());
    assert!(got[..sent.len()].iter().all(|byte| *byte == b'A'));
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_need_not_agree() {
    let (stage, router) = good(|_| ()).await;
    let head = "GET /headers HTTP/1.1\r\nHost: x\r\nUpgrade: shout\r\n";
    // Without `Connection: upgrade` it is no wish at all.
    let plain = request(router.address(), head).await;
    assert!(plain.starts_with("HTTP/1.1 200 OK") && !plain.contains("shout"), "{plain}");
    let answer = request(router.address(), &ASK.replace("/upgrade", "/headers")).await;
    let answer = answer.to_lowercase();
    assert!(answer.starts_with("http/1.1 200 ok"), "{answer}");
    assert!(answer.contains("connection: upgrade\r\n"), "{answer}");
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_the_end_of_the_router_end_a_tunnel() {
    let (stage, router) = good(|timing| timing.idle = Duration::from_millis(300)).await;
    let (mut stream, _) = switched(router.address(), "").await;
    let mut rest = Vec::new();
    let _cut = soon("the end", stream.read_to_end(&mut rest)).await;
    let line = stage.line("at=error code=H15 desc=\"Idle connection\"").await;
    assert!(line.contains("dyno=web.1") && line.contains("status=503 bytes=6"), "{line}");
    // One that would not be ended by its silence.
    let router = stage.router(|_| ()).await;
    let (mut stream, _) = switched(router.address(), "").await;
    // It is no request in flight: nobody waits for it.
    soon("the end of the router", router.shutdown(Duration::from_secs(1000))).await;
    let _cut = soon("the end", stream.read_to_end(&mut rest)).await;
    stage.line("at=error code=H24 desc=\"Forced close\"").await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dyno_that_stops_does_not_wait_for_its_tunnels() {
    let stage = Stage::new(&format!("web: {}", app::command("good")), "web=1", |options| {
        options.timing.drain = Duration::from_secs(1000);
    })
    .await;
    stage.until("web.1", DynoState::Up).await;
    let router = stage.router(|_| ()).await;
    let (mut stream, _) = switched(router.address(), "").await;
    let name = "web.1".parse().unwrap();
    soon("the dyno to stop", stage.dynos.stop(&name)).await.unwrap();
    let mut rest = Vec::new();
    let _cut = soon("the end", stream.read_to_end(&mut rest)).await;
    drop(stream);
    stage.line("status=101 bytes=6").await;
    stage.dynos.shutdown().await;
}
