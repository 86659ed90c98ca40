//! Two clients at once, straight to PostgreSQL and through the proxy: each sees the same.
//!
//! Made up from a seed (`SEED=7 cargo test -p proxy interplay`): transactions that begin, end and
//! fail, statements that do nothing, notifications. With one server connection for both, a client
//! that the other keeps from it does only what needs none.
//!
//! Notifications may come a little later through the proxy. So they are collected, and compared
//! when both have heard a last one.

use std::net::SocketAddr;

use proxy::Mode;
use testkit::{Database, Session};
use wire::cursor::Cursor;

use crate::diff::{Random, essence};
use crate::harness::{Fixture, limit};
use crate::raw::{Message, Raw};

/// Anywhere.
const STATEMENTS: [&str; 16] = [
    "SELECT 1",
    "SELECT 1/0",
    "SELEC",
    "SELECT count(*) FROM t",
    "INSERT INTO t VALUES (1)",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "ROLLBACK; BEGIN",
    "COMMIT; SELECT 2",
    "COMMIT AND CHAIN",
    "BEGIN READ WRITE",
    "NOTIFY a, '1'",
    "SELECT pg_notify('b', '2')",
    "UNLISTEN a",
    "DEALLOCATE nobody",
    "UNLISTEN b; SELECT 3",
];

const BEGINS: [&str; 5] = [
    "BEGIN",
    "begin work;",
    "START TRANSACTION READ ONLY",
    "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "/* one */ BEGIN -- two",
];

const ENDS: [&str; 4] = ["COMMIT", "ROLLBACK", "end;", "ABORT TRANSACTION"];

const NOTHINGS: [&str; 4] = ["", ";;", " -- nothing", "/* keep /* me */ alive */"];

const LISTENS: [&str; 6] =
    ["LISTEN a", "LISTEN \"a\";", "listen B", "UNLISTEN *", "DISCARD ALL", "DEALLOCATE ALL"];

/// One client, both ways.
struct Client {
    direct: Raw,
    through: Raw,
    /// What was notified to each.
    heard: [Vec<Message>; 2],
    /// The transaction status.
    status: u8,
    /// Whether it holds a server connection.
    holds: bool,
}

impl Client {
    /// Straight it goes to a database of its own, so that neither sees what the other does.
    async fn login(fixture: &Fixture, database: &Database) -> Self {
        let server = &database.address;
        let mut direct = Raw::connect(SocketAddr::new(server.host, server.port)).await;
        let (user, name) = (database.owner.user.as_bytes(), database.name.as_bytes());
        direct.startup(0, &[(b"user", user), (b"database", name), (b"client_encoding", b"UTF8")]);
        direct.authenticate(&database.owner.password).await;
        let through = Raw::login(fixture).await;
        Self { direct, through, heard: Default::default(), status: b'I', holds: false }
    }

    /// Puts something; `free` says whether there is a server connection for it.
    fn put(&mut self, random: &mut Random, free: bool) {
        let is_idle = self.status == b'I';
        if !self.holds && (!free || random.below(3) == 0) {
            // What needs no server connection, as long as the block has only begun.
            let text = match (random.below(3), is_idle) {
                (0, false) => random.pick(&NOTHINGS),
                (0 | 1, true) => random.pick(&LISTENS),
                (_, true) => random.pick(&BEGINS),
                (_, false) => random.pick(&ENDS),
            };
            self.direct.query(text);
            return;
        }
        self.holds = true;
        let raw = &mut self.direct;
        match random.below(8) {
            0 => raw.query(random.pick(&ENDS)),
            1 => raw.query(random.pick(&BEGINS)),
            2 => {
                let text = random.pick(&["SELECT 5", "BEGIN", "COMMIT", "ROLLBACK", "", "SELEC"]);
                raw.parse("", text).describe("").bind("").execute().sync()
            }
            3 => raw.execute().sync(),
            4 => raw.bind("unknown").execute().sync(),
            5 => raw.sync(),
            _ => raw.query(random.pick(&STATEMENTS)),
        };
    }

    /// Sends what was put both ways; the answers must be the same.
    async fn ask(&mut self, what: &str) {
        self.through.out.clone_from(&self.direct.out);
        let mut answers = [Vec::new(), Vec::new()];
        for (index, raw) in [&mut self.direct, &mut self.through].into_iter().enumerate() {
            raw.send().await;
            for message in raw.until_ready().await {
                match message.tag {
                    'A' => self.heard[index].push(message),
                    _ => answers[index].extend(essence(message)),
                }
            }
        }
        let [expected, answer] = answers;
        assert_eq!(answer, expected, "{what}");
        self.status = expected.last().expect("it is ready").body[0];
        self.holds &= self.status != b'I';
    }

    async fn query(&mut self, text: &str, what: &str) {
        self.direct.query(text);
        self.ask(what).await;
    }

    /// Hears until the last notification.
    async fn hear_last(&mut self) {
        for (raw, heard) in [&mut self.direct, &mut self.through].into_iter().zip(&mut self.heard) {
            while !heard.last().is_some_and(|message| message.body.ends_with(b"\0last\0")) {
                heard.push(raw.receive().await);
            }
        }
    }
}

/// Who sent it, by index among the clients, and what.
fn read(message: &Message, pids: &[i32]) -> (Option<usize>, Vec<u8>) {
    let mut cursor = Cursor::new(&message.body);
    let pid = cursor.i32();
    (pids.iter().position(|own| Some(*own) == pid), cursor.rest().to_vec())
}

async fn program(clients: &mut [Client; 2], seed: u64, limit: u32, notifiers: &[Session; 2]) {
    let mut random = Random(seed);
    let what = format!("limit {limit}, SEED={seed}");
    for _ in 0..random.below(24) {
        let index = random.below(2);
        let free = limit > 1 || !clients[1 - index].holds;
        clients[index].put(&mut random, free);
        clients[index].ask(&what).await;
    }
    // Whoever holds the one connection first.
    clients.sort_by_key(|client| !client.holds);
    for client in clients.iter_mut() {
        client.query("ROLLBACK", &what).await;
        client.query("LISTEN last", &what).await;
    }
    for notifier in notifiers {
        notifier.batch_execute("NOTIFY last, 'last'").await.expect("it is notified");
    }
    for client in clients.iter_mut() {
        client.hear_last().await;
    }
    let direct: Vec<i32> = clients.iter().map(|client| client.direct.key.0).collect();
    let through: Vec<i32> = clients.iter().map(|client| client.through.key.0).collect();
    for client in clients.iter_mut() {
        let [expected, heard] = std::mem::take(&mut client.heard);
        let expected: Vec<_> = expected.iter().map(|message| read(message, &direct)).collect();
        let heard: Vec<_> = heard.iter().map(|message| read(message, &through)).collect();
        assert_eq!(heard, expected, "{what}");
        client.query("UNLISTEN *", &what).await;
    }
}

#[tokio::test]
async fn two_clients_see_what_they_see_without_a_proxy() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    for count in [1, 2] {
        let fixture = Fixture::start_with(Mode::Regulate, limit(count)).await;
        let database = fixture.postgres.database().await;
        let notifiers = [database.connect().await, fixture.database.connect().await];
        for notifier in &notifiers {
            notifier.batch_execute("CREATE TABLE t (n int)").await.expect("a table");
        }
        let mut clients =
            [Client::login(&fixture, &database).await, Client::login(&fixture, &database).await];
        for number in seed.map_or(0..200, |seed| seed..seed + 1) {
            program(&mut clients, number, count, &notifiers).await;
        }
        drop((clients, notifiers));
        fixture.end().await;
    }
}
