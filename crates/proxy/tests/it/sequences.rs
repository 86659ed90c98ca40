//! `lastval` and `currval`: a session's own number or none (55000), never another session's.

use futures_util::future::join_all;
use proxy::Mode;

use crate::harness::{Fixture, limit};
use crate::raw::{Message, Raw};

const INSERT: &str = "INSERT INTO numbers DEFAULT VALUES RETURNING id";

/// How the last number is asked for.
const READS: [&str; 3] = [
    "SELECT lastval()",
    "SELECT currval('numbers_id_seq')",
    "SELECT max(n) FROM (SELECT currval('public.numbers_id_seq') AS n) AS q",
];

/// The value, or the SQLSTATE.
fn value(heard: &[Message]) -> String {
    match heard.iter().find(|message| message.tag == 'E') {
        Some(error) => error.code(),
        None => crate::raw::first_value(heard),
    }
}

async fn simple(raw: &mut Raw, text: &str) -> String {
    raw.query(text).send().await;
    value(&raw.until_ready().await)
}

async fn extended(raw: &mut Raw, text: &str) -> String {
    raw.parse("", text).bind("").execute().sync().send().await;
    value(&raw.until_ready().await)
}

async fn fixture(count: u32) -> Fixture {
    let fixture = Fixture::start_with(Mode::Regulate, limit(count)).await;
    let direct = fixture.database.connect().await;
    direct.batch_execute("CREATE TABLE numbers (id serial)").await.expect("a table");
    fixture
}

fn check(got: &str, own: &str, what: &str) {
    assert!(got == own || got == "55000", "{what}: {got}, own {own}");
}

#[tokio::test]
async fn a_session_reads_its_own_number_or_none() {
    for count in [1, 2] {
        let fixture = fixture(count).await;
        let mut sessions = [Raw::login(&fixture).await, Raw::login(&fixture).await];
        let mut stranger = Raw::login(&fixture).await;
        for round in 0..20 {
            let mut own = Vec::new();
            for raw in &mut sessions {
                own.push(simple(raw, INSERT).await);
            }
            for text in READS {
                let what = format!("limit {count}, round {round}, {text}");
                for (raw, own) in sessions.iter_mut().zip(&own) {
                    check(&simple(raw, text).await, own, &what);
                    check(&extended(raw, text).await, own, &what);
                }
                assert_eq!(simple(&mut stranger, text).await, "55000", "{what}");
                assert_eq!(extended(&mut stranger, text).await, "55000", "{what}");
            }
        }
        drop((sessions, stranger));
        fixture.end().await;
    }
}

#[tokio::test]
async fn alone_it_reads_its_own() {
    let fixture = fixture(1).await;
    let mut raw = Raw::login(&fixture).await;
    for text in READS {
        let own = simple(&mut raw, INSERT).await;
        assert_eq!(simple(&mut raw, text).await, own, "{text}");
        assert_eq!(extended(&mut raw, text).await, own, "{text}");
    }
    drop(raw);
    fixture.end().await;
}

#[tokio::test]
async fn in_a_transaction_and_in_a_batch_it_is_always_there() {
    let fixture = fixture(2).await;
    let mut sessions = [Raw::login(&fixture).await, Raw::login(&fixture).await];
    for round in 0..10 {
        for text in READS {
            for raw in &mut sessions {
                // In one transaction.
                raw.query("BEGIN").tags().await;
                let own = simple(raw, INSERT).await;
                assert_eq!(simple(raw, text).await, own, "{round} {text}");
                assert_eq!(extended(raw, text).await, own, "{round} {text}");
                raw.query("COMMIT").tags().await;
                // In one string.
                let both = format!("WITH new AS ({INSERT}) SELECT id FROM new; {text}");
                raw.query(&both).send().await;
                let heard = raw.until_ready().await;
                let (first, second) = heard.split_at(3);
                assert_eq!(value(first), value(second), "{round} {text}");
                // In one batch.
                raw.parse("", INSERT).bind("").execute();
                raw.parse("", text).bind("").execute().sync().send().await;
                let heard = raw.until_ready().await;
                let (first, second) = heard.split_at(4);
                assert_eq!(value(first), value(second), "{round} {text}");
            }
        }
    }
    drop(sessions);
    fixture.end().await;
}

#[tokio::test]
async fn it_is_forgotten_with_discard() {
    let fixture = fixture(2).await;
    let mut raw = Raw::login(&fixture).await;
    for discard in ["DISCARD ALL", "DISCARD SEQUENCES", "/* x */ DISCARD ALL"] {
        for text in READS {
            simple(&mut raw, INSERT).await;
            assert_eq!(raw.query(discard).tags().await, "CZ");
            assert_eq!(simple(&mut raw, text).await, "55000", "{discard}, {text}");
        }
    }
    drop(raw);
    fixture.end().await;
}

#[tokio::test]
async fn numbers_that_triggers_take_count_too() {
    let fixture = fixture(1).await;
    let direct = fixture.database.connect().await;
    let setup = "CREATE FUNCTION take() RETURNS bigint LANGUAGE plpgsql AS \
                 $$BEGIN RETURN nextval('numbers_id_seq'); END$$; \
                 CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS \
                 $$BEGIN PERFORM take(); RETURN new; END$$; \
                 CREATE TABLE plain (n int); \
                 CREATE TRIGGER fire BEFORE INSERT ON plain \
                 FOR EACH ROW EXECUTE FUNCTION fire()";
    direct.batch_execute(setup).await.unwrap();
    let (mut one, mut two) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    for take in [INSERT, "INSERT INTO plain VALUES (1) RETURNING n"] {
        for read in READS {
            simple(&mut one, take).await;
            assert_eq!(simple(&mut two, read).await, "55000", "{take}, then another's {read}");
        }
    }
    drop((one, two, direct));
    fixture.end().await;
}

#[tokio::test]
async fn so_it_is_with_many_sessions_at_once() {
    let fixture = fixture(3).await;
    let session = async |number: usize| {
        let mut raw = Raw::login(&fixture).await;
        for round in 0..20 {
            let own = simple(&mut raw, INSERT).await;
            let text = READS[(number + round) % READS.len()];
            let got = match round % 2 {
                0 => simple(&mut raw, text).await,
                _ => extended(&mut raw, text).await,
            };
            check(&got, &own, text);
        }
    };
    join_all((0..12).map(session)).await;
    fixture.end().await;
}
