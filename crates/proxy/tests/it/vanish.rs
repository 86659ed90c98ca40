//! A client that vanishes at any byte of what it says leaves nothing for the next.

use proxy::Mode;
use wire::frontend::{self, tag};

use crate::harness::{Fixture, limit, loopback, start};
use crate::raw::{Message, Raw, first_value};

/// What a client was about to say, and where it is cut.
struct Script {
    name: &'static str,
    bytes: Vec<u8>,
    /// Ends of the messages that the server answers at once.
    answered: Vec<usize>,
}

impl Script {
    fn new(name: &'static str, raw: &mut Raw, put: impl FnOnce(&mut Raw)) -> Self {
        raw.out.clear();
        put(raw);
        let bytes = std::mem::take(&mut raw.out);
        let mut answered = Vec::new();
        let mut end = 0;
        while end < bytes.len() {
            let length = bytes[end + 1..end + 5].try_into().expect("four bytes");
            let kind = bytes[end];
            end += 1 + u32::from_be_bytes(length) as usize;
            if matches!(kind, tag::QUERY | tag::SYNC | tag::FLUSH) {
                answered.push(end);
            }
        }
        Self { name, bytes, answered }
    }

    /// Every byte; of the middle of something large only some.
    fn cuts(&self) -> impl Iterator<Item = usize> {
        let all = self.bytes.len();
        (0..=all).filter(move |cut| all < 2000 || cut % 4099 == 0 || *cut < 40 || all - cut < 40)
    }
}

fn bind_large(raw: &mut Raw, len: usize) {
    wire::frame::put(&mut raw.out, tag::BIND, |out| {
        wire::frame::put_text(out, b"");
        wire::frame::put_text(out, b"large");
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(&i32::try_from(len).expect("it is small").to_be_bytes());
        out.resize(out.len() + len, b'x');
        out.extend_from_slice(&[0, 0]);
    });
}

fn scripts(raw: &mut Raw) -> Vec<Script> {
    let portal = |raw: &mut Raw| frontend::Target::Portal(b"").put_close(&mut raw.out);
    vec![
        Script::new("simple queries", raw, |raw| {
            raw.query("INSERT INTO t VALUES (1), (2); SELECT n FROM t LIMIT 1").query("SELEC");
        }),
        Script::new("several batches", raw, |raw| {
            raw.parse("", "SELECT 'left 1'").bind("").execute().sync();
            raw.parse("s", "SELECT 'left 2'").describe("s").bind("s").execute().sync().sync();
            raw.bind("s").execute().sync();
        }),
        Script::new("errors in a batch", raw, |raw| {
            raw.parse("e", "SELECT 1/0").bind("e").execute().bind("e").execute().close("e").sync();
            raw.parse("f", "SELEC").describe("f").bare(tag::FLUSH).sync();
            raw.bind("unknown").execute();
            portal(raw);
            raw.sync();
        }),
        Script::new("a transaction", raw, |raw| {
            raw.query("BEGIN").query("INSERT INTO t VALUES (1)");
            raw.parse("", "DECLARE c CURSOR FOR SELECT 1").bind("").execute().sync();
            raw.query("SELECT 1/0");
        }),
        Script::new("COPY in", raw, |raw| {
            raw.query("COPY t FROM STDIN").copy_data(b"1\n").copy_data(b"2\n");
            raw.bare(tag::COPY_DONE);
            raw.parse("", "COPY t FROM STDIN").bind("").execute().sync();
            raw.copy_data(b"1\n").copy_data(b"no number\n").bare(tag::COPY_DONE).sync();
        }),
        Script::new("COPY out", raw, |raw| {
            raw.query("COPY (SELECT generate_series(1, 90000)) TO STDOUT");
            raw.query("SELECT repeat('x', 100000)");
        }),
        Script::new("a large value", raw, |raw| {
            raw.parse("large", "INSERT INTO t SELECT length($1) FROM generate_series(1, 2)");
            bind_large(raw, 100_000);
            raw.execute().sync();
        }),
        Script::new("a pin", raw, |raw| {
            raw.query("CREATE TEMP TABLE left_over ()").query("SET search_path = nowhere");
        }),
    ]
}

/// Asks in both protocols at once, and checks every message of the answer.
async fn probe(raw: &mut Raw, number: usize, context: &str) {
    let clean = format!(
        "SELECT concat_ws(' ', {number}, now() = statement_timestamp(), count(*) % 2, \
         to_regclass('left_over') IS NULL, (SELECT count(*) FROM pg_cursors WHERE name = 'c'), \
         current_setting('search_path')) FROM t"
    );
    raw.query(&clean).parse("", "SELECT 'second'").bind("").describe("").execute().sync();
    raw.send().await;
    let first = raw.until_ready().await;
    let second = raw.until_ready().await;
    let tags = |heard: &[Message]| heard.iter().map(|message| message.tag).collect::<String>();
    assert_eq!((tags(&first), tags(&second)), ("TDCZ".into(), "12tTDCZ".into()), "{context}");
    let expected = format!("{number} t 0 t 0 \"$user\", public");
    assert_eq!(first_value(&first), expected, "{context}");
    assert_eq!(first_value(&second), "second", "{context}");
    for heard in [&first, &second] {
        assert_eq!(heard.last().expect("ReadyForQuery").body, b"I", "{context}");
    }
}

#[tokio::test]
async fn a_client_may_vanish_at_any_byte() {
    let fixture = Fixture::start(Mode::Regulate).await;
    // Over the Unix socket nobody needs a password: a thousand logins cost little.
    let (proxy, events) = start(Mode::Regulate, &fixture.database.socket_url(), limit(1));
    let addr = proxy.listen(loopback(), None).unwrap();
    let mut next = Raw::login_at(&fixture, addr).await;
    assert_eq!(next.query("CREATE TABLE t (n int)").tags().await, "CZ");
    let mut number = 0;
    for script in scripts(&mut Raw::connect(addr).await) {
        for cut in script.cuts() {
            number += 1;
            let mut raw = Raw::login_at(&fixture, addr).await;
            raw.out.extend_from_slice(&script.bytes[..cut]);
            raw.send().await;
            // By turns: gone at once, gone with a reset, gone in the middle of the answer.
            match number % 3 {
                0 => {}
                1 => raw.reset_on_drop(),
                _ => {
                    for _ in script.answered.iter().filter(|end| **end <= cut) {
                        raw.receive().await;
                    }
                }
            }
            drop(raw);
            probe(&mut next, number, &format!("{}, cut at byte {cut}", script.name)).await;
        }
    }
    assert!(number > 800, "{number} cuts");
    drop(next);
    proxy.shutdown(std::time::Duration::from_secs(5)).await;
    let all = events.all();
    let count = |wanted: fn(&trace::Event) -> bool| all.iter().filter(|e| wanted(e)).count();
    assert_eq!(
        count(|event| matches!(event, trace::Event::ServerOpened { .. })),
        count(|event| matches!(event, trace::Event::ServerClosed { .. })),
    );
    fixture.end().await;
}
