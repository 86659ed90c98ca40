//! Load over HTTP.

use std::time::Duration;

use load::{
    Error, FailureKind, Http, HttpClass, Model, Options, Ramp, Range, Reach, RunResult, Schedule,
    Target, run,
};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trace::{Clock, Micros};

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);

/// About 60 requests in 0.3 s.
fn schedule() -> Schedule {
    Schedule::new(Ramp::constant(200.0, Duration::from_millis(300)), 42)
}

fn due() -> usize {
    schedule().offsets().count()
}

fn only(path: &str) -> Model {
    Model::of_http(200.0, vec![HttpClass::fixed("GET", path, 1.0)])
}

async fn send(model: &Model, target: &Target, options: &Options) -> RunResult {
    let cancel = CancellationToken::new();
    run(&schedule(), model, target, options, &cancel).await.expect("the model fits the target")
}

/// The result of sending only this path, and its only kind of failure.
async fn send_only(path: &str) -> (RunResult, Option<FailureKind>) {
    let server = Server::start().await;
    let result = send(&only(path), &server.target(PATIENCE), &Options::new(Clock::start())).await;
    let kinds: Vec<FailureKind> = result.failures_by_kind.keys().copied().collect();
    assert!(kinds.len() <= 1, "{kinds:?}");
    (result, kinds.first().copied())
}

#[tokio::test]
async fn what_is_due_is_sent_and_the_same_seed_sends_the_same() {
    let ids = [Range { from: 1, to: 1_000_000 }];
    let classes = vec![
        HttpClass::numbered("GET", "/checkout?customer={}", 0.8, &ids),
        HttpClass::fixed("POST", "/popular", 0.2),
    ];
    let model = Model::of_http(200.0, classes);
    let mut sent = Vec::new();
    for _ in 0..2 {
        let server = Server::start().await;
        let target = server.target(PATIENCE);
        let result = send(&model, &target, &Options::new(Clock::start())).await;
        assert_eq!(usize::try_from(result.offered).unwrap(), due());
        assert_eq!((result.completed, result.failed), (result.offered, 0));
        assert_eq!(result.latency.count(), result.offered);
        assert_eq!(
            result.seconds.iter().map(|second| second.completed).sum::<u64>(),
            result.offered
        );
        assert_eq!(result.classes[0].name, "GET /checkout?customer={}");
        assert_eq!(result.classes.iter().map(|class| class.completed).sum::<u64>(), result.offered);
        let mut seen = server.seen();
        seen.sort();
        sent.push(seen);
    }
    assert_eq!(sent[0], sent[1]);
    assert!(sent[0].iter().any(|line| line == "POST /popular"));
}

#[tokio::test]
async fn the_loop_is_open_and_a_stall_is_charged_from_the_intended_start() {
    let server = Server::start().await;
    server.close_gate();
    let clock = Clock::start();
    let target = server.target(PATIENCE);
    let options = Options::new(clock);
    let model = only("/");
    let opened = async {
        // All requests arrive although none was answered: nobody waited for anybody.
        testkit::wait_until(PATIENCE, || server.seen().len() == due()).await;
        let opened = clock.now();
        server.open_gate();
        opened
    };
    let (result, opened) = tokio::join!(send(&model, &target, &options), opened);
    assert_eq!(result.completed, result.offered);
    // Each waited from when it was due until the gate opened, at least: the first longest.
    let waited = |offset| opened.since(result.started + Micros::from_duration(offset));
    let first = schedule().offsets().next().unwrap();
    let last = schedule().offsets().last().unwrap();
    let slack = |wait: Micros| Micros(wait.0 - wait.0 / 500);
    assert!(result.latency.max() >= slack(waited(first)), "{:?}", result.latency);
    assert!(result.latency.quantile(0.0) >= slack(waited(last)), "{:?}", result.latency);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let cases = [
        ("/status/500", Some(FailureKind::Status(500))),
        ("/status/503", Some(FailureKind::Status(503))),
        ("/hang-up", Some(FailureKind::Disconnected)),
        ("/nonsense", Some(FailureKind::Protocol)),
        ("/status/404", None),
        ("/status/302", None),
    ];
    for (path, expected) in cases {
        let (result, kind) = send_only(path).await;
        assert_eq!(kind, expected, "{path}");
        let failed = if expected.is_some() { result.offered } else { 0 };
        assert_eq!((result.failed, result.completed), (failed, result.offered - failed), "{path}");
        let later = result.ended + Micros::from_secs(1);
        assert_eq!(result.failed_between(result.started, later), failed, "{path}");
        assert_eq!(result.offered_between(result.started, later), result.offered, "{path}");
    }
}

#[tokio::test]
async fn nobody_listening_is_a_refusal() {
    // Bound, so that nobody else listens there; not listening.
    let kept = TcpSocket::new_v4().unwrap();
    kept.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = kept.local_addr().unwrap();
    let target = Target::Http(Http::at(address, PATIENCE, Reach::Loopback).unwrap());
    let result = send(&only("/"), &target, &Options::new(Clock::start())).await;
    assert_eq!(result.failures_by_kind, [(FailureKind::Refused, result.offered)].into());
}

