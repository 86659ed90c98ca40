//! PostgreSQL goes away and comes back; what has nothing to do with it is left alone.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use proxy::Mode;
use testkit::{Shutdown, TestPostgres};
use trace::{Event, Outcome, SqlState};
use wire::backend::{self, Authentication, BackendKey, tag};

use crate::harness::{Fixture, SOON, code, limit, loopback, start};
use crate::raw::Raw;

async fn cluster() -> Arc<TestPostgres> {
    Arc::new(testkit::postgres_with(&[]).await)
}

/// Waits until so many requests wait for a server connection.
async fn until_waiting(fixture: &Fixture, count: u32) {
    let waiting = || {
        let events = fixture.all_events();
        let last = events.iter().rev().find_map(|event| match event {
            Event::PoolSampled(pool) => Some(pool.waiting),
            _ => None,
        });
        last == Some(count)
    };
    testkit::wait_until(SOON, waiting).await;
}

#[tokio::test]
async fn a_restart_is_waited_out() {
    let postgres = cluster().await;
    let mut switch = postgres.switch();
    let fixture = Fixture::on(Arc::clone(&postgres), Mode::Regulate, limit(3)).await;
    for shutdown in [Shutdown::Fast, Shutdown::Immediate] {
        let holder = fixture.connect().await;
        holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
        let idle = fixture.connect().await;
        idle.batch_execute("SELECT 1").await.unwrap();
        switch.stop(shutdown).await;
        // Who was in a transaction hears it, in the server's own words where there are any.
        testkit::wait_until(SOON, || holder.is_closed()).await;

        let late = async {
            let late = fixture.connect().await;
            late.query_one("SELECT 7", &[]).await.map(|row| row.get::<_, i32>(0))
        };
        let back = async {
            until_waiting(&fixture, 2).await;
            switch.start().await;
        };
        let (first, second, ()) = tokio::join!(idle.query_one("SELECT 6", &[]), late, back);
        assert_eq!(first.unwrap().get::<_, i32>(0), 6, "the session lives on");
        assert_eq!(second.unwrap(), 7);
        drop((holder, idle));
    }
    fixture.end().await;
}

#[tokio::test]
async fn who_is_in_a_transaction_hears_the_server_itself() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let watcher = fixture.postgres.superuser().await;
    let other = fixture.connect().await;
    let mut raw = Raw::login(&fixture).await;
    raw.query("BEGIN").send().await;
    raw.until_ready().await;
    let pid = raw.value("SELECT pg_backend_pid()").await;
    let kill = format!("SELECT pg_terminate_backend({pid})");
    watcher.batch_execute(&kill).await.unwrap();
    let last = raw.receive().await;
    assert_eq!((last.tag, last.code().as_str()), ('E', "57P01"));
    assert_eq!(last.text(), "terminating connection due to administrator command");
    assert_eq!(raw.try_receive().await, None, "and nothing else");
    other.batch_execute("SELECT 1").await.unwrap();
    drop(other);
    fixture.end().await;
}

#[tokio::test]
async fn a_crash_of_one_backend_ends_only_who_was_served() {
    let postgres = cluster().await;
    let fixture = Fixture::on(Arc::clone(&postgres), Mode::Regulate, limit(2)).await;
    let idle = fixture.connect().await;
    let mut raw = Raw::login(&fixture).await;
    raw.query("BEGIN").send().await;
    raw.until_ready().await;
    let pid = raw.value("SELECT pg_backend_pid()").await;
    let count = |wanted: fn(&Event) -> bool| {
        fixture.all_events().iter().filter(|event| wanted(event)).count()
    };
    let opened = count(|event| matches!(event, Event::ServerOpened { .. }));
    let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(killed.success());
    let last = raw.receive().await;
    assert_eq!((last.tag, last.code().as_str()), ('E', "08006"), "{last:?}");
    assert_eq!(raw.try_receive().await, None);
    // PostgreSQL ends all its processes, one after the other. Who asks on one of them before its
    // turn is served by it, and would hear of its end too.
    let closed = || count(|event| matches!(event, Event::ServerClosed { .. }));
    testkit::wait_until(SOON, || closed() >= opened).await;
    // Then it starts them anew: that is waited out.
    idle.batch_execute("SELECT 1").await.unwrap();
    drop(idle);
    fixture.end().await;
}

