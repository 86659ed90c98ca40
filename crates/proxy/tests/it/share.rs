//! The adaptive limit: what counts as executing, who shares, and what the server has room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use proxy::{Config, Knee, LimitState, Mode, Rank};
use tokio::sync::Barrier;
use trace::{Event, LimitCause, Micros, Outcome};
use wire::frontend::tag;

use crate::harness::{Fixture, SOON, code, limit};
use crate::raw::{Raw, first_value};

/// The law begins at so many statements, of at most so many connections.
fn begins_at(statements: u32, cap: u32) -> impl FnOnce(&mut Config) {
    move |config| {
        limit(cap)(config);
        config.knees = vec![Knee { database: "*".to_owned(), statements }];
    }
}

fn standing(fixture: &Fixture) -> LimitState {
    fixture.proxy.control().look().databases[0].executing
}

#[tokio::test]
async fn transactions_that_idle_do_not_hold_up_others() {
    let fixture = Fixture::start_with(Mode::Regulate, begins_at(2, 6)).await;
    let all_in = Arc::new(Barrier::new(6));
    let watcher = fixture.postgres.superuser().await;
    let sessions = join_all((0..6).map(|_| fixture.connect())).await;
    // Each stays in its transaction until all six are in theirs; two may execute.
    let rounds = sessions.into_iter().map(|mut session| {
        let all_in = Arc::clone(&all_in);
        async move {
            for _ in 0..5 {
                let transaction = session.transaction().await.unwrap();
                transaction.batch_execute("SELECT 1").await.unwrap();
                all_in.wait().await;
                transaction.batch_execute("SELECT 2").await.unwrap();
                transaction.commit().await.unwrap();
            }
        }
    });
    let rounds = join_all(rounds);
    tokio::time::timeout(SOON, rounds).await.expect("idle ones hold nobody up");
    assert!(fixture.server_connections(&watcher).await <= 6);
    let started = fixture.all_events().into_iter().find_map(|event| match event {
        Event::LimitChanged(change) => Some(change),
        _ => None,
    });
    let started = started.expect("the first limit is told");
    assert_eq!((started.to, started.cause), (2, LimitCause::Remembered));
    testkit::wait_until(SOON, || standing(&fixture).idle == 0).await;
    fixture.end().await;
}

/// As asyncpg prepares a statement: the batch stays open until it is run.
#[tokio::test]
async fn batches_that_are_left_open_do_not_hold_up_others() {
    let fixture = Fixture::start_with(Mode::Regulate, begins_at(2, 6)).await;
    let mut sessions = Vec::new();
    for number in 0..5 {
        let mut raw = Raw::login(&fixture).await;
        raw.parse("s", &format!("SELECT {number}")).bare(tag::FLUSH).send().await;
        assert_eq!(raw.receive().await.tag, '1');
        sessions.push(raw);
    }
    let mut next = Raw::login(&fixture).await;
    assert_eq!(next.value("SELECT 7").await, "7");
    for (number, raw) in sessions.iter_mut().enumerate() {
        raw.bind("s").execute().sync().send().await;
        assert_eq!(first_value(&raw.until_ready().await), number.to_string());
    }
    fixture.end().await;
}

#[tokio::test]
async fn who_comes_in_during_a_handover_gets_a_connection() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(6)).await;
    let held = fixture.proxy.give_way().await;
    // It is let in still: nobody has said yet that another process accepts.
    let session = fixture.connect().await;
    fixture.proxy.stop_accepting().await.unwrap();
    fixture.proxy.cede_all().unwrap();
    assert_eq!(fixture.proxy.give_way().await, held);
    session.batch_execute("SELECT 1").await.unwrap();
    drop(session);
    fixture.proxy.sessions_ended().await;
    assert_eq!(fixture.proxy.give_way().await[0].connections, 0);
    fixture.end().await;
}

#[tokio::test]
async fn what_idles_is_shown_and_connections_are_still_limited() {
    let fixture = Fixture::start_with(Mode::Regulate, begins_at(2, 3)).await;
    let holders = join_all((0..3).map(|_| fixture.connect_as("web.1"))).await;
    for session in &holders {
        session.batch_execute("BEGIN; SELECT 1").await.unwrap();
    }
    // The client may have its answer a moment before.
    testkit::wait_until(SOON, || standing(&fixture).idle == 3).await;
    let seen = standing(&fixture);
    assert_eq!((seen.executing, seen.ceiling), (0, 3));
    let late = fixture.connect_as("web.2").await;
    fixture.patience(Duration::from_millis(200)).await;
    assert_eq!(code(&late.batch_execute("SELECT 1").await.unwrap_err()), "53300");
    fixture.patience(SOON).await;
    // Statements of the open transactions never wait.
    for session in &holders {
        session.batch_execute("SELECT 2; COMMIT").await.unwrap();
    }
    late.batch_execute("SELECT 1").await.unwrap();
    testkit::wait_until(SOON, || standing(&fixture).idle == 0).await;
    drop((holders, late));
    fixture.end().await;
}

