//! Clients and servers that go away.

use std::net::SocketAddr;

use proxy::Mode;
use testkit::fault::FaultProxy;
use trace::{Event, Outcome, SqlState};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::backend::{self, Authentication, BackendKey};

use crate::harness::{Fixture, MODES, SOON, code, limit, loopback, start};
use crate::raw::Raw;

/// Waits until PostgreSQL runs something that contains `text` in a database; gives the backend's
/// pid.
pub(crate) async fn running(watcher: &testkit::Session, database: &str, text: &str) -> i32 {
    let query = "SELECT pid FROM pg_stat_activity \
                 WHERE datname = $1 AND state = 'active' AND query LIKE $2";
    let pattern = format!("%{text}%");
    loop {
        let rows = watcher.query(query, &[&database, &pattern]).await.expect("a watcher may look");
        if let Some(row) = rows.first() {
            return row.get(0);
        }
    }
}

#[tokio::test]
async fn a_backend_that_is_killed_mid_query() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(2)).await;
        let watcher = fixture.postgres.superuser().await;
        let (client, other) = (fixture.connect().await, fixture.connect().await);
        let kill = async {
            let pid = running(&watcher, &fixture.database.name, "pg_sleep(60)").await;
            watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
        };
        let (slept, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), kill);
        assert_eq!(code(&slept.unwrap_err()), "57P01", "the server's own word");
        testkit::wait_until(SOON, || client.is_closed()).await;
        // Nobody else is disturbed.
        other.batch_execute("SELECT 1").await.unwrap();
        // The record follows the answer.
        let failed = || fixture.requests().into_iter().find(|r| !r.outcome.is_ok());
        testkit::wait_until(SOON, || failed().is_some()).await;
        let outcome = failed().map(|request| request.outcome);
        assert_eq!(outcome, Some(Outcome::Error(SqlState::ADMIN_SHUTDOWN)));
        drop((client, other));
        fixture.end().await;
    }
}

/// As PostgreSQL's own backend would hear it, which is there from the login on.
#[tokio::test]
async fn a_request_is_cancelled_while_its_connection_is_opened() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let server = SocketAddr::from(([127, 0, 0, 1], postgres.cluster().port()));
    let between = FaultProxy::start(server).await;
    let url = database.url_through(between.address());
    let (proxy, events) = start(Mode::Regulate, &url, |config| {
        limit(7)(config);
        // Nothing is asked but what the clients ask.
        config.adaptive = false;
    });
    let addr = proxy.listen(loopback(), None).unwrap();
    let fixture = Fixture { postgres, database, proxy, addr, events };
    let mut client = Raw::login(&fixture).await;
    // All that are open are held: who asks now needs another one. A login may have opened one more
    // than it needs, if the one before was not back yet.
    let mut holders = Vec::new();
    let is_idle = |held: usize| {
        usize::try_from(fixture.proxy.control().look().databases[0].open).unwrap() > held
    };
    while holders.is_empty() || is_idle(holders.len()) {
        let holder = fixture.connect().await;
        holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
        holders.push(holder);
    }

    between.block(true);
    let before = between.accepted();
    client.query("SELECT pg_sleep(60)").send().await;
    testkit::wait_until(SOON, || between.accepted() > before).await;
    let mut cancel = Raw::connect(addr).await;
    wire::startup::put_cancel(&mut cancel.out, client.key.0, &client.key.1);
    cancel.send().await;
    assert_eq!(cancel.try_receive().await, None, "it is never answered");
    between.block(false);

    let answer = client.until_ready().await;
    assert_eq!(answer[0].code(), "57014", "{}", answer[0].text());
    // The connection serves the next request.
    assert_eq!(client.value("SELECT 1").await, "1");
    assert_eq!(between.accepted(), before + 1);
    drop((client, holders));
    fixture.end().await;
}

#[tokio::test]
async fn an_idle_connection_that_is_killed_is_replaced_unnoticed() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let watcher = fixture.postgres.superuser().await;
    let client = fixture.connect().await;
    for _ in 0..3 {
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
        let closed = |event: &Event| match event {
            Event::ServerClosed { backend, .. } => backend.0 == pid,
            _ => false,
        };
        testkit::wait_until(SOON, || fixture.all_events().iter().any(closed)).await;
    }
    client.batch_execute("SELECT 1").await.unwrap();
    drop(client);
    fixture.end().await;
}

