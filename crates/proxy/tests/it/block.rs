//! Transaction blocks that begin before a server connection is there for them.

use std::time::Duration;

use proxy::Mode;
use tokio_postgres::NoTls;
use trace::{BackendPid, Event, Fingerprint, Outcome, TransactionState};

use crate::harness::{Fixture, SOON, code, limit};
use crate::raw::{Message, Raw, first_value};

/// The transaction status that the last of these messages tells.
fn status(heard: &[Message]) -> char {
    let ready = heard.last().expect("an answer");
    assert_eq!(ready.tag, 'Z', "{heard:?}");
    char::from(ready.body[0])
}

/// The codes of the errors among messages.
fn errors(heard: &[Message]) -> Vec<String> {
    heard.iter().filter(|message| message.tag == 'E').map(Message::code).collect()
}

async fn ask(raw: &mut Raw, text: &str) -> Vec<Message> {
    raw.query(text).send().await;
    raw.until_ready().await
}

#[tokio::test]
async fn a_session_that_has_only_begun_holds_no_server_connection() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (one, two) = (fixture.connect().await, fixture.connect().await);
    one.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await.unwrap();
    two.batch_execute("BEGIN; CREATE TABLE t (n int); COMMIT").await.unwrap();
    let text = "SELECT current_setting('transaction_isolation'), \
                current_setting('transaction_read_only'), (SELECT count(*) FROM t)";
    let row = one.query_one(text, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "repeatable read");
    assert_eq!(row.get::<_, &str>(1), "on");
    one.batch_execute("COMMIT").await.unwrap();
    for _ in 0..3 {
        two.batch_execute("START TRANSACTION").await.unwrap();
        one.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        two.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
        two.batch_execute("ROLLBACK").await.unwrap();
    }
    let counted = one.query_one("SELECT count(*), max(n) FROM t", &[]).await.unwrap();
    assert_eq!((counted.get::<_, i64>(0), counted.get::<_, i32>(1)), (3, 1));
    fixture.end().await;
}

#[tokio::test]
async fn a_transaction_without_a_statement_never_reaches_the_server() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    let holder = fixture.connect().await;
    holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
    for (begin, tag) in [("BEGIN", "BEGIN\0"), ("start transaction;", "START TRANSACTION\0")] {
        for (end, last) in [("COMMIT", "COMMIT\0"), ("end", "COMMIT\0"), ("abort;", "ROLLBACK\0")] {
            let heard = ask(&mut raw, begin).await;
            assert_eq!((heard[0].tag, &*heard[0].body), ('C', tag.as_bytes()));
            assert_eq!(status(&heard), 'T');
            let heard = ask(&mut raw, " -- nothing").await;
            assert_eq!((heard[0].tag, status(&heard)), ('I', 'T'));
            assert_eq!(raw.sync().tags().await, "Z");
            let heard = ask(&mut raw, end).await;
            assert_eq!((heard[0].tag, &*heard[0].body), ('C', last.as_bytes()));
            assert_eq!(status(&heard), 'I');
        }
    }
    let recorded = fixture.requests();
    let local = recorded.iter().filter(|request| request.backend == BackendPid::NONE);
    assert_eq!(local.clone().count(), 6 * 3);
    assert!(local.clone().all(|request| request.statement != Fingerprint::NONE));
    let open = local.filter(|request| request.transaction == TransactionState::Open).count();
    assert_eq!(open, 6 * 2);
    holder.batch_execute("COMMIT").await.unwrap();
    drop((raw, holder));
    fixture.end().await;
}

#[tokio::test]
async fn the_first_request_is_in_the_transaction_whatever_it_is() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    let mut other = Raw::login(&fixture).await;
    other.value("CREATE TABLE t (n int); SELECT 1").await;

    // An error.
    assert_eq!(raw.query("BEGIN").tags().await, "CZ");
    let heard = ask(&mut raw, "SELECT 1/0").await;
    assert_eq!((errors(&heard), status(&heard)), (vec!["22012".to_owned()], 'E'));
    assert_eq!(status(&ask(&mut raw, "COMMIT").await), 'I');

    // A warning: the block is there.
    ask(&mut raw, "BEGIN").await;
    let heard = ask(&mut raw, "BEGIN").await;
    assert_eq!(heard[0].code(), "25001");
    assert_eq!(status(&heard), 'T');
    ask(&mut raw, "ROLLBACK").await;

    // Statement and portal of the extended protocol; the portal of our own is not there.
    ask(&mut raw, "BEGIN").await;
    raw.parse("", "SELECT 5").bind("").execute().sync().send().await;
    let heard = raw.until_ready().await;
    assert_eq!((first_value(&heard).as_str(), status(&heard)), ("5", 'T'));
    ask(&mut raw, "ROLLBACK").await;
    ask(&mut raw, "BEGIN").await;
    raw.execute().sync().send().await;
    let heard = raw.until_ready().await;
    assert_eq!((errors(&heard), status(&heard)), (vec!["34000".to_owned()], 'E'));
    ask(&mut raw, "ROLLBACK").await;

    // COPY, and a statement too long to be looked at whole.
    ask(&mut raw, "BEGIN").await;
    raw.query("COPY t FROM STDIN").copy_data(b"1\n2\n").bare(b'c').send().await;
    assert_eq!(status(&raw.until_ready().await), 'T');
    ask(&mut raw, "COMMIT").await;
    let long = format!("SELECT count(*), '{}' FROM t", "x".repeat(3 << 20));
    ask(&mut raw, "BEGIN").await;
    let heard = ask(&mut raw, &long).await;
    assert_eq!((first_value(&heard).as_str(), status(&heard)), ("2", 'T'));
    ask(&mut raw, "ROLLBACK").await;
    drop((raw, other));
    fixture.end().await;
}

