//! The same scenario straight to PostgreSQL and through the proxy, each on a database of its own.

use std::net::SocketAddr;

use proxy::Mode;
use testkit::Database;
use wire::cursor::Cursor;
use wire::frontend::tag;

use crate::harness::{Fixture, limit, loopback, start};
use crate::raw::{Message, Raw};

/// One of the two ways to a database.
pub(crate) struct Site {
    addr: SocketAddr,
    pub(crate) database: Database,
}

/// What a case was, and what was answered.
pub(crate) type Answers = Vec<(String, String)>;

impl Site {
    /// A session that speaks as tokio-postgres does.
    pub(crate) async fn login(&self) -> Raw {
        let mut raw = Raw::connect(self.addr).await;
        let owner = &self.database.owner;
        raw.startup(
            0,
            &[
                (b"client_encoding", b"UTF8"),
                (b"user", owner.user.as_bytes()),
                (b"database", self.database.name.as_bytes()),
            ],
        );
        raw.authenticate(&owner.password).await;
        raw
    }
}

/// Runs the scenario both ways; the answers must be the same. All differences are shown at once.
pub(crate) async fn compare(count: u32, scenario: impl AsyncFn(&Site) -> Answers) {
    compare_after("", count, scenario).await;
}

/// The same, with something set up in both databases before the proxy knows its own.
pub(crate) async fn compare_after(
    setup: &str,
    count: u32,
    scenario: impl AsyncFn(&Site) -> Answers,
) {
    let postgres = testkit::postgres().await;
    let databases = [postgres.database().await, postgres.database().await];
    for database in &databases {
        let superuser = testkit::connect(database.superuser_url()).await;
        let owner = &database.owner.user;
        let own = format!("ALTER SCHEMA public OWNER TO {owner}");
        superuser.batch_execute(&own).await.expect("a superuser may");
        database.connect().await.batch_execute(setup).await.expect("the setup is sound");
    }
    let [database, other] = databases;
    let server = &other.address;
    let direct = Site { addr: SocketAddr::new(server.host, server.port), database: other };
    let (proxy, events) = start(Mode::Regulate, &database.url(), limit(count));
    let addr = proxy.listen(loopback(), None).expect("a free loopback port");
    let through = Site { addr, database: database.clone() };
    let fixture = Fixture { postgres, database, proxy, addr, events };
    let expected = scenario(&direct).await;
    let answers = scenario(&through).await;
    assert_eq!(answers.len(), expected.len());
    let differences: Vec<String> = expected
        .iter()
        .zip(&answers)
        .filter(|(expected, answer)| expected != answer)
        .map(|((case, expected), (_, got))| {
            format!("{case}\n  direct  {expected}\n  proxied {got}")
        })
        .collect();
    assert!(differences.is_empty(), "limit {count}\n{}", differences.join("\n"));
    fixture.end().await;
}

/// Sends what was put and shows the answer, up to as many `ReadyForQuery` as it is worth.
pub(crate) async fn ask(raw: &mut Raw) -> String {
    let ready = count_ready(&raw.out);
    raw.send().await;
    hear(raw, ready).await
}

/// The same of one simple query.
pub(crate) async fn query(raw: &mut Raw, text: &str) -> String {
    raw.query(text);
    ask(raw).await
}

/// Shows what comes up to so many `ReadyForQuery`, or the end of the connection.
pub(crate) async fn hear(raw: &mut Raw, mut ready: usize) -> String {
    let mut shown = Vec::new();
    while ready > 0 {
        let Some(message) = raw.try_receive().await else {
            shown.push("EOF".to_owned());
            break;
        };
        ready -= usize::from(message.tag == 'Z');
        shown.extend(show(&message));
    }
    shown.join(" ")
}

/// How many messages there are that end in `ReadyForQuery`.
fn count_ready(mut bytes: &[u8]) -> usize {
    let mut ready = 0;
    while let [kind, a, b, c, d, ..] = bytes {
        ready += usize::from(matches!(*kind, tag::QUERY | tag::SYNC));
        bytes = &bytes[1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize..];
    }
    ready
}

/// A message as a test compares it: without notices, reports, and texts of errors.
fn show(message: &Message) -> Option<String> {
    let text = String::from_utf8_lossy(&message.body);
    Some(match message.tag {
        'N' | 'S' => return None,
        'E' => format!("E({})", message.code()),
        'C' => format!("C({})", text.trim_end_matches('\0')),
        'Z' => format!("Z{text}"),
        'D' => format!("D{:?}", values(&message.body)),
        't' => format!("t{:?}", message.body),
        'T' => format!("T{}", message.body[1]),
        tag => tag.to_string(),
    })
}

fn values(body: &[u8]) -> Vec<String> {
    let mut cursor = Cursor::new(body);
    let count = cursor.i16().expect("a count");
    let value = |_| match usize::try_from(cursor.i32().expect("a length")) {
        Ok(length) => {
            String::from_utf8_lossy(cursor.bytes(length).expect("its bytes")).into_owned()
        }
        Err(_) => "NULL".to_owned(),
    };
    (0..count).map(value).collect()
}