#[tokio::test]
async fn a_client_that_vanishes_mid_query_leaves_nothing_behind() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(1)).await;
        let watcher = fixture.postgres.superuser().await;
        for text in
            ["SELECT pg_sleep(1.5)", "BEGIN; SELECT 1", "SELECT generate_series(1, 9000000)"]
        {
            let mut raw = Raw::login(&fixture).await;
            raw.query(text).send().await;
            if text.contains("sleep") {
                running(&watcher, &fixture.database.name, "pg_sleep(1.5)").await;
            } else {
                raw.receive().await;
            }
            drop(raw);
            // The next one gets a clean connection.
            let client = fixture.connect().await;
            let rows = client.simple_query("SELECT now() = statement_timestamp()").await.unwrap();
            let row = rows.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            assert_eq!(row, Some("t"), "not in somebody else's transaction");
            drop(client);
        }
        let left = i64::from(mode == Mode::Regulate);
        fixture.until_connections(&watcher, left).await;
        let gone = |r: &trace::Request| r.outcome == Outcome::ClientGone;
        // The first was executed, as without a proxy; the last could not be answered.
        testkit::wait_until(SOON, || fixture.requests().iter().filter(|r| gone(r)).count() == 1)
            .await;
        fixture.end().await;
    }
}

#[tokio::test]
async fn what_is_pipelined_behind_a_begin_is_never_committed_alone() {
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(1)).await;
        let watcher = fixture.postgres.superuser().await;
        let mut raw = Raw::login(&fixture).await;
        assert_eq!(raw.query("CREATE TABLE t (n int)").tags().await, "CZ");
        raw.query("SELECT pg_sleep(1); BEGIN").query("INSERT INTO t VALUES (1)").send().await;
        running(&watcher, &fixture.database.name, "pg_sleep(1)").await;
        // Were the first one cancelled now, there would be no transaction to roll back.
        drop(raw);
        fixture.until_connections(&watcher, 0).await;
        let client = fixture.connect().await;
        let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(count, 0, "{mode:?}");
        drop(client);
        fixture.end().await;
    }
}

/// A server that lets anybody in and answers each query with `answer`, then hangs up.
async fn abrupt_server(listener: tokio::net::TcpListener, answer: Vec<u8>) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("the proxy keeps to the protocol");
        let length = stream.read_u32().await.expect("the proxy keeps to the protocol") as usize;
        let mut packet = vec![0; length - 4];
        stream.read_exact(&mut packet).await.expect("the proxy keeps to the protocol");
        let mut hello = Vec::new();
        Authentication::Ok.put(&mut hello);
        BackendKey { pid: 7, key: &[1, 2, 3, 4] }.put(&mut hello);
        backend::put_ready(&mut hello, b'I');
        stream.write_all(&hello).await.expect("the proxy keeps to the protocol");
        if stream.read_u8().await.is_ok_and(|tag| tag == b'Q') {
            stream.write_all(&answer).await.expect("the proxy keeps to the protocol");
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_without_a_word() {
    let mut row_description = Vec::new();
    wire::frame::put(&mut row_description, b'T', |out| out.extend_from_slice(&[0, 0]));
    let broken_off = row_description[..6].to_vec();
    for mode in MODES {
        for (answer, told) in [(&row_description, true), (&broken_off, false)] {
            let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
            let url = format!("postgres://ann@{}/shop", listener.local_addr().unwrap());
            let mut server = tokio::task::JoinSet::new();
            server.spawn(abrupt_server(listener, answer.clone()));
            let (proxy, events) = start(mode, &url, |_| {});
            let mut raw = Raw::connect(proxy.listen(loopback(), None).unwrap()).await;
            raw.startup(0, &[(b"user", b"ann"), (b"database", b"shop")]);
            raw.authenticate("").await;
            raw.query("SELECT 1").send().await;
            let mut last = None;
            while let Some(message) = raw.try_receive().await {
                last = Some(message);
            }
            if told && mode == Mode::Regulate {
                let last = last.unwrap();
                assert_eq!((last.tag, last.code().as_str()), ('E', "08006"));
                assert!(last.text().contains("the server closed the connection"));
            } else {
                // In observe mode nothing is added; nor is anything in the middle of a message.
                assert_eq!(last.map(|message| message.tag), told.then_some('T'));
            }
            proxy.shutdown(SOON).await;
            let outcome = events.requests().last().unwrap().outcome;
            assert_eq!(outcome, Outcome::ServerGone);
        }
    }
}
