//! The limit, the queue and the refusals of `regulate` mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use proxy::{Doing, Mode};
use tokio_postgres::NoTls;
use trace::{Event, Micros, Outcome};

use crate::harness::{Fixture, SOON, code, limit};
use crate::raw::Raw;

/// Runs transactions of `clients` sessions and gives the most server connections that were seen.
async fn run(fixture: &Fixture, clients: usize, rounds: usize) -> i64 {
    let sessions = join_all((0..clients).map(|_| fixture.connect())).await;
    let watcher = fixture.postgres.superuser().await;
    let over = AtomicBool::new(false);
    let watch = async {
        let mut most = 0;
        while !over.load(Ordering::Relaxed) {
            most = most.max(fixture.server_connections(&watcher).await);
        }
        most
    };
    let work = async {
        join_all(sessions.into_iter().enumerate().map(|(number, mut session)| async move {
            for round in 0..rounds {
                let transaction = session.transaction().await.expect("nobody is refused");
                let text = "SELECT $1::int4, pg_sleep(0.002)";
                let value = i32::try_from(number * rounds + round).expect("nobody is refused");
                let row = transaction.query_one(text, &[&value]).await.expect("nobody is refused");
                assert_eq!(row.get::<_, i32>(0), value, "the answer is one's own");
                transaction.commit().await.expect("nobody is refused");
            }
        }))
        .await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(watch, work).0
}

#[tokio::test]
async fn twenty_clients_share_three_connections() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(3)).await;
    let most = run(&fixture, 20, 10).await;
    assert_eq!(most, 3);
    let waited = fixture.requests().iter().filter(|r| r.queue().0 > 1000).count();
    assert!(waited > 50, "only {waited} requests had to wait");
    let sampled = fixture.all_events().iter().any(|event| {
        matches!(event, Event::PoolSampled(pool)
            if (pool.limit, pool.leased) == (3, 3) && pool.open <= 3 && pool.waiting > 0)
    });
    assert!(sampled);
    fixture.end().await;
}

#[tokio::test]
async fn the_limit_holds_over_all_workers() {
    let fixture = Fixture::start_with(Mode::Regulate, |config| {
        limit(3)(config);
        config.workers = 3.try_into().unwrap();
    })
    .await;
    let most = run(&fixture, 20, 10).await;
    assert!(most <= 3, "{most} connections");
    fixture.end().await;
}

#[tokio::test]
async fn another_kind_of_connection_takes_the_place_of_an_idle_one() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let watcher = fixture.postgres.superuser().await;
    for round in 0..6 {
        let zone = if round % 2 == 0 { "UTC" } else { "Asia/Tokyo" };
        let url = format!("{}?options=-c%20TimeZone={zone}", fixture.url());
        let one = testkit::connect(&url).await;
        let two = testkit::connect(&url).await;
        // Both connections are taken by this kind.
        one.batch_execute("BEGIN; SELECT 1").await.unwrap();
        two.batch_execute("BEGIN; SELECT 1").await.unwrap();
        for session in [&one, &two] {
            let shown: String = session.query_one("SHOW TimeZone", &[]).await.unwrap().get(0);
            assert_eq!(shown, zone);
            assert!(fixture.server_connections(&watcher).await <= 2);
            session.batch_execute("COMMIT").await.unwrap();
        }
    }
    fixture.end().await;
}

#[tokio::test]
async fn who_waits_too_long_is_told_who_holds_the_connections() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(3)).await;
    let mut holders = Vec::new();
    for dyno in ["web.3", "web.1", "web.3"] {
        let session = fixture.connect_as(dyno).await;
        session.batch_execute("BEGIN; SELECT 1").await.unwrap();
        holders.push(session);
    }
    let late = fixture.connect_as("web.2").await;
    fixture.patience(Duration::from_millis(200)).await;
    for _ in 0..2 {
        let error = late.batch_execute("SELECT 1").await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "53300");
        let words = "surgetank: no server connection became free within ";
        let waited = error.message().strip_prefix(words).and_then(|rest| rest.strip_suffix("ms"));
        let waited: u64 = waited.expect("the time it waited").parse().unwrap();
        assert!(waited >= 200, "{waited} ms");
        assert_eq!(
            error.hint(),
            Some(
                "pool *: 3 connections of 3 held, 3 of them idle in transaction; \
                 web.3 holds 2; web.1 holds 1"
            )
        );
    }
    // In the extended protocol the rest of the batch is discarded.
    let error = late.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(code(&error), "53300");
    fixture.patience(SOON).await;
    holders.pop().unwrap().batch_execute("COMMIT").await.unwrap();
    // The session lives on.
    assert_eq!(late.query_one("SELECT 5", &[]).await.unwrap().get::<_, i32>(0), 5);

    let refused = fixture.requests().into_iter().filter(|r| r.outcome == Outcome::QueueTimeout);
    for request in refused.clone() {
        assert!(request.queue() >= Micros::from_millis(200), "{request:?}");
        assert_ne!(request.statement, trace::Fingerprint::NONE);
    }
    assert_eq!(refused.count(), 3);
    let holders_told = fixture.all_events().into_iter().find_map(|event| match event {
        Event::RequestRefused(refusal) => Some(refusal.holders),
        _ => None,
    });
    let counts: Vec<u32> = holders_told.unwrap().into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [2, 1]);
    drop((late, holders));
    fixture.end().await;
}