#[tokio::test]
async fn a_server_that_stays_away_is_told_as_such() {
    let postgres = cluster().await;
    let mut switch = postgres.switch();
    let patience = Duration::from_millis(300);
    let fixture = Fixture::on(Arc::clone(&postgres), Mode::Regulate, limit(1)).await;
    let address = fixture.database.address.clone();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(fixture.connect().await);
    }
    fixture.patience(patience).await;
    switch.stop(Shutdown::Fast).await;
    for _ in 0..2 {
        let errors = clients.iter().map(|client| client.batch_execute("SELECT 1"));
        for error in futures_util::future::join_all(errors).await {
            let error = error.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), "08006", "{error:?}");
            let text = error.message();
            let start = format!("surgetank: PostgreSQL at {}:{}", address.host, address.port);
            assert!(text.starts_with(&start), "{text}");
            assert!(text.contains(" has not been reachable for "), "{text}");
            assert!(text.contains("(since ") && text.ends_with(" UTC)"), "{text}");
            assert!(error.hint().is_some_and(|hint| hint.contains("refused")), "{error:?}");
        }
    }
    fixture.patience(SOON).await;
    switch.start().await;
    for client in &clients {
        client.batch_execute("SELECT 1").await.unwrap();
    }
    let failed = fixture.requests().into_iter().filter(|request| !request.outcome.is_ok());
    for request in failed.clone() {
        assert_eq!(request.outcome, Outcome::ServerUnreachable);
        assert!(request.queue() >= trace::Micros::from_duration(patience), "{request:?}");
    }
    assert_eq!(failed.count(), 10);
    let refused = |event: &Event| matches!(event, Event::RequestRefused(_));
    assert!(!fixture.all_events().iter().any(refused), "nobody held what they waited for");
    drop(clients);
    fixture.end().await;
}

#[tokio::test]
async fn starvation_is_no_outage() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let holder = fixture.connect_as("web.1").await;
    let pid = "SELECT pg_backend_pid()";
    let before: i32 = holder.query_one(pid, &[]).await.unwrap().get(0);
    holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let mut waiters = Vec::new();
    for _ in 0..8 {
        waiters.push(fixture.connect_as("web.2").await);
    }
    fixture.patience(Duration::from_millis(200)).await;
    let errors = waiters.iter().map(|waiter| waiter.batch_execute("SELECT 1"));
    for error in futures_util::future::join_all(errors).await {
        let error = error.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "53300");
        assert_eq!(
            error.hint(),
            Some("pool *: 1 connections of 1 held, 1 of them idle in transaction; web.1 holds 1")
        );
    }
    fixture.patience(SOON).await;
    holder.batch_execute("COMMIT").await.unwrap();
    let after: i32 = waiters[0].query_one(pid, &[]).await.unwrap().get(0);
    assert_eq!(after, before, "the same connection");
    let closed = |event: &Event| matches!(event, Event::ServerClosed { .. });
    assert!(!fixture.all_events().iter().any(closed));
    drop((holder, waiters));
    fixture.end().await;
}

/// A server behind a Unix socket whose first `deaf` connections take nothing after the login; the
/// very first takes the one question that the proxy asks for the client's login.
fn deaf_server(listener: &UnixListener, deaf: usize) {
    let mut open = Vec::new();
    loop {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _packet = read_message(&mut stream, 0);
        let is_deaf = open.len() < deaf;
        let mut out = Vec::new();
        Authentication::Ok.put(&mut out);
        BackendKey { pid: 7, key: &[1, 2, 3, 4] }.put(&mut out);
        backend::put_ready(&mut out, b'I');
        if is_deaf && open.is_empty() {
            stream.write_all(&out).expect("it is connected");
            assert_eq!(read_message(&mut stream, 1).expect("a question")[0], b'Q');
            out.clear();
            backend::put_command_complete(&mut out, b"SELECT 0");
            backend::put_ready(&mut out, b'I');
        }
        if is_deaf {
            // What is written from now on fails at once, before anything can be read.
            stream.shutdown(std::net::Shutdown::Read).expect("it is connected");
        }
        if stream.write_all(&out).is_err() {
            return;
        }
        if is_deaf {
            open.push(stream);
        } else {
            std::thread::spawn(move || answer(stream));
        }
    }
}