#[tokio::test]
async fn all_at_once() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    ask(&mut raw, "CREATE TABLE t (n int)").await;
    for _ in 0..20 {
        raw.query("BEGIN").query("INSERT INTO t VALUES (1)");
        raw.parse("", "SELECT count(*) FROM t").bind("").execute().sync();
        raw.query("ROLLBACK").query("").query("SELECT 2").send().await;
        let mut seen = String::new();
        for _ in 0..6 {
            let heard = raw.until_ready().await;
            seen.extend(heard.iter().map(|message| message.tag));
            seen.push(status(&heard));
        }
        assert_eq!(seen, "CZTCZT12DCZTCZIIZITDCZI");
    }
    assert_eq!(raw.value("SELECT count(*) FROM t").await, "0");
    drop(raw);
    fixture.end().await;
}

#[tokio::test]
async fn a_refused_request_fails_its_transaction() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut holder = Raw::login(&fixture).await;
    let mut raw = Raw::login(&fixture).await;
    ask(&mut holder, "BEGIN").await;
    ask(&mut holder, "SELECT 1").await;
    fixture.patience(Duration::from_millis(100)).await;
    let refused = vec!["53300".to_owned()];
    for last in ["ROLLBACK", "COMMIT"] {
        assert_eq!(status(&ask(&mut raw, "BEGIN").await), 'T');
        let heard = ask(&mut raw, "SELECT 1").await;
        assert_eq!((errors(&heard), status(&heard)), (refused.clone(), 'E'));
        // The same in the extended protocol, and again.
        raw.parse("", "SELECT 1").bind("").execute().sync().send().await;
        let heard = raw.until_ready().await;
        assert_eq!((errors(&heard), status(&heard)), (refused.clone(), 'E'));
        let heard = ask(&mut raw, "").await;
        assert_eq!((heard[0].tag, status(&heard)), ('I', 'E'));
        let heard = ask(&mut raw, last).await;
        assert_eq!((&*heard[0].body, status(&heard)), (&b"ROLLBACK\0"[..], 'I'));
    }
    // What is not answered here is PostgreSQL's to judge, in a transaction that has failed there.
    ask(&mut raw, "BEGIN").await;
    assert_eq!(errors(&ask(&mut raw, "SELECT 1").await), refused);
    fixture.patience(SOON).await;
    ask(&mut holder, "COMMIT").await;
    for (text, expected) in [("SELECT 1", "25P02"), ("SELEC", "42601"), ("ROLLBACK TO a", "3B001")]
    {
        let heard = ask(&mut raw, text).await;
        assert_eq!((errors(&heard), status(&heard)), (vec![expected.to_owned()], 'E'), "{text}");
    }
    let heard = ask(&mut raw, "ROLLBACK; SELECT 7").await;
    assert_eq!((first_value(&heard).as_str(), status(&heard)), ("7", 'I'));
    let outcomes: Vec<Outcome> = fixture
        .requests()
        .into_iter()
        .filter(|request| request.transaction == TransactionState::Failed)
        .map(|request| request.outcome)
        .collect();
    let late = outcomes.iter().filter(|outcome| **outcome == Outcome::QueueTimeout).count();
    assert_eq!(late, 5);
    drop((raw, holder));
    fixture.end().await;
}

#[tokio::test]
async fn a_cancelled_wait_fails_the_transaction() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let holder = fixture.connect().await;
    holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let client = fixture.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    let cancel = client.cancel_token();
    let act = async {
        let queued = || {
            let events = fixture.all_events();
            let last = events.iter().rev().find_map(|event| match event {
                Event::PoolSampled(pool) => Some(pool.waiting),
                _ => None,
            });
            last == Some(1)
        };
        testkit::wait_until(SOON, queued).await;
        cancel.cancel_query(NoTls).await.unwrap();
    };
    let (cancelled, ()) = tokio::join!(client.batch_execute("SELECT 1"), act);
    assert_eq!(code(&cancelled.unwrap_err()), "57014");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(code(&client.batch_execute("SELECT 1").await.unwrap_err()), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    drop((client, holder));
    fixture.end().await;
}

#[tokio::test]
async fn a_cancel_request_hits_the_first_request_of_a_transaction() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let client = fixture.connect().await;
    let cancel = client.cancel_token();
    client.batch_execute("SELECT 1").await.unwrap();
    let mut hit = 0;
    for _ in 0..20 {
        client.batch_execute("BEGIN").await.unwrap();
        let (mine, cancelled) = tokio::join!(
            client.batch_execute("SELECT pg_sleep(0.05)"),
            cancel.cancel_query(NoTls),
        );
        cancelled.unwrap();
        // It never hits the BEGIN, without which the session could not go on.
        if let Err(error) = mine {
            assert_eq!(code(&error), "57014");
            hit += 1;
        }
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    assert!(hit > 0);
    drop(client);
    fixture.end().await;
}

#[tokio::test]
async fn a_block_is_not_lost_with_a_connection_that_broke_meanwhile() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let superuser = fixture.postgres.superuser().await;
    let client = fixture.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    let text = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
    superuser.query_one(text, &[&fixture.database.name]).await.unwrap();
    fixture.until_connections(&superuser, 0).await;
    let row = client.query_one("SELECT 5", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 5);
    client.batch_execute("COMMIT").await.unwrap();
    drop(client);
    fixture.end().await;
}
