//! The same conversation straight to PostgreSQL and through the proxy: the same answers.
//!
//! Conversations are made up from a seed (`SEED=7 cargo test -p proxy diff`), sent in random
//! pieces, and in `regulate` mode another session keeps taking turns on the server connections
//! meanwhile.
//!
//! Left out, since `regulate` mode answers them more leniently than PostgreSQL does: preparing a
//! name that exists, and using a name whose `Parse` was discarded after an error.

use std::net::SocketAddr;

use testkit::Session;
use wire::frontend::{self, tag};

use crate::harness::{Fixture, MODES, limit};
use crate::raw::{Message, Raw};

/// SplitMix64: enough to make up conversations, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("it is below a usize")
    }

    pub(crate) fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len())]
    }
}

/// Statements that are prepared once, by name.
const NAMED: [(&str, &str); 9] = [
    ("one", "SELECT 1, 'text'"),
    ("rows", "SELECT generate_series(1, 500), repeat('x', 90)"),
    ("late", "SELECT 10 / (5 - generate_series(1, 7))"),
    ("begin", "BEGIN"),
    ("commit", "COMMIT"),
    ("rollback", "ROLLBACK"),
    ("insert", "INSERT INTO t VALUES (1)"),
    ("out", "COPY (SELECT generate_series(1, 3)) TO STDOUT"),
    ("empty", ""),
];

const SIMPLE: [&str; 10] = [
    "SELECT 1; SELECT 2",
    "SELECT 1/0; SELECT 2",
    "SELEC",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "COPY (SELECT generate_series(1, 1000)) TO STDOUT",
    "SELECT repeat('y', 50000)",
    "DEALLOCATE nobody",
];

/// Puts one conversation; gives how many `ReadyForQuery` it is worth.
fn conversation(random: &mut Random, raw: &mut Raw) -> usize {
    let mut ready = 0;
    for _ in 0..=random.below(4) {
        match random.below(8) {
            0 => {
                raw.query(random.pick(&SIMPLE));
            }
            1 => {
                let data = random.pick(&["1\n", "1\n2\n", "no number\n", ""]);
                raw.query("COPY t FROM STDIN").copy_data(data.as_bytes());
                raw.bare(tag::COPY_DONE);
            }
            _ => {
                for _ in 0..=random.below(4) {
                    batch(random, raw);
                }
                raw.sync();
            }
        }
        ready += 1;
    }
    // Whatever is open ends here: each conversation begins afresh.
    raw.sync().query("ROLLBACK");
    ready + 2
}

/// Puts a part of a batch of the extended protocol.
fn batch(random: &mut Random, raw: &mut Raw) {
    let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
    let name = random.pick(&names);
    match random.below(9) {
        0 => {
            let query = random.pick(&["SELECT 7", "SELEC", "SELECT 1/0", "SELECT now() IS NULL"]);
            raw.parse("", query).describe("").bind("").execute();
        }
        1 => {
            raw.describe(name);
        }
        2 => {
            raw.bind(name).bare(tag::FLUSH);
        }
        3 => {
            raw.bind("unknown").execute();
        }
        4 => {
            raw.bind(name);
            frontend::Execute { portal: b"", max_rows: 2 }.put(&mut raw.out);
            raw.execute();
        }
        5 => {
            raw.close("unknown");
        }
        6 => {
            frontend::Target::Portal(b"").put_close(&mut raw.out);
        }
        _ => {
            raw.bind(name).execute();
        }
    }
}

async fn login(fixture: &Fixture, addr: SocketAddr) -> Raw {
    let mut raw = Raw::login_at(fixture, addr).await;
    for (name, query) in NAMED {
        raw.parse(name, query);
    }
    assert_eq!(raw.sync().tags().await, "111111111Z");
    raw
}

/// What both must agree in: notices may differ in number, and errors in where they were found.
pub(crate) fn essence(message: Message) -> Option<Message> {
    match message.tag {
        'N' | 'S' => None,
        'E' => Some(Message { tag: 'E', body: message.code().into_bytes() }),
        _ => Some(message),
    }
}

/// Sends what was put in pieces, and gives the answer up to the last `ReadyForQuery`.
async fn ask(raw: &mut Raw, random: &mut Random, ready: usize) -> Vec<Message> {
    let bytes = std::mem::take(&mut raw.out);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rest.len().min(1 + random.below(400)));
        raw.out.extend_from_slice(piece);
        raw.send().await;
        tokio::task::yield_now().await;
        rest = left;
    }
    let mut answer = Vec::new();
    for _ in 0..ready {
        answer.extend(raw.until_ready().await.into_iter().filter_map(essence));
    }
    answer
}

/// Holds one of two server connections, now and then.
struct Churn {
    session: Session,
    holds: bool,
}

impl Churn {
    async fn turn(&mut self, random: &mut Random) {
        if random.below(2) == 0 {
            let text = if self.holds { "COMMIT" } else { "BEGIN; SELECT 1" };
            self.session.batch_execute(text).await.expect("there is a connection for it");
            self.holds = !self.holds;
        } else if !self.holds {
            let value = self.session.query_one("SELECT 1, 'text'", &[]).await;
            assert_eq!(value.expect("there is a connection for it").get::<_, i32>(0), 1);
        }
    }
}

#[tokio::test]
async fn the_same_answers_as_postgresql() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    for mode in MODES {
        let fixture = Fixture::start_with(mode, limit(2)).await;
        let server = &fixture.database.address;
        let mut churn = Churn { session: fixture.connect().await, holds: false };
        churn.session.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        let mut direct = login(&fixture, SocketAddr::new(server.host, server.port)).await;
        let mut through = login(&fixture, fixture.addr).await;
        for number in seed.map_or(0..150, |seed| seed..seed + 1) {
            let mut random = Random(number);
            let ready = conversation(&mut random, &mut direct);
            through.out.clone_from(&direct.out);
            churn.turn(&mut random).await;
            let expected = ask(&mut direct, &mut random, ready).await;
            let answer = ask(&mut through, &mut random, ready).await;
            assert_eq!(answer, expected, "{mode:?}, SEED={number}");
        }
        drop((direct, through, churn));
        fixture.end().await;
    }
}
