//! What the router does not let through, or not yet; and what it is told to refuse.

use std::sync::Arc;
use std::time::Duration;

use platform::control::{Client, Server, Staging};
use platform::{Router, RouterOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use trace::{DynoState, TraceId};

use crate::app;
use crate::stage::{Stage, get, request, soon};

/// Lets the app answer the requests that it holds.
fn go(stage: &Stage) {
    std::fs::write(stage.dir.path().join(app::GO), "").expect("the app's folder can be written to");
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn good(change: impl FnOnce(&mut RouterOptions)) -> (Stage, Router) {
    let stage = Stage::new(&format!("web: {}", app::command("good")), "web=1", |_| ()).await;
    stage.until("web.1", DynoState::Up).await;
    let router = stage.router_with(change).await;
    (stage, router)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_keeps_its_trace_or_gets_one() {
    let (stage, router) = good(|_| ()).await;
    let head = format!(
        "GET /headers HTTP/1.1\r\nHost: x\r\nTraceparent: {TRACEPARENT}\r\nTracestate: a=b\r\n"
    );
    let given = request(router.address(), &head).await;
    assert!(given.contains(&format!("traceparent: {TRACEPARENT}\r\ntracestate: a=b")), "{given}");
    let broken = "GET /headers HTTP/1.1\r\nHost: x\r\nTraceparent: 00-x\r\nTracestate: a=b\r\n";
    let made = request(router.address(), broken).await;
    assert!(!made.contains("tracestate"), "{made}");
    let (_, made) = made.split_once("traceparent: ").unwrap();
    let made = TraceId::of_traceparent(made.split("\r\n").next().unwrap());
    let served = stage.kept.served();
    assert_eq!(Some(served[0].trace), TraceId::of_traceparent(TRACEPARENT));
    assert_eq!(Some(served[1].trace), made);
    assert!(made.is_some());
    assert_eq!(served[1].request_id.len(), 36);
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h11_when_the_backlog_is_too_deep() {
    let (stage, router) = good(|options| {
        options.limits.active_per_dyno = 1;
        options.limits.backlog_per_dyno = 1;
    })
    .await;
    let address = router.address();
    let mut held = JoinSet::new();
    held.spawn(async move { get(address, "/hold").await });
    stage.line("app[web.1]: holding").await;
    // One waits for the dyno, whoever comes then is refused.
    let mut both = JoinSet::new();
    for _ in 0..2 {
        both.spawn(async move { get(address, "/").await });
    }
    let refused = soon("a refusal", both.join_next()).await.unwrap().unwrap();
    assert!(refused.contains("H11 Backlog too deep"), "{refused}");
    go(&stage);
    for answer in soon("the others", async { [both.join_all().await, held.join_all().await] }).await
    {
        assert!(answer[0].ends_with("web.1"), "{answer:?}");
    }
    let line = stage.line("code=H11 desc=\"Backlog too deep\"").await;
    assert!(line.contains("dyno= connect= service= status=503 bytes=0"), "{line}");
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h11_when_no_dyno_has_room_in_time() {
    let (stage, router) = good(|options| {
        options.limits.active_per_dyno = 2;
        options.timing.queue = Duration::from_millis(200);
    })
    .await;
    let address = router.address();
    let mut held = JoinSet::new();
    for _ in 0..2 {
        held.spawn(async move { get(address, "/hold").await });
    }
    let both = async {
        while stage.lines("web.1").iter().filter(|line| line.contains("holding")).count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("two that are held", both).await;
    assert!(get(address, "/").await.contains("H11 Backlog too deep"));
    go(&stage);
    for answer in soon("those that are held", held.join_all()).await {
        assert!(answer.ends_with("web.1"), "{answer}");
    }
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_wait_for_room_are_served() {
    let (stage, router) = good(|options| options.limits.active_per_dyno = 2).await;
    let address = router.address();
    let mut many = JoinSet::new();
    for _ in 0..40 {
        many.spawn(async move { get(address, "/sleep?ms=5").await });
    }
    for answer in soon("all answers", many.join_all()).await {
        assert!(answer.ends_with("web.1"), "{answer}");
    }
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h22_when_there_are_too_many_connections() {
    let (stage, router) = good(|options| options.limits.connections = 1).await;
    let mut held = TcpStream::connect(router.address()).await.unwrap();
    held.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    held.read_exact(&mut first).await.unwrap();
    let answer = get(router.address(), "/").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    stage.line("at=error code=H22 desc=\"Connection limit reached\"").await;
    drop(held);
    let served = async { while !get(router.address(), "/").await.ends_with("web.1") {} };
    soon("a place", served).await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h22_counts_tunnels_and_every_worker() {
    let (stage, router) = good(|options| {
        options.limits.connections = 2;
        options.workers = 3.try_into().unwrap();
    })
    .await;
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut tunnel = TcpStream::connect(router.address()).await.unwrap();
        let ask = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\
                   Upgrade: shout\r\n\r\n";
        tunnel.write_all(ask.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"HELLO ") {
            head.push(soon("the other protocol", tunnel.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        tunnels.push(tunnel);
    }
    assert!(get(router.address(), "/").await.contains("H22 Connection limit reached"));
    drop(tunnels);
    let served = async { while !get(router.address(), "/").await.ends_with("web.1") {} };
    soon("a place", served).await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h17_and_h25_when_an_answer_is_more_than_heroku_lets_through() {
    let (stage, router) = good(|_| ()).await;
    for (path, status, told) in [
        ("/length", 502, "code=H25 desc=\"HTTP restriction: invalid content length\""),
        ("/set?set-cookie=8193", 502, "code=H25 desc=\"HTTP restriction: oversized cookie\""),
        ("/set?x-long=524288", 502, "code=H25 desc=\"HTTP restriction: oversized header\""),
        ("/set?x-long=2000000", 502, "code=H25 desc=\"HTTP restriction: oversized header\""),
        ("/many?x=1001", 502, "code=H25 desc=\"HTTP restriction: oversized header\""),
        ("/status", 502, "code=H25 desc=\"HTTP restriction: oversized status line\""),
        ("/bare", 503, "code=H17 desc=\"Poorly formatted HTTP response\""),
        ("/switch", 503, "code=H17 desc=\"Poorly formatted HTTP response\""),
    ] {
        let answer = get(router.address(), path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        let line = stage.line(&format!("path=\"{path}\"")).await;
        assert!(line.contains(&format!("at=error {told}")), "{line}");
        assert!(
            line.contains(&format!("dyno=web.1 connect=0ms service=0ms status={status}"))
                || line.contains(&format!("status={status} bytes=0")),
            "{line}"
        );
    }
    for path in ["/set?set-cookie=8192", "/set?x-long=500000", "/many?x=999"] {
        let answer = get(router.address(), path).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{path}: {}", answer.len());
    }
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h26_when_a_request_is_wrong() {
    let (stage, router) = good(|_| ()).await;
    let long = "a".repeat(8192);
    for (head, status, cause) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n"), 414, "request line too long"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n"), 400, "header too long"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nExpect: dinner\r\n".to_owned(),
            417,
            "unsupported expect header value",
        ),
        ("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n".to_owned(), 405, "unsupported method"),
        ("GET / HTTP/1.1\r\nHost : x\r\n".to_owned(), 400, "bad request"),
    ] {
        let answer = request(router.address(), &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{cause}: {answer}");
        let line = stage.line(&format!("cause=\"{cause}\"")).await;
        let start = format!("at=error code=H26 desc=\"Request Error\" cause=\"{cause}\" method=");
        assert!(line.contains(&start), "{line}");
        assert!(
            line.contains(&format!("dyno= connect= service= status={status} bytes=0")),
            "{line}"
        );
    }
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h80_in_maintenance_mode() {
    let (stage, router) = good(|_| ()).await;
    let platform = stage.platform(|_| ());
    let maintenance = Some(router.maintenance());
    let info = serde_json::Value::Null;
    let staging = Staging { platform, tally: None, maintenance, info };
    let paths = [stage.dir.path().join("control.sock")];
    let _server = Server::start(&paths, Arc::new(staging)).await.unwrap();
    let client = Client::find(&paths).await.unwrap();
    assert!(!client.maintenance().await.unwrap());
    client.set_maintenance(true).await.unwrap();
    assert!(client.maintenance().await.unwrap());
    stage.line("heroku[api]: Enable maintenance mode").await;
    assert!(get(router.address(), "/").await.contains("H80 Maintenance mode"));
    let line = stage.line("heroku[router]: at=info code=H80 desc=\"Maintenance mode\"").await;
    assert!(line.contains("dyno= connect= service= status=503 bytes=0"), "{line}");
    client.set_maintenance(false).await.unwrap();
    assert!(get(router.address(), "/").await.ends_with("web.1"));
    stage.dynos.shutdown().await;
}
