//! The router in front of real processes: who gets a request, what is added to it, every code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use platform::{DynoName, Router, RouterTiming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use trace::DynoState;

use crate::app;
use crate::stage::{Stage, get, request, soon};

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

async fn good(web: u32) -> Stage {
    let procfile = format!("web: {}", app::command("good"));
    let stage = Stage::new(&procfile, &format!("web={web}"), |_| ()).await;
    for number in 1..=web {
        stage.until(&format!("web.{number}"), DynoState::Up).await;
    }
    stage
}

/// The log line of the only request that was made, with its changing parts replaced.
async fn only_line(stage: &Stage) -> String {
    let line = stage.line("heroku[router]: ").await;
    let (_, line) = line.split_once("heroku[router]: ").expect("that was waited for");
    let blank = |word: &str| match word.split_once('=') {
        Some(("request_id", id)) => {
            assert_eq!(id.len(), 36);
            "request_id=ID".to_owned()
        }
        Some((name @ ("connect" | "service"), time)) if !time.is_empty() => {
            assert!(time.trim_end_matches("ms").parse::<u64>().is_ok(), "{word}");
            format!("{name}=Nms")
        }
        _ => word.to_owned(),
    };
    line.split(' ').map(blank).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_reaches_the_app_with_what_heroku_adds_and_is_told() {
    let stage = good(1).await;
    let router = stage.router(|_| ()).await;
    let head = "GET /headers?a=b HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 10.9.8.7\r\n\
                Connection: x-hop\r\nX-Hop: 1\r\n";
    let answer = request(router.address(), head).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 200 ok\r\n"), "{answer}");
    for part in [
        "x-app: yes\r\n",
        "via: 1.1 vegur\r\n",
        "get /headers?a=b http/1.1\r\n",
        "host: shop.test\r\n",
        "x-forwarded-for: 10.9.8.7, 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "connect-time: ",
        "total-route-time: ",
        "x-request-start: ",
        "x-request-id: ",
    ] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    assert!(answer.contains(&format!("x-forwarded-port: {}\r\n", router.address().port())));
    assert!(!answer.contains("x-hop"), "{answer}");
    let bytes = answer.split_once("\r\n\r\n").unwrap().1.len();
    assert_eq!(
        only_line(&stage).await,
        format!(
            "at=info method=GET path=\"/headers?a=b\" host=shop.test request_id=ID \
             fwd=\"10.9.8.7, 127.0.0.1\" dyno=web.1 connect=Nms service=Nms status=200 \
             bytes={bytes} protocol=http"
        )
    );
    let served = stage.kept.served().remove(0);
    assert_eq!((served.status, &*served.code, &*served.method), (200, "", "GET"));
    assert_eq!(&*served.path, "/headers?a=b");
    router.shutdown(MILLIS(100)).await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_web_dynos_get_their_part() {
    let stage = good(3).await;
    let router = stage.router(|_| ()).await;
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let answer = get(router.address(), "/").await;
        *seen.entry(answer.split_once("\r\n\r\n").unwrap().1.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["web.1", "web.2", "web.3"]);
    // 20 each are expected; less than 5 has a chance of one in 10⁶, and the seed is fixed.
    assert!(seen.values().all(|count| *count >= 5), "{seen:?}");
    // Nothing of the app's own errors is taken for ours.
    assert!(get(router.address(), "/missing").await.starts_with("HTTP/1.1 404"));
    stage.line("status=404 bytes=0").await;
    assert_eq!(&*stage.kept.served().last().unwrap().code, "");
    // A client of HTTP/1.0 sends no Host, a proxy's client an absolute address; HEAD has no body.
    let old = request(router.address(), "GET /headers HTTP/1.0\r\n").await.to_lowercase();
    assert!(old.contains(&format!("host: {}\r\n", router.address())), "{old}");
    let head = "GET http://abs.test/headers HTTP/1.1\r\nHost: other.test\r\n";
    let absolute = request(router.address(), head).await.to_lowercase();
    assert!(absolute.contains("get /headers http/1.1\r\n"), "{absolute}");
    assert!(absolute.contains("host: abs.test\r\n"), "{absolute}");
    let head = request(router.address(), "HEAD / HTTP/1.1\r\nHost: x\r\n").await;
    assert!(head.contains("content-length: 5") && head.ends_with("\r\n\r\n"), "{head}");
    stage.line("method=HEAD path=\"/\" host=x").await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways() {
    let stage = good(1).await;
    let router = stage.router(|_| ()).await;
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let half = vec![b'a'; 500_000];
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    // The first half comes back before the second one is sent.
    let send = async { write.write_all(&half).await.unwrap() };
    let receive = async {
        while answer.len() < 500_000 {
            read.read_buf(&mut answer).await.unwrap();
        }
    };
    soon("half of it", async { tokio::join!(send, receive) }).await;
    write.write_all(&half).await.unwrap();
    let rest = async {
        while !answer.ends_with(&half) || answer.len() < 1_000_000 {
            read.read_buf(&mut answer).await.unwrap();
        }
    };
    soon("all of it", rest).await;
    stage.line("status=200 bytes=1000000").await;
    stage.dynos.shutdown().await;
}

/// Load from several clients until told to stop; the number of answers, all of which must be 200.
fn load(router: SocketAddr, path: &'static str, clients: usize) -> (Arc<AtomicBool>, JoinSet<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let stop = Arc::clone(&stop);
        tasks.spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = get(router, path).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                assert!(answer.contains("web."), "cut off: {answer}");
                count += 1;
            }
            count
        });
    }
    (stop, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_requests_loses_none() {
    let stage = good(2).await;
    let router = stage.router(|_| ()).await;
    let (stop, mut tasks) = load(router.address(), "/sleep?ms=20", 8);
    // With two dynos, with one, and with one that comes back.
    for dyno in ["web.1", "web.2", "web.1"] {
        let name: DynoName = dyno.parse().unwrap();
        soon("a restart", stage.dynos.restart(&name)).await.unwrap();
        stage.until(dyno, DynoState::Up).await;
    }
    stage.dynos.scale("web=1").await.unwrap();
    soon("a restart", stage.dynos.restart(&DynoName::new("web", 1))).await.unwrap();
    stage.until("web.1", DynoState::Up).await;
    let answered = stage.kept.served().len();
    let after = async {
        while stage.kept.served().len() < answered + 20 {
            tokio::time::sleep(MILLIS(5)).await;
        }
    };
    soon("requests after the restarts", after).await;
    stop.store(true, Ordering::Relaxed);
    let mut answers = 0;
    while let Some(task) = soon("the clients", tasks.join_next()).await {
        answers += task.unwrap();
    }
    let served = stage.kept.served();
    assert_eq!(u64::try_from(served.len()).unwrap(), answers);
    assert!(served.iter().all(|request| request.code.is_empty()));
    router.shutdown(MILLIS(100)).await;
    stage.dynos.shutdown().await;
}

/// Makes one request to a good app and expects a code; returns the log line.
async fn code_of(path: &str, change: impl FnOnce(&mut RouterTiming)) -> (Stage, String) {
    let stage = good(1).await;
    let router = stage.router(change).await;
    let answer = get(router.address(), path).await;
    let line = only_line(&stage).await;
    let served = stage.kept.served().remove(0);
    assert!(line.contains(&format!(" code={} ", served.code)), "{line}");
    if line.contains("bytes=0 ") {
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    router.shutdown(MILLIS(100)).await;
    stage.dynos.shutdown().await;
    (stage, line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h12_when_the_first_byte_takes_too_long() {
    let (_, line) = code_of("/sleep?ms=20000", |timing| timing.first_byte = MILLIS(200)).await;
    assert_eq!(
        line,
        "at=error code=H12 desc=\"Request timeout\" method=GET path=\"/sleep?ms=20000\" \
         host=shop.test request_id=ID fwd=\"127.0.0.1\" dyno=web.1 connect=Nms service=Nms \
         status=503 bytes=0 protocol=http"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h13_h15_h17_h18_when_the_answer_is_none_or_not_whole() {
    let (_, line) = code_of("/close", |_| ()).await;
    assert!(line.starts_with("at=error code=H13 desc=\"Connection closed without response\""));
    let (_, line) = code_of("/stall", |timing| timing.idle = MILLIS(200)).await;
    assert!(line.starts_with("at=error code=H15 desc=\"Idle connection\""), "{line}");
    assert!(line.contains("status=503 bytes=4"), "{line}");
    let (_, line) = code_of("/garbage", |_| ()).await;
    assert!(
        line.starts_with("at=error code=H17 desc=\"Poorly formatted HTTP response\""),
        "{line}"
    );
    let (_, line) = code_of("/half", |_| ()).await;
    let start = "sock=backend at=error code=H18 desc=\"Server Request Interrupted\"";
    assert!(line.starts_with(start), "{line}");
    assert!(line.contains("dyno=web.1"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h27_and_h28_when_the_client_gives_up_or_falls_silent() {
    let stage = good(1).await;
    let router = stage.router(|timing| timing.idle = MILLIS(200)).await;
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    stream.write_all(b"GET /sleep?ms=20000 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stage.line("app[web.1]: sleeping").await;
    drop(stream);
    let line = stage.line("code=H27").await;
    let start = "sock=client at=warning code=H27 desc=\"Client Request Interrupted\" method=GET";
    assert!(line.contains(start), "{line}");
    assert!(line.contains("dyno=web.1") && line.contains("status=499 bytes=0"), "{line}");

    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    let head = "POST /sleep?ms=20000 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.unwrap();
    stage.line("sock=client at=error code=H28 desc=\"Client Connection Idle\"").await;
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h10_h14_and_h20_when_there_is_no_dyno_that_serves() {
    let stage = Stage::new("web: exit 1", "web=0", |options| {
        options.timing.backoff_base = Duration::from_secs(1000);
        options.timing.backoff_cap = Duration::from_secs(1000);
    })
    .await;
    let router = stage.router(|_| ()).await;
    assert!(get(router.address(), "/").await.contains("H14 No web dynos running"));
    assert!(only_line(&stage).await.contains("dyno= connect= service= status=503"));
    stage.dynos.scale("web=2").await.unwrap();
    for dyno in ["web.1", "web.2"] {
        let filter = |line: &String| line.contains("after 2 crashes");
        let crashed = async {
            while !stage.lines(dyno).iter().any(filter) {
                tokio::time::sleep(MILLIS(5)).await;
            }
        };
        soon("two crashes", crashed).await;
    }
    assert!(get(router.address(), "/").await.contains("H10 App crashed"));
    stage.dynos.shutdown().await;

    let stage = Stage::new("web: exec sleep 1000", "web=1", |_| ()).await;
    let router = stage.router(|timing| timing.queue = MILLIS(200)).await;
    stage.until("web.1", DynoState::Starting).await;
    assert!(get(router.address(), "/").await.contains("H20 App boot timeout"));
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_waits_for_a_dyno_that_boots() {
    let app = app::command("good");
    let procfile = format!("web: while [ ! -e {} ]; do sleep 0.01; done; exec {app}", app::GO);
    let stage = Stage::new(&procfile, "web=1", |_| ()).await;
    let router = stage.router(|_| ()).await;
    let address = router.address();
    let mut asked = JoinSet::new();
    asked.spawn(async move { get(address, "/").await });
    // It is answered by nobody while the dyno boots.
    let early = tokio::time::timeout(MILLIS(200), asked.join_next()).await;
    assert!(early.is_err(), "{early:?}");
    std::fs::write(stage.dir.path().join(app::GO), "").unwrap();
    assert!(asked.join_next().await.unwrap().unwrap().ends_with("web.1"));
    stage.dynos.shutdown().await;
}

async fn misbehaving(kind: &str, change: impl FnOnce(&mut RouterTiming)) -> (Stage, Router) {
    let stage = Stage::new(&format!("web: {}", app::command(kind)), "web=1", |_| ()).await;
    stage.until("web.1", DynoState::Up).await;
    stage.line(&format!("{kind} now")).await;
    let router = stage.router(change).await;
    (stage, router)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h21_then_quarantine_and_h99_when_a_dyno_refuses() {
    let (stage, router) = misbehaving("deaf", |timing| timing.queue = MILLIS(200)).await;
    assert!(get(router.address(), "/").await.contains("H21 Backend connection refused"));
    assert!(only_line(&stage).await.contains("dyno=web.1 connect=Nms service= status=503"));
    assert!(get(router.address(), "/").await.contains("H99 Platform error"));
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h19_when_a_dyno_does_not_take_the_connection() {
    // Only Linux drops what a full backlog cannot take; elsewhere it is refused.
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let (stage, router) = misbehaving("full", |timing| timing.connect = MILLIS(300)).await;
    assert!(get(router.address(), "/").await.contains("H19 Backend connection timeout"));
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dyno_that_refuses_costs_no_request() {
    // web.1 is deaf, web.2 is not.
    let (deaf, well) = (app::command("deaf"), app::command("good"));
    let procfile = format!("web: if [ $DYNO = web.1 ]; then {deaf}; else {well}; fi");
    let stage = Stage::new(&procfile, "web=2", |_| ()).await;
    stage.until("web.1", DynoState::Up).await;
    stage.until("web.2", DynoState::Up).await;
    stage.line("deaf now").await;
    let router = stage.router(|timing| timing.quarantine = MILLIS(1)).await;
    for _ in 0..30 {
        assert!(get(router.address(), "/").await.ends_with("web.2"));
    }
    stage.dynos.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_lets_a_request_finish_and_cuts_one_that_does_not() {
    let stage = good(1).await;
    let router = stage.router(|_| ()).await;
    let address = router.address();
    let short = async { get(address, "/sleep?ms=300").await };
    let down = async {
        stage.line("app[web.1]: sleeping").await;
        router.shutdown(Duration::from_secs(20)).await;
    };
    let (answer, ()) = tokio::join!(short, down);
    assert!(answer.ends_with("web.1"), "{answer}");
    assert!(TcpStream::connect(address).await.is_err());

    let router = stage.router(|_| ()).await;
    let mut stream = TcpStream::connect(router.address()).await.unwrap();
    stream.write_all(b"GET /stall HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    soon("the end", router.shutdown(MILLIS(50))).await;
    stage.line("at=error code=H24 desc=\"Forced close\"").await;
    stage.dynos.shutdown().await;
}
