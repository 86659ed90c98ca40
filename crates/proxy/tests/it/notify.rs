//! LISTEN and NOTIFY in `regulate` mode: heard by one connection for all.

use std::future::poll_fn;
use std::task::{Poll, ready};

use proxy::Mode;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, NoTls};
use trace::{BackendPid, Event, Outcome, PinCause};
use wire::cursor::Cursor;

use crate::harness::{Fixture, SOON, limit};
use crate::raw::{Message, Raw};

/// Pid, channel and payload.
type Notice = (i32, String, String);

fn notice(message: &Message) -> Option<Notice> {
    if message.tag != 'A' {
        return None;
    }
    let mut cursor = Cursor::new(&message.body);
    let pid = cursor.i32().expect("a pid");
    let mut text = || String::from_utf8(cursor.text().expect("a text").to_vec()).expect("text");
    Some((pid, text(), text()))
}

/// The next message, which must be a notification.
async fn hear(raw: &mut Raw) -> Notice {
    let message = raw.receive().await;
    notice(&message).unwrap_or_else(|| panic!("{message:?}"))
}

fn said(pid: i32, channel: &str, payload: &str) -> Notice {
    (pid, channel.to_owned(), payload.to_owned())
}

async fn ask(raw: &mut Raw, text: &str) -> Vec<Message> {
    raw.query(text).send().await;
    raw.until_ready().await
}

/// Asks something; its answer must have these tags.
async fn expect(raw: &mut Raw, text: &str, tags: &str) {
    let heard = ask(raw, text).await;
    let seen: String = heard.iter().map(|message| message.tag).collect();
    assert_eq!(seen, tags, "{text}: {heard:?}");
}

#[tokio::test]
async fn who_listens_holds_no_server_connection() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let watcher = fixture.postgres.superuser().await;
    let mut one = Raw::login(&fixture).await;
    let mut two = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    expect(&mut one, "LISTEN a", "CZ").await;
    expect(&mut two, "listen \"A\"; -- another", "CZ").await;
    expect(&mut two, "LISTEN A", "CZ").await;
    assert_eq!(fixture.server_connections(&watcher).await, 2);
    expect(&mut other, "NOTIFY a, 'first'", "CZ").await;
    expect(&mut other, "SELECT pg_notify('A', 'second')", "TDCZ").await;
    let pid = other.key.0;
    assert_eq!(hear(&mut one).await, said(pid, "a", "first"));
    assert_eq!(hear(&mut two).await, said(pid, "a", "first"));
    assert_eq!(hear(&mut two).await, said(pid, "A", "second"));
    // A notification that does not come through the proxy.
    watcher.batch_execute("SELECT 1").await.unwrap();
    let direct = fixture.database.connect().await;
    direct.batch_execute("NOTIFY a").await.unwrap();
    let row = direct.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
    assert_eq!(hear(&mut one).await, said(row.get(0), "a", ""));
    assert_eq!(fixture.pins(), []);
    let listened = fixture.requests().into_iter().filter(|r| r.backend == BackendPid::NONE);
    assert_eq!(listened.filter(|request| request.outcome == Outcome::Ok).count(), 3);
    drop((one, two, other, direct));
    // Some time after the last one has left, the connection is closed.
    fixture.until_connections(&watcher, 1).await;
    fixture.end().await;
}

/// As drivers say it that speak nothing but the extended protocol.
#[tokio::test]
async fn who_listens_by_the_extended_protocol_holds_no_server_connection() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut one = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    // JDBC, Npgsql.
    one.parse("", "LISTEN a").bind("").describe_portal().execute();
    assert_eq!(one.sync().tags().await, "12nCZ");
    assert_eq!(one.bind("").execute().sync().tags().await, "2CZ", "it is the unnamed statement");
    // asyncpg.
    one.parse("s", "LISTEN b").describe("s").bare(wire::frontend::tag::FLUSH).send().await;
    for expected in ['1', 't', 'n'] {
        assert_eq!(one.receive().await.tag, expected);
    }
    assert_eq!(one.bind("s").execute().sync().tags().await, "2CZ");
    assert_eq!(one.parse("u", "UNLISTEN b").sync().tags().await, "1Z");
    let pid = other.key.0;
    for round in 0..2 {
        expect(&mut other, "NOTIFY b; NOTIFY a", "CCZ").await;
        assert_eq!(hear(&mut one).await, said(pid, "b", ""), "round {round}");
        assert_eq!(hear(&mut one).await, said(pid, "a", ""), "round {round}");
        // A statement counts when it runs, each time.
        assert_eq!(one.bind("u").execute().sync().tags().await, "2CZ");
        expect(&mut other, "NOTIFY b; NOTIFY a", "CCZ").await;
        assert_eq!(hear(&mut one).await, said(pid, "a", ""), "round {round}");
        assert_eq!(one.bind("s").execute().sync().tags().await, "2CZ");
    }
    assert_eq!(fixture.pins(), []);
    // Among other statements, and in a transaction, as PostgreSQL does it.
    one.parse("", "LISTEN c").bind("").execute().parse("", "SELECT 1").bind("").execute();
    assert_eq!(one.sync().tags().await, "12C12DCZ");
    assert_eq!(one.value("SELECT 2").await, "2");
    assert_eq!(fixture.pins(), [PinCause::Listen]);
    expect(&mut one, "UNLISTEN c", "CZ").await;
    expect(&mut one, "BEGIN", "CZ").await;
    one.parse("", "LISTEN d").bind("").execute();
    assert_eq!(one.sync().tags().await, "12CZ");
    expect(&mut one, "COMMIT", "CZ").await;
    assert_eq!(one.value("SELECT 3").await, "3");
    assert_eq!(fixture.pins(), [PinCause::Listen; 2]);
    drop((one, other));
    fixture.end().await;
}

