//! What clients are told of the server's settings at login, and which settings their sessions have,
//! while both change on the server.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use proxy::Mode;
use testkit::fault::{Fault, FaultProxy};
use testkit::{Database, Session, Shutdown};
use tokio::process::Command;
use tokio::time::Instant;
use trace::Event;
use wire::backend::parameter;

use crate::harness::{Events, Fixture, SOON, limit, loopback, start};
use crate::raw::{Message, Raw};

/// A new client, and what it is told.
async fn login(fixture: &Fixture) -> (Raw, BTreeMap<String, String>) {
    let mut raw = Raw::connect(fixture.addr).await;
    let owner = &fixture.database.owner;
    let database = fixture.database.name.as_bytes();
    raw.startup(
        0,
        &[(b"client_encoding", b"UTF8"), (b"user", owner.user.as_bytes()), (b"database", database)],
    );
    let told = parameters(&raw.authenticate(&owner.password).await);
    (raw, told)
}

fn parameters(heard: &[Message]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = heard.iter().filter(|message| message.tag == 'S');
    told.map(|message| parameter(&message.body).expect("two strings"))
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// Logs in anew, and does nothing, until a client is told this value; and until it is told nothing
/// else by its first request.
async fn until_told(fixture: &Fixture, name: &str, value: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let (mut raw, told) = login(fixture).await;
        assert!(Instant::now() < deadline, "{name} is not {value}: {told:?}");
        if told.get(name).map(String::as_str) == Some(value) {
            raw.query("SELECT 1").send().await;
            if !parameters(&raw.until_ready().await).contains_key(name) {
                return;
            }
        }
    }
}

async fn alter_system(superuser: &Session, change: &str) {
    superuser.batch_execute(&format!("ALTER SYSTEM {change}")).await.expect("a superuser may");
    superuser.batch_execute("SELECT pg_reload_conf()").await.expect("a superuser may");
}

/// Connections to the server that were opened so far.
fn opened(events: &Events) -> usize {
    let all = events.all();
    all.iter().filter(|event| matches!(event, Event::ServerOpened { .. })).count()
}

async fn value(session: &Session, query: &str) -> String {
    let row = session.query_one(query, &[]).await.expect("a value");
    row.get(0)
}

async fn pid(session: &Session) -> i32 {
    session.query_one("SELECT pg_backend_pid()", &[]).await.expect("a pid").get(0)
}

