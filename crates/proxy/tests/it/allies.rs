//! The connection on which a proxy speaks with others: when there is one, and when not. Several
//! proxies in processes of their own are in `surgetank/tests/it/service/several.rs`.

use std::num::NonZeroU32;
use std::sync::Arc;

use proxy::{AllianceState, Config, LimitState, Mode, Rank};
use testkit::Session;

use crate::harness::{Fixture, SOON, limit, loopback, start};

fn standing(fixture: &Fixture) -> LimitState {
    fixture.proxy.control().look().databases[0].executing
}

fn alliance(fixture: &Fixture) -> Option<AllianceState> {
    standing(fixture).alliance
}

/// How many connections to the database bear the name of a proxy that speaks.
async fn speaking(fixture: &Fixture, watcher: &Session) -> i64 {
    let text = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = $1 AND application_name LIKE 'surgetank/1 %'";
    watcher.query_one(text, &[&fixture.database.name]).await.expect("a count").get(0)
}

async fn until(condition: impl AsyncFn() -> bool) {
    let looks = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, looks).await.expect("the condition comes true");
}

#[tokio::test]
async fn it_speaks_as_long_as_it_has_connections() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(8)).await;
    let watcher = fixture.postgres.superuser().await;
    assert_eq!(speaking(&fixture, &watcher).await, 0);
    let session = fixture.connect().await;
    session.batch_execute("SELECT 1").await.unwrap();
    // The limit itself may be a probe's, or be lowered for a moment by a machine that has other
    // things to do. Of the eight with which the law begins it takes one away when it has seen its
    // own connection.
    let is_alone = || {
        alliance(&fixture).is_some_and(|one| {
            one.proxies == 1 && one.share_milli == 1000 && (7..=8).contains(&one.total)
        })
    };
    testkit::wait_until(SOON, is_alone).await;
    assert_eq!(speaking(&fixture, &watcher).await, 1);
    // It is one of the eight.
    testkit::wait_until(SOON, || standing(&fixture).ceiling == 7).await;

    // An operator who pauses wants the database to himself.
    let control = fixture.proxy.control();
    control.pause(None).await.expect("it pauses");
    fixture.until_connections(&watcher, 0).await;
    assert_eq!(alliance(&fixture), None);
    control.resume(None).expect("it resumes");
    session.batch_execute("SELECT 1").await.unwrap();
    until(async || speaking(&fixture, &watcher).await == 1).await;
    drop(session);
    fixture.end().await;
}

#[tokio::test]
async fn a_connection_that_was_ended_is_replaced() {
    let fixture = Fixture::start(Mode::Regulate).await;
    let watcher = fixture.postgres.superuser().await;
    let sessions = [fixture.connect().await, fixture.connect().await, fixture.connect().await];
    for session in &sessions {
        session.batch_execute("BEGIN; SELECT 1").await.unwrap();
    }
    for _ in 0..3 {
        testkit::wait_until(SOON, || {
            alliance(&fixture).is_some_and(|one| one.rank == Rank::Leader)
        })
        .await;
        until(async || speaking(&fixture, &watcher).await == 1).await;
        let text = "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity \
                    WHERE datname = $1 AND application_name LIKE 'surgetank/1 %'";
        let ended = watcher.query_one(text, &[&fixture.database.name]).await.expect("an end");
        assert!(ended.get::<_, bool>(0));
        // Nobody notices.
        for session in &sessions {
            session.batch_execute("SELECT 2").await.unwrap();
        }
        until(async || speaking(&fixture, &watcher).await == 1).await;
    }
    drop(sessions);
    fixture.end().await;
}

#[tokio::test]
async fn two_proxies_of_one_database_see_each_other_and_others_do_not() {
    let one = Fixture::start(Mode::Regulate).await;
    let (other, events) = start(Mode::Regulate, &one.database.url(), |_| {});
    let addr = other.listen(loopback(), None).expect("a free loopback port");
    let stranger = Fixture::on(Arc::clone(&one.postgres), Mode::Regulate, |_| {}).await;
    let sessions = [
        one.connect().await,
        testkit::connect(&one.database.url_through(addr)).await,
        stranger.connect().await,
    ];
    for session in &sessions {
        session.batch_execute("BEGIN; SELECT 1").await.unwrap();
    }
    let second = || other.control().look().databases[0].executing.alliance;
    testkit::wait_until(SOON, || {
        let both = [alliance(&one), second()].into_iter().flatten().collect::<Vec<_>>();
        let leads = both.iter().filter(|state| state.rank == Rank::Leader).count();
        both.len() == 2 && leads == 1 && both.iter().all(|state| state.proxies == 2)
    })
    .await;
    testkit::wait_until(SOON, || alliance(&stranger).is_some()).await;
    assert_eq!(alliance(&stranger).map(|state| state.proxies), Some(1));
    drop(sessions);
    other.shutdown(std::time::Duration::from_millis(500)).await;
    drop(events);
    one.end().await;
    stranger.end().await;
}

#[tokio::test]
async fn fixed_sizes_and_small_limits_need_nobody() {
    let fixed = |config: &mut Config| {
        config.limit = NonZeroU32::new(20);
        config.adaptive = false;
    };
    let small = |config: &mut Config| config.limit = NonZeroU32::new(7);
    for change in [small as fn(&mut Config), fixed] {
        let fixture = Fixture::start_with(Mode::Regulate, change).await;
        let watcher = fixture.postgres.superuser().await;
        let session = fixture.connect().await;
        session.batch_execute("SELECT 1").await.unwrap();
        let known = standing(&fixture).adaptive;
        testkit::wait_until(SOON, || standing(&fixture).room.is_some() == known).await;
        // Of the pool there may be two: it is asked for room on one of them.
        assert_eq!(speaking(&fixture, &watcher).await, 0);
        assert_eq!(alliance(&fixture), None);
        drop(session);
        fixture.end().await;
    }
}

#[tokio::test]
async fn behind_another_pooler_each_is_alone() {
    // The outer one stands before the inner one, which is a pooler of a fixed size.
    let inner = Fixture::start_with(Mode::Regulate, |config| {
        limit(20)(config);
        config.adaptive = false;
    })
    .await;
    let (outer, _events) = start(Mode::Regulate, &inner.url(), |_| {});
    let addr = outer.listen(loopback(), None).expect("a free loopback port");
    let session = testkit::connect(&inner.database.url_through(addr)).await;
    session.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let state = || outer.control().look().databases[0].executing;
    // It asks on a connection of the pool, as it would without others.
    session.batch_execute("COMMIT").await.unwrap();
    testkit::wait_until(SOON, || state().room.is_some()).await;
    assert_eq!(state().alliance, None);
    let watcher = inner.postgres.superuser().await;
    // Of this database: those who speak in others are other tests' business.
    let text = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
                WHERE locktype = 'advisory' AND datname = $1";
    let locks = watcher.query_one(text, &[&inner.database.name]).await.expect("a count");
    assert_eq!(locks.get::<_, i64>(0), 0);
    drop(session);
    outer.shutdown(std::time::Duration::from_millis(500)).await;
    inner.end().await;
}