/// What a batch does not say as a driver would is PostgreSQL's to answer.
#[tokio::test]
async fn a_listen_that_is_not_well_said_is_refused_by_postgresql() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    assert_eq!(raw.bind("none").execute().sync().tags().await, "EZ");
    assert_eq!(raw.bind("").execute().sync().tags().await, "EZ");
    assert_eq!(raw.parse("", "LISTEN").bind("").execute().sync().tags().await, "EZ");
    assert_eq!(raw.parse("s", "LISTEN a").bind("t").execute().sync().tags().await, "1EZ");
    assert_eq!(fixture.pins(), []);
    assert_eq!(raw.value("SELECT 5").await, "5");
    drop(raw);
    fixture.end().await;
}

#[tokio::test]
async fn a_session_knows_its_own_notifications() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut one = Raw::login(&fixture).await;
    let mut two = Raw::login(&fixture).await;
    assert_ne!(one.key.0, two.key.0);
    for raw in [&mut one, &mut two] {
        expect(raw, "LISTEN c", "CZ").await;
    }
    for round in 0..100 {
        // Both at once, over the same backend.
        let payload = round.to_string();
        for raw in [&mut one, &mut two] {
            raw.query(&format!("NOTIFY c, '{payload}'")).send().await;
        }
        let expected = [said(one.key.0, "c", &payload), said(two.key.0, "c", &payload)];
        for raw in [&mut one, &mut two] {
            let mut heard = Vec::new();
            let mut ready = 0;
            while heard.len() < 2 || ready < 1 {
                let message = raw.receive().await;
                ready += usize::from(message.tag == 'Z');
                heard.extend(notice(&message));
            }
            heard.sort();
            let mut expected = expected.to_vec();
            expected.sort();
            assert_eq!(heard, expected, "round {round}");
        }
    }
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn notifications_wait_for_the_end_of_a_transaction() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(2)).await;
    let mut raw = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    let mut witness = Raw::login(&fixture).await;
    for session in [&mut raw, &mut witness] {
        expect(session, "LISTEN c", "CZ").await;
    }
    let pid = other.key.0;
    for begin in ["BEGIN", "BEGIN; SELECT 1"] {
        ask(&mut raw, begin).await;
        expect(&mut other, "NOTIFY c, 'x'", "CZ").await;
        assert_eq!(hear(&mut witness).await, said(pid, "c", "x"));
        // It is in the mailbox by now.
        expect(&mut raw, "SELECT 1", "TDCZ").await;
        raw.query("COMMIT").send().await;
        let heard = raw.until_ready().await;
        let tags: String = heard.iter().map(|message| message.tag).collect();
        assert_eq!(tags, "CAZ", "{begin}");
        assert_eq!(notice(&heard[1]), Some(said(pid, "c", "x")));
    }
    drop((raw, other, witness));
    fixture.end().await;
}

#[tokio::test]
async fn who_unlistens_hears_no_more() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    let pid = other.key.0;
    let reset = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; SELECT ';'";
    let cases = ["UNLISTEN c", "UNLISTEN *", "DISCARD ALL", reset, "BEGIN; UNLISTEN \"c\"; COMMIT"];
    for end in cases {
        expect(&mut raw, "LISTEN c", "CZ").await;
        expect(&mut raw, "LISTEN d", "CZ").await;
        ask(&mut raw, end).await;
        ask(&mut other, "NOTIFY c; NOTIFY d, 'x'").await;
        if end.contains("UNLISTEN c") || end.contains("\"c\"") {
            assert_eq!(hear(&mut raw).await, said(pid, "d", "x"), "{end}");
            expect(&mut raw, "UNLISTEN d", "CZ").await;
        } else {
            expect(&mut raw, "LISTEN e", "CZ").await;
            ask(&mut other, "NOTIFY e, 'x'").await;
            assert_eq!(hear(&mut raw).await, said(pid, "e", "x"), "{end}");
            expect(&mut raw, "UNLISTEN e", "CZ").await;
        }
    }
    // What was rolled back, or failed, did not happen.
    expect(&mut raw, "LISTEN c", "CZ").await;
    ask(&mut raw, "BEGIN").await;
    ask(&mut raw, "UNLISTEN c").await;
    ask(&mut raw, "ROLLBACK").await;
    ask(&mut raw, "UNLISTEN c; SELECT 1/0").await;
    ask(&mut other, "NOTIFY c, 'still'").await;
    assert_eq!(hear(&mut raw).await, said(pid, "c", "still"));
    drop((raw, other));
    fixture.end().await;
}