#[tokio::test]
async fn short_statements_pass_while_long_ones_run() {
    let fixture = Fixture::start_with(Mode::Regulate, begins_at(1, 9)).await;
    let report = fixture.connect_as("worker.1").await;
    let web = fixture.connect_as("web.1").await;
    let long = Box::pin(report.batch_execute("SELECT pg_sleep(60)"));
    let short = Box::pin(async {
        testkit::wait_until(SOON, || standing(&fixture).long == 1).await;
        for _ in 0..50 {
            web.batch_execute("SELECT 1").await.unwrap();
        }
    });
    match select(long, short).await {
        Either::Left(_) => panic!("the report came first"),
        Either::Right(((), _long)) => {}
    }
    assert_eq!(standing(&fixture).long, 1);
    drop((report, web));
    fixture.end().await;
}

#[tokio::test]
async fn a_hog_does_not_starve_another_dyno() {
    let fixture = Fixture::start_with(Mode::Regulate, |config| {
        limit(2)(config);
        config.adaptive = false;
    })
    .await;
    let hogs = join_all((0..20).map(|_| fixture.connect_as("web.1"))).await;
    let calm = fixture.connect_as("web.2").await;
    let over = AtomicBool::new(false);
    let hog = join_all(hogs.iter().map(async |session| {
        while !over.load(Ordering::Relaxed) {
            session.batch_execute("SELECT pg_sleep(0.004)").await.unwrap();
        }
    }));
    let calm = async {
        for _ in 0..40 {
            calm.batch_execute("SELECT pg_sleep(0.004)").await.unwrap();
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(hog, calm);
    let events = fixture.all_events();
    let mut names = std::collections::HashMap::new();
    let mut waits = std::collections::HashMap::<Box<str>, Vec<Micros>>::new();
    for event in events {
        match event {
            Event::DynoNamed { dyno, name, .. } => {
                names.insert(dyno, name);
            }
            Event::Request(request) if request.outcome == Outcome::Ok => {
                waits.entry(names[&request.dyno].clone()).or_default().push(request.queue());
            }
            _ => {}
        }
    }
    let mut median = |name: &str| {
        let waits = waits.get_mut(name).unwrap();
        waits.sort_unstable();
        waits[waits.len() / 2]
    };
    let (hog, calm) = (median("web.1"), median("web.2"));
    // First come first served, both would wait for the same twenty.
    assert!(calm.0 * 3 < hog.0, "web.2 waited {calm:?}, web.1 {hog:?}");
    fixture.end().await;
}

#[tokio::test]
async fn without_the_law_as_many_execute_as_hold_a_connection() {
    let fixture = Fixture::start_with(Mode::Regulate, |config| {
        begins_at(1, 3)(config);
        config.adaptive = false;
    })
    .await;
    let sessions = join_all((0..3).map(|_| fixture.connect())).await;
    let sleeps = join_all(sessions.iter().map(|one| one.batch_execute("SELECT pg_sleep(0.3)")));
    let all_execute = async {
        testkit::wait_until(SOON, || standing(&fixture).executing == 3).await;
    };
    tokio::join!(async { assert!(sleeps.await.iter().all(Result::is_ok)) }, all_execute);
    let seen = standing(&fixture);
    assert_eq!((seen.adaptive, seen.limit, seen.ceiling, seen.room), (false, 3, 3, None));
    drop(sessions);
    fixture.end().await;
}

#[tokio::test]
async fn the_servers_own_room_is_the_cap() {
    // Three slots are reserved for superusers: seven are left.
    let postgres = testkit::postgres_with(&[
        ("max_connections", "10"),
        ("superuser_reserved_connections", "3"),
    ])
    .await;
    let fixture = Fixture::on(Arc::new(postgres), Mode::Regulate, |_| {}).await;
    let sessions = join_all((0..12).map(|_| fixture.connect())).await;
    let over = AtomicBool::new(false);
    let work = join_all(sessions.iter().map(async |session| {
        while !over.load(Ordering::Relaxed) {
            // Nobody is told of 53300.
            session.batch_execute("SELECT pg_sleep(0.002)").await.unwrap();
        }
    }));
    let watch = async {
        // Seven, less two spare ones, less the one to speak with other proxies.
        testkit::wait_until(SOON, || standing(&fixture).room == Some(4)).await;
        assert_eq!(standing(&fixture).ceiling, 4);
        let _others = join_all((0..2).map(|_| fixture.database.connect())).await;
        testkit::wait_until(SOON, || standing(&fixture).room == Some(2)).await;
        testkit::wait_until(SOON, || fixture.proxy.control().look().databases[0].open <= 2).await;
        let alliance = standing(&fixture).alliance.expect("it speaks");
        assert_eq!((alliance.rank, alliance.proxies, alliance.room), (Rank::Leader, 1, 3));
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(work, watch);
    drop(sessions);
    fixture.end().await;
}