/// Whether psql gets in with these `target_session_attrs`, and how it fails.
async fn try_psql(psql: &std::path::Path, url: &str, attributes: &str) -> Result<(), String> {
    let output = Command::new(psql)
        .args(["-X", "-A", "-t", "-c", "SELECT 1"])
        .arg(format!("{url}?target_session_attrs={attributes}"))
        .env_remove("PGOPTIONS")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("psql runs");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_who_wants_to_write_gets_in() {
    let primary = testkit::postgres_with(&[]).await;
    let psql = primary.cluster().bin("psql");
    if !psql.exists() || !primary.cluster().bin("pg_basebackup").exists() {
        return;
    }
    let database = primary.database().await;
    let standby = primary.standby().await;
    let database: Database = standby.database(&database);
    // A connection that is leased and one for each login, a single one, and as many as it likes.
    let proxies = [Some(3), Some(1), None].map(|cap| {
        let (proxy, events) = start(Mode::Regulate, &database.url(), |config| {
            if let Some(cap) = cap {
                limit(cap)(config);
            }
        });
        let addr = proxy.listen(loopback(), None).expect("a free loopback port");
        (proxy, events, database.url_through(addr))
    });
    for (_, events, url) in &proxies {
        for _ in 0..3 {
            let error = try_psql(&psql, url, "read-write").await.expect_err("it is a standby");
            assert!(error.contains("read-only"), "{error}");
            let error = try_psql(&psql, url, "primary").await.expect_err("it is a standby");
            assert!(error.contains("hot standby"), "{error}");
            try_psql(&psql, url, "standby").await.expect("it is one");
        }
        // One more while the proxy itself asks something.
        assert!(opened(events) <= 3, "logins do not open connections");
    }
    standby.promote().await;
    for (proxy, events, url) in proxies {
        for attributes in ["read-write", "primary"] {
            // The first try, though the second would do.
            try_psql(&psql, &url, attributes).await.expect("it is a primary");
        }
        try_psql(&psql, &url, "standby").await.expect_err("it is none any more");
        assert!(opened(&events) <= 4, "one that is new tells, and serves on");
        proxy.shutdown(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_clients_are_told_what_was_reloaded() {
    let postgres = Arc::new(testkit::postgres_with(&[]).await);
    let superuser = postgres.superuser().await;
    for cap in [1, 4] {
        let fixture = Fixture::on(Arc::clone(&postgres), Mode::Regulate, limit(cap)).await;
        // Its own settings are on the pooled connection, and in nobody else's greeting.
        let other = fixture.connect().await;
        other.batch_execute("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'").await.unwrap();
        until_told(&fixture, "TimeZone", &value(&superuser, "SHOW timezone").await).await;
        for (name, reported, set) in [
            ("timezone", "TimeZone", "America/Lima"),
            ("datestyle", "DateStyle", "SQL, DMY"),
            ("intervalstyle", "IntervalStyle", "iso_8601"),
            ("default_transaction_read_only", "default_transaction_read_only", "on"),
            ("standard_conforming_strings", "standard_conforming_strings", "off"),
        ] {
            let list = if name == "datestyle" { set.to_owned() } else { format!("'{set}'") };
            alter_system(&superuser, &format!("SET {name} = {list}")).await;
            until_told(&fixture, reported, set).await;
            let session = fixture.connect().await;
            assert_eq!(value(&session, &format!("SHOW {name}")).await, set);
            alter_system(&superuser, &format!("RESET {name}")).await;
            let now = value(&superuser, &format!("SHOW {name}")).await;
            if now != set {
                until_told(&fixture, reported, &now).await;
            }
        }
        assert_eq!(value(&other, "SHOW timezone").await, "Asia/Tokyo");
        assert_eq!(value(&other, "SHOW datestyle").await, "German, DMY");
        drop(other);
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_roles_and_databases_reach_new_sessions() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(3)).await;
    let superuser = fixture.postgres.superuser().await;
    let (role, database) = (&fixture.database.owner.user, &fixture.database.name);
    let (mut pinned, mut listening) = (fixture.connect().await, Raw::login(&fixture).await);
    pinned.batch_execute("CREATE TEMPORARY TABLE t AS SELECT 7 AS n").await.unwrap();
    let before = fixture.connect().await;
    let (kept, first) = (pid(&pinned).await, pid(&before).await);
    assert_ne!(kept, first);
    listening.query("LISTEN news").send().await;
    listening.until_ready().await;
    let open = pinned.transaction().await.unwrap();
    superuser
        .batch_execute(&format!(
            "ALTER ROLE {role} SET work_mem = '7MB'; \
             ALTER DATABASE {database} SET lock_timeout = '7s'; \
             ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '77s'; \
             ALTER ROLE {role} SET timezone = 'America/Lima'"
        ))
        .await
        .unwrap();
    until_told(&fixture, "TimeZone", "America/Lima").await;
    let session = fixture.connect().await;
    for (name, expected) in
        [("work_mem", "7MB"), ("lock_timeout", "7s"), ("statement_timeout", "77s")]
    {
        assert_eq!(value(&session, &format!("SHOW {name}")).await, expected);
    }
    assert_ne!(pid(&before).await, first, "the old connection was closed");
    // Whoever holds a connection keeps it with all that it has.
    assert_eq!(open.query_one("SELECT n FROM t", &[]).await.unwrap().get::<_, i32>(0), 7);
    open.commit().await.unwrap();
    assert_eq!(pid(&pinned).await, kept);
    assert_ne!(value(&pinned, "SHOW work_mem").await, "7MB");
    session.batch_execute("NOTIFY news, 'one'").await.unwrap();
    let heard = listening.receive().await;
    assert_eq!(heard.tag, 'A', "{heard:?}");
    // Then it is closed too.
    pinned.batch_execute("DISCARD ALL").await.unwrap();
    let deadline = Instant::now() + SOON;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
    while superuser.query_one(count, &[&kept]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < deadline, "it is given back, and still there");
    }
    assert_eq!(value(&pinned, "SHOW work_mem").await, "7MB");
    superuser.batch_execute(&format!("ALTER ROLE {role} RESET ALL")).await.unwrap();
    let usual = value(&superuser, "SHOW timezone").await;
    until_told(&fixture, "TimeZone", &usual).await;
    drop((before, pinned, session, listening));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_other_settings() {
    let postgres = Arc::new(testkit::postgres_with(&[]).await);
    let mut switch = postgres.switch();
    let fixture = Fixture::on(Arc::clone(&postgres), Mode::Regulate, limit(2)).await;
    let session = fixture.connect().await;
    session.batch_execute("SELECT 1").await.unwrap();
    let superuser = postgres.superuser().await;
    superuser.batch_execute("ALTER SYSTEM SET timezone = 'America/Lima'").await.unwrap();
    drop(superuser);
    switch.stop(Shutdown::Fast).await;
    switch.start().await;
    until_told(&fixture, "TimeZone", "America/Lima").await;
    assert_eq!(value(&session, "SHOW timezone").await, "America/Lima");
    drop(session);
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_from_the_cache_does_not_go_to_the_server() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(9)).await;
    // At the beginning one of many learns what all are told.
    let logins = (0..20).map(|_| Raw::login(&fixture));
    drop(futures_util::future::join_all(logins).await);
    // One more each two seconds, on a machine that is as slow as that.
    assert!(opened(&fixture.events) <= 3);
    fixture.end().await;

    // The server is so far away that each question takes half a second.
    let distance = Duration::from_millis(500);
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let server = FaultProxy::start(database.address.tcp()).await;
    server.set(Fault::Delay(distance));
    let (proxy, events) = start(Mode::Regulate, &database.url_through(server.address()), limit(9));
    let addr = proxy.listen(loopback(), None).expect("a free loopback port");
    let fixture = Fixture { postgres, database, proxy, addr, events };
    let mut times = Vec::new();
    for _ in 0..10 {
        let before = Instant::now();
        drop(Raw::login(&fixture).await);
        times.push(before.elapsed());
    }
    // A busy machine may be slow once, but not each time.
    let fast = times[1..].iter().filter(|time| **time < distance).count();
    assert!(times[0] >= distance && fast > 0, "{times:?}");
    assert_eq!(opened(&fixture.events), 1);
    fixture.end().await;
}