#[tokio::test]
async fn what_postgresql_says_to_a_listen_is_passed_on() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    let heard = ask(&mut raw, "LISTEN select").await;
    assert_eq!((heard[0].tag, heard[0].code().as_str()), ('E', "42601"));
    assert_eq!(heard.len(), 2);
    // A name that is cut, with a notice that says so.
    let long = "x".repeat(70);
    expect(&mut raw, &format!("LISTEN {long}"), "NCZ").await;
    ask(&mut other, &format!("NOTIFY {}, 'y'", &long[..63])).await;
    assert_eq!(hear(&mut raw).await, said(other.key.0, &long[..63], "y"));
    // In a transaction, or among other statements, the session keeps its connection instead.
    assert_eq!(fixture.pins(), []);
    ask(&mut raw, "BEGIN").await;
    ask(&mut raw, "LISTEN c").await;
    expect(&mut raw, "COMMIT", "CZ").await;
    testkit::wait_until(SOON, || fixture.pins() == [PinCause::Listen]).await;
    drop((raw, other));
    fixture.end().await;
}

#[tokio::test]
async fn a_listener_that_breaks_ends_those_who_listen() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let superuser = fixture.postgres.superuser().await;
    let mut idle = Raw::login(&fixture).await;
    let mut busy = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    expect(&mut idle, "LISTEN c", "CZ").await;
    expect(&mut busy, "LISTEN c", "CZ").await;
    ask(&mut busy, "BEGIN").await;
    ask(&mut busy, "SELECT 1").await;
    let text = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = $1 AND query ILIKE 'LISTEN%'";
    superuser.query_one(text, &[&fixture.database.name]).await.unwrap();
    for raw in [&mut idle, &mut busy] {
        let last = raw.receive().await;
        assert_eq!((last.tag, last.code().as_str()), ('E', "57P01"), "{}", last.text());
        assert_eq!(raw.try_receive().await, None);
    }
    expect(&mut other, "SELECT 1", "TDCZ").await;
    let mut again = Raw::login(&fixture).await;
    expect(&mut again, "LISTEN c", "CZ").await;
    ask(&mut other, "NOTIFY c, 'again'").await;
    assert_eq!(hear(&mut again).await, said(other.key.0, "c", "again"));
    drop((idle, busy, other, again));
    fixture.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut deaf = Raw::login(&fixture).await;
    let mut keen = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    expect(&mut deaf, "LISTEN c", "CZ").await;
    expect(&mut keen, "LISTEN c", "CZ").await;
    let flood = "SELECT count(pg_notify('c', lpad(n::text, 7000, 'x'))) \
                 FROM generate_series(1, 5000) AS n";
    let hear_all = async {
        for number in 1..=5000 {
            let (_, _, payload) = hear(&mut keen).await;
            assert!(payload.ends_with(&format!("x{number}")), "{number}");
        }
    };
    let (_, ()) = tokio::join!(ask(&mut other, flood), hear_all);
    let closed =
        || fixture.all_events().iter().any(|event| matches!(event, Event::SessionClosed { .. }));
    testkit::wait_until(SOON, closed).await;
    expect(&mut keen, "SELECT 1", "TDCZ").await;
    drop((deaf, keen, other));
    fixture.end().await;
}

#[tokio::test]
async fn tokio_postgres_listens() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (client, mut connection) =
        tokio_postgres::connect(&fixture.url(), NoTls).await.expect("a session");
    let other = fixture.connect().await;
    // The future that drives the connection ends with the first notification.
    let heard = poll_fn(|cx| {
        loop {
            match ready!(connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(notice))) => return Poll::Ready(notice),
                Some(Ok(_)) => {}
                broken => panic!("{broken:?}"),
            }
        }
    });
    let act = async {
        client.batch_execute("LISTEN c").await.unwrap();
        other.execute("SELECT pg_notify('c', $1)", &[&"hello"]).await.unwrap();
    };
    let (notice, ()) = tokio::join!(heard, act);
    assert_eq!((notice.channel(), notice.payload()), ("c", "hello"));
    drop((client, connection, other));
    fixture.end().await;
}

#[tokio::test]
async fn shutdown_waits_for_no_listener() {
    let fixture = Fixture::start_with(Mode::Regulate, |config| {
        limit(1)(config);
        config.workers = 2.try_into().unwrap();
    })
    .await;
    let mut raw = Raw::login(&fixture).await;
    expect(&mut raw, "LISTEN c", "CZ").await;
    drop(raw);
    let watcher = fixture.postgres.superuser().await;
    timeout(SOON / 2, fixture.proxy.shutdown(SOON)).await.expect("long before its grace ends");
    let text = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    // A backend that was asked something just then ends a moment after its connection.
    let left = async || -> i64 {
        watcher.query_one(text, &[&fixture.database.name]).await.unwrap().get(0)
    };
    let all_end = async { while left().await > 0 {} };
    timeout(SOON, all_end).await.expect("they end");
}