#[tokio::test]
async fn postgresql_without_free_slots_is_no_outage() {
    // Three slots are reserved for superusers: seven are left, four of them taken by others.
    let postgres = testkit::postgres_with(&[
        ("max_connections", "10"),
        ("superuser_reserved_connections", "3"),
    ])
    .await;
    let fixture = Fixture::on(Arc::new(postgres), Mode::Regulate, limit(8)).await;
    let others = join_all((0..4).map(|_| fixture.database.connect())).await;
    // There are three slots for eight leases.
    run(&fixture, 12, 5).await;
    drop(others);
    fixture.end().await;
}

#[tokio::test]
async fn a_refusal_tells_what_postgresql_said() {
    let postgres = testkit::postgres_with(&[
        ("max_connections", "6"),
        ("superuser_reserved_connections", "3"),
    ])
    .await;
    let fixture = Fixture::on(Arc::new(postgres), Mode::Regulate, limit(5)).await;
    let others = join_all((0..3).map(|_| fixture.database.connect())).await;
    fixture.patience(Duration::from_millis(700)).await;
    let error = tokio_postgres::connect(&fixture.url(), NoTls).await.map(|_| ()).unwrap_err();
    assert_eq!(code(&error), "53300");
    let text = error.as_db_error().unwrap().message().to_owned();
    assert!(text.contains("PostgreSQL refuses to open more: "), "{text}");
    // As soon as there is room, all is well.
    fixture.patience(SOON).await;
    drop(others);
    let client = fixture.connect().await;
    client.batch_execute("SELECT 1").await.unwrap();
    drop(client);
    fixture.end().await;
}

#[tokio::test]
async fn who_waits_can_be_cancelled_or_leave() {
    let fixture = Fixture::start_with(Mode::Regulate, |config| {
        limit(1)(config);
    })
    .await;
    let holder = fixture.connect().await;
    let waiting = fixture.connect().await;
    let mut leaving = Raw::login(&fixture).await;
    holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
    leaving.query("SELECT 'leaving'").send().await;

    let queued = |count: u32| {
        let events = fixture.all_events();
        let last = events.iter().rev().find_map(|event| match event {
            Event::PoolSampled(pool) => Some(pool.waiting),
            _ => None,
        });
        last == Some(count)
    };
    let cancel = waiting.cancel_token();
    let act = async {
        testkit::wait_until(SOON, || queued(2)).await;
        // What has arrived is executed, as without a proxy.
        drop(leaving);
        cancel.cancel_query(NoTls).await.unwrap();
    };
    let (cancelled, ()) = tokio::join!(waiting.batch_execute("SELECT 1"), act);
    assert_eq!(code(&cancelled.unwrap_err()), "57014");
    testkit::wait_until(SOON, || queued(1)).await;
    holder.batch_execute("COMMIT").await.unwrap();
    waiting.batch_execute("SELECT 1").await.unwrap();
    testkit::wait_until(SOON, || queued(0)).await;
    let gone = fixture.requests().iter().filter(|r| r.outcome == Outcome::ClientGone).count();
    assert_eq!(gone, 0);
    drop((holder, waiting));
    fixture.end().await;
}

#[tokio::test]
async fn who_waits_long_is_told_once_and_served() {
    let fixture = Fixture::start_with(Mode::Regulate, |config| {
        limit(1)(config);
        config.queue_notice = Some(Duration::from_millis(20));
    })
    .await;
    let mut raw = Raw::connect(fixture.addr).await;
    let owner = &fixture.database.owner;
    let (user, database) = (owner.user.as_bytes(), fixture.database.name.as_bytes());
    raw.startup(0, &[(b"user", user), (b"database", database)]);
    raw.authenticate(&owner.password).await;
    let holder = fixture.connect().await;
    for _ in 0..2 {
        holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
        raw.query("SELECT 7").send().await;
        let notice = raw.receive().await;
        assert_eq!(notice.tag, 'N', "{notice:?}");
        assert_eq!(
            notice.text(),
            "surgetank: this request has waited for a server connection for 0.02 s and goes on \
             waiting"
        );
        holder.batch_execute("COMMIT").await.unwrap();
        let tags: String = raw.until_ready().await.iter().map(|message| message.tag).collect();
        assert_eq!(tags, "TDCZ");
    }
    // Who logs in is not ready for a notice, and gets none however long it takes.
    holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let other = fixture.postgres.database().await;
    let mut late = Raw::connect(fixture.addr).await;
    late.startup(0, &[(b"user", user), (b"database", other.name.as_bytes())]);
    let waited_long = || {
        let seen = fixture.proxy.control().look();
        let long = |since| seen.at.since(since) > Micros::from_millis(60);
        seen.clients.iter().any(|one| one.doing == Doing::Waiting && long(one.since))
    };
    let (heard, ()) = tokio::join!(late.authenticate(&owner.password), async {
        testkit::wait_until(SOON, waited_long).await;
        holder.batch_execute("COMMIT").await.unwrap();
    });
    assert!(heard.iter().all(|message| message.tag != 'N'), "{heard:?}");
    drop((raw, late, holder));
    fixture.end().await;
}