fn answer(mut stream: UnixStream) {
    while let Some(message) = read_message(&mut stream, 1) {
        let mut out = Vec::new();
        match message[0] {
            b'P' => backend::put_bare(&mut out, tag::PARSE_COMPLETE),
            b'D' => {
                wire::frame::put(&mut out, tag::PARAMETER_DESCRIPTION, |out| out.extend([0, 0]));
                backend::put_bare(&mut out, tag::NO_DATA);
            }
            b'B' => backend::put_bare(&mut out, tag::BIND_COMPLETE),
            b'E' => backend::put_command_complete(&mut out, b"SELECT 0"),
            b'Q' => {
                backend::put_command_complete(&mut out, b"SELECT 0");
                backend::put_ready(&mut out, b'I');
            }
            b'S' => backend::put_ready(&mut out, b'I'),
            _ => return,
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn read_message(stream: &mut UnixStream, tag: usize) -> Option<Vec<u8>> {
    let mut message = vec![0; tag + 4];
    stream.read_exact(&mut message).ok()?;
    let length = u32::from_be_bytes(message[tag..].try_into().expect("four bytes")) as usize;
    message.resize(tag + length, 0);
    stream.read_exact(&mut message[tag + 4..]).ok()?;
    Some(message)
}

#[tokio::test]
async fn a_request_of_which_nothing_was_sent_is_sent_elsewhere() {
    // Once a second a question of the proxy may use one up.
    for (deaf, is_served) in [(1, true), (3, true), (40, false)] {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        std::thread::spawn(move || deaf_server(&listener, deaf));
        let url = format!("postgres:///shop?user=ann&host={}", folder.path().display());
        let (proxy, events) = start(Mode::Regulate, &url, |config| {
            limit(1)(config);
            // Nothing is asked but what the client asks.
            config.adaptive = false;
        });
        for prepared in [true, false] {
            if prepared && !is_served {
                continue;
            }
            let mut raw = Raw::connect(proxy.listen(loopback(), None).unwrap()).await;
            raw.startup(0, &[(b"user", b"ann"), (b"database", b"shop")]);
            raw.authenticate("").await;
            if prepared {
                raw.parse("s", "SELECT 1").bind("s").execute().sync();
            } else {
                raw.query("SELECT 1");
            }
            if is_served {
                let expected = if prepared { "12CZ" } else { "CZ" };
                assert_eq!(raw.tags().await, expected, "{deaf}");
            } else {
                raw.send().await;
                let last = raw.receive().await;
                assert_eq!((last.tag, last.code().as_str()), ('E', "08006"));
                assert_eq!(raw.try_receive().await, None);
            }
        }
        proxy.shutdown(SOON).await;
        let requests = events.requests().into_iter();
        let failed = requests.filter(|request| !request.outcome.is_ok());
        let outcomes: Vec<Outcome> = failed.map(|request| request.outcome).collect();
        assert_eq!(outcomes, if is_served { vec![] } else { vec![Outcome::ServerGone] });
    }
}

#[tokio::test]
async fn a_server_that_starts_up_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _packet = read_message(&mut stream, 0);
            let report = backend::Report {
                severity: b"FATAL",
                code: b"57P03",
                message: b"the database system is starting up",
                ..backend::Report::default()
            };
            let mut out = Vec::new();
            report.put_error(&mut out);
            let _ = stream.write_all(&out);
        }
    });
    let url = format!("postgres:///shop?user=ann&host={}", folder.path().display());
    let patience = Duration::from_millis(400);
    let (proxy, events) = start(Mode::Regulate, &url, |config| {
        limit(2)(config);
        config.queue_timeout = patience;
    });
    let addr = proxy.listen(loopback(), None).unwrap();
    let url = format!("postgres://ann@{addr}/shop");
    let error = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.map(|_| ()).unwrap_err();
    assert_eq!(code(&error), "57P03", "the server's own word");
    assert_eq!(error.as_db_error().unwrap().hint(), Some("the database system is starting up"));
    proxy.shutdown(SOON).await;
    let request = events.requests()[0];
    assert_eq!(request.outcome, Outcome::Error(SqlState::CANNOT_CONNECT_NOW));
    assert!(request.queue() >= trace::Micros::from_duration(patience), "{request:?}");
}