#[tokio::test]
async fn no_answer_in_time_is_a_timeout() {
    let server = Server::start().await;
    server.close_gate();
    let target = server.target(Duration::from_millis(50));
    let result = send(&only("/"), &target, &Options::new(Clock::start())).await;
    assert_eq!(result.failures_by_kind, [(FailureKind::Timeout, result.offered)].into());
    assert_eq!(result.latency.count(), 0);
    assert_eq!(result.latency_failed.count(), result.offered);
}

#[tokio::test]
async fn too_many_in_flight_are_abandoned_and_counted() {
    let server = Server::start().await;
    server.close_gate();
    let (progress, seen) = watch::channel(load::Snapshot::default());
    let mut options = Options::new(Clock::start());
    options.max_in_flight = 3;
    options.progress = Some(progress);
    let target = server.target(PATIENCE);
    let model = only("/");
    let release = async {
        testkit::wait_until(PATIENCE, || seen.borrow().offered == u64::try_from(due()).unwrap())
            .await;
        server.open_gate();
    };
    let (result, ()) = tokio::join!(send(&model, &target, &options), release);
    assert_eq!((result.completed, result.abandoned), (3, result.offered - 3));
    assert_eq!(result.failures_by_kind, [(FailureKind::Abandoned, result.abandoned)].into());
    assert_eq!(server.seen().len(), 3);
    let last = seen.borrow();
    assert_eq!((last.offered, last.failed), (result.offered, result.failed), "told at the end");
}

#[tokio::test]
async fn a_cancelled_run_ends_and_says_what_is_unfinished() {
    let server = Server::start().await;
    server.close_gate();
    let target = server.target(PATIENCE);
    let (options, model) = (Options::new(Clock::start()), only("/"));
    let schedule = Schedule::new(Ramp::constant(100.0, Duration::from_secs(3_600)), 1);
    let cancel = CancellationToken::new();
    let cancelled = async {
        testkit::wait_until(PATIENCE, || server.seen().len() >= 5).await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(run(&schedule, &model, &target, &options, &cancel), cancelled);
    let result = result.unwrap();
    assert!(result.offered >= 5);
    assert_eq!((result.unfinished, result.failed), (result.offered, 0));
}

#[tokio::test]
async fn other_machines_are_loaded_only_when_that_is_said() {
    let reach = |base, reach| Http::resolve(base, PATIENCE, reach);
    for near in
        ["http://127.0.0.1:1", "http://127.9.9.9:1/", "http://localhost:1", "http://[::1]:1"]
    {
        reach(near, Reach::Loopback).await.expect(near);
    }
    let far = reach("http://192.0.2.7:80", Reach::Loopback).await.unwrap_err();
    assert!(matches!(far, Error::Remote { .. }), "{far}");
    reach("http://192.0.2.7:80", Reach::Anywhere).await.expect("the caller allowed it");
    for wrong in ["https://127.0.0.1:1", "http://127.0.0.1:1/app", "127.0.0.1:1", ""] {
        let error = reach(wrong, Reach::Anywhere).await.expect_err(wrong);
        assert!(matches!(error, Error::Address { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_refused_before_anything_is_sent() {
    let server = Server::start().await;
    let target = server.target(PATIENCE);
    let (options, cancel) = (Options::new(Clock::start()), CancellationToken::new());
    let customers = [Range { from: 9, to: 1 }];
    let wrong = [
        Model::of_sql(1.0, vec![]),
        Model::of_http(1.0, vec![]),
        Model::of_http(1.0, vec![HttpClass::fixed("GET", "/", -1.0)]),
        Model::of_http(1.0, vec![HttpClass::fixed("GET", "no slash", 1.0)]),
        Model::of_http(1.0, vec![HttpClass::fixed("GE T", "/", 1.0)]),
        Model::of_http(1.0, vec![HttpClass::fixed("GET", "/{}", 1.0)]),
        Model::of_http(1.0, vec![HttpClass::numbered("GET", "/{}", 1.0, &customers)]),
        Model::of_http(1.0, vec![HttpClass::numbered("GET", "/{}/{}", 1.0, &[])]),
    ];
    for model in wrong {
        let refused = run(&schedule(), &model, &target, &options, &cancel).await.unwrap_err();
        assert!(matches!(refused, Error::Model(_) | Error::NothingToSend(_)), "{refused}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_closed_loop_counts_only_what_was_answered() {
    let server = Server::start().await;
    let target = server.target(PATIENCE);
    let span = Duration::from_secs(1);
    let good = load::closed(&only("/"), &target, 4, span, 1).await.unwrap();
    let sent = server.seen().len();
    // One request of each client may have been cut off by the end.
    assert!(good > 0.0 && (good - sent as f64).abs() <= 4.0, "{good} answered, {sent} sent");
    let bad = load::closed(&only("/status/500"), &target, 4, span, 1).await.unwrap();
    assert!(server.seen().len() > sent);
    assert_eq!(bad, 0.0);
}
