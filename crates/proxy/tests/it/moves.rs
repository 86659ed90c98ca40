//! Session programs made up from a seed, run direct and through `regulate` mode by several clients
//! that share server connections: each client sees the same, whoever came before it.
//!
//! Every other seed all share *one* server connection, and clients take turns that leave nothing
//! that pins; else each may pin one. A seed that fails is run again with `SEED=7 cargo test -p
//! proxy moves`; `SEEDS=5000` runs many.
//!
//! Left out, since `regulate` mode answers them otherwise than PostgreSQL does: what a setting of
//! an app is before anybody has set it (NULL there, `''` on a connection where somebody else has),
//! whether the schema `pg_temp` exists while it is empty, preparing in a failed transaction, and
//! constants in statements that are prepared once and run under settings that changed since.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use proxy::Mode;
use wire::backend::parameter;

use crate::diff::Random;
use crate::harness::{Fixture, limit};
use crate::raw::{Message, Raw};

const CLIENTS: usize = 3;

const SETTINGS: [(&str, &[&str]); 10] = [
    ("work_mem", &["'3MB'", "'5MB'", "nonsense"]),
    ("TimeZone", &["'UTC'", "'Asia/Tokyo'", "'nowhere'"]),
    ("DateStyle", &["'SQL, DMY'", "'German'"]),
    ("search_path", &["a", "b, public", "'$user', a"]),
    ("application_name", &["'x'", "'it''s \\ $s$'", "''"]),
    ("client_encoding", &["'LATIN1'", "'UTF8'"]),
    ("standard_conforming_strings", &["off", "on"]),
    ("IntervalStyle", &["'iso_8601'"]),
    ("app.x", &["'1'", "'é'", "''"]),
    ("default_transaction_isolation", &["'serializable'"]),
];

const PROBE: &str = "SELECT concat_ws(' | ', \
    current_setting('work_mem'), current_setting('timezone'), \
    current_setting('datestyle'), current_setting('search_path'), \
    current_setting('application_name'), current_setting('client_encoding'), \
    current_setting('standard_conforming_strings'), current_setting('intervalstyle'), \
    coalesce(current_setting('app.x', true), ''), current_setting('role'), session_user, \
    current_user, current_setting('default_transaction_isolation'), \
    '2026-01-01 00:00'::timestamptz, (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()))";

type Log = Rc<RefCell<Vec<String>>>;

/// One client, twice: direct and through the proxy.
struct Pair {
    name: String,
    /// What all clients of the program said.
    log: Log,
    direct: Raw,
    through: Raw,
    told: [BTreeMap<Vec<u8>, Vec<u8>>; 2],
    /// What the direct one was told last of its transaction.
    status: u8,
    /// Whether something pins it, perhaps.
    pins: bool,
    /// A statement that only `DISCARD ALL` makes undone.
    seals: bool,
    prepared: usize,
}

impl Pair {
    async fn login(fixture: &Fixture, direct_database: &str, name: &str, log: &Log) -> Self {
        let server = &fixture.database.address;
        let direct = (SocketAddr::new(server.host, server.port), direct_database);
        let through = (fixture.addr, fixture.database.name.as_str());
        let mut told = [BTreeMap::new(), BTreeMap::new()];
        let mut raws = Vec::new();
        for ((addr, database), told) in [direct, through].into_iter().zip(&mut told) {
            let mut raw = Raw::connect(addr).await;
            let owner = &fixture.database.owner;
            raw.startup(
                0,
                &[
                    (b"user", owner.user.as_bytes()),
                    (b"database", database.as_bytes()),
                    (b"application_name", name.as_bytes()),
                ],
            );
            let greeting = raw.authenticate(&owner.password).await;
            greeting.iter().for_each(|message| note(told, message));
            raws.push(raw);
        }
        let (through, direct) = (raws.pop(), raws.pop());
        Self {
            name: name.to_owned(),
            log: Rc::clone(log),
            direct: direct.expect("there are two"),
            through: through.expect("there are two"),
            told,
            status: b'I',
            pins: false,
            seals: false,
            prepared: 0,
        }
    }

    /// Runs what was put for the direct one on both, and compares.
    async fn run(&mut self, what: &str) {
        self.log.borrow_mut().push(format!("{:?}: {what}", self.name));
        self.through.out.clone_from(&self.direct.out);
        let mut answers = Vec::new();
        for (raw, told) in [&mut self.direct, &mut self.through].into_iter().zip(&mut self.told) {
            raw.send().await;
            let heard = raw.until_ready().await;
            heard.iter().for_each(|message| note(told, message));
            answers.push(heard.into_iter().filter_map(essence).collect::<Vec<_>>());
        }
        self.log.borrow_mut().push(format!("    {:?}", answers[0]));
        assert!(answers[1] == answers[0], "through: {:?}\n{}", answers[1], self.story());
        self.status = answers[0].last().expect("ReadyForQuery").body[0];
    }

    async fn query(&mut self, text: &str) {
        self.direct.query(text);
        self.run(text).await;
    }

    async fn probe(&mut self) {
        self.query(PROBE).await;
        assert_eq!(self.told[1], self.told[0], "told through and direct\n{}", self.story());
    }

    /// What was said lately, and what was answered direct.
    fn story(&self) -> String {
        let log = self.log.borrow();
        let lately = log[log.len().saturating_sub(80)..].join("\n");
        format!("{}\n{lately}", log[0])
    }
}

fn note(told: &mut BTreeMap<Vec<u8>, Vec<u8>>, message: &Message) {
    if message.tag == 'S' {
        let (name, value) = parameter(&message.body).expect("a parameter");
        told.insert(name.to_vec(), value.to_vec());
    }
}

fn essence(message: Message) -> Option<Message> {
    match message.tag {
        'N' | 'S' => None,
        'E' => Some(Message { tag: 'E', body: message.code().into_bytes() }),
        _ => Some(message),
    }
}

fn setting(random: &mut Random) -> String {
    let (name, values) = SETTINGS[random.below(SETTINGS.len())];
    let value = random.pick(values);
    let literal = if value.starts_with('\'') { value.to_owned() } else { format!("'{value}'") };
    match random.below(12) {
        0..=3 => format!("SET {name} = {value}"),
        4 => format!("SET SESSION {name} TO {value}"),
        5 => format!("SET LOCAL {name} = {value}"),
        6 | 7 => format!("RESET {name}"),
        8 => format!("SET {name} TO DEFAULT"),
        9 => format!("SELECT set_config('{name}', {literal}, false)"),
        10 => format!("SELECT set_config('{name}', {literal}, true)"),
        _ => format!("SET {name} = {value}; SELECT 1/(random() > 2)::int; SET app.x = 'y'"),
    }
}

const IDENTITY: [&str; 6] = [
    "SET ROLE helper",
    "SET LOCAL ROLE helper",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION helper",
    "RESET SESSION AUTHORIZATION",
    "SET ROLE nobody_at_all",
];

const PLAIN: [&str; 8] = [
    "RESET ALL",
    "DISCARD ALL",
    "SELECT 1/0",
    "SELECT 1",
    "SET TIME ZONE 'Europe/Paris'",
    "SET NAMES 'UTF8'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET work_mem = '9MB'; SELECT 1/0",
];

const TRANSACTION: [&str; 8] = [
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "BEGIN; SET app.x = 'in'; COMMIT",
];

const PINNING: [&str; 17] = [
    "CREATE TEMP TABLE tt (n int)",
    "CREATE TEMP TABLE tt (n int) ON COMMIT DROP",
    "INSERT INTO tt VALUES (1)",
    "SELECT count(*) FROM tt",
    "DROP TABLE tt",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 7'",
    "SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema()",
    "SELECT pg_advisory_lock_shared(5)",
    "SELECT pg_advisory_unlock_shared(5)",
    "SELECT pg_advisory_unlock_all()",
    "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 5)",
    "FETCH 2 FROM c",
    "CLOSE c",
    "PREPARE p AS SELECT set_config('app.x', 'prepared', false)",
    "EXECUTE p",
    "DEALLOCATE p",
    "DEALLOCATE ALL",
];

const SEALING: [&str; 2] = [
    "DO $$ BEGIN PERFORM set_config('app.x', 'do', false); END $$",
    "SELECT set_config(name, 'any', false) FROM (VALUES ('app.x')) AS v (name)",
];

/// Runs one step of a client's program.
async fn step(random: &mut Random, pair: &mut Pair) {
    match random.below(20) {
        0..=6 => pair.query(&setting(random)).await,
        7 => pair.query(random.pick(&IDENTITY)).await,
        8 => pair.query(random.pick(&PLAIN)).await,
        9..=12 => pair.query(random.pick(&TRANSACTION)).await,
        13..=15 => {
            pair.pins = true;
            pair.query(random.pick(&PINNING)).await;
        }
        16 => {
            (pair.pins, pair.seals) = (true, true);
            pair.query(random.pick(&SEALING)).await;
        }
        17 if pair.status != b'E' => {
            // The same text in every client: a constant that the time zone reads.
            pair.prepared += 1;
            let name = format!("n{}", pair.prepared);
            let text = "SELECT '2026-01-01 00:00'::timestamptz, current_setting('work_mem')";
            pair.direct.parse(&name, text).bind(&name).execute().sync();
            pair.run("a named statement").await;
        }
        17 | 18 => {
            let name = format!("n{}", random.below(pair.prepared + 1));
            pair.direct.describe(&name).sync();
            pair.run("a description").await;
        }
        _ => {
            let text = setting(random);
            if !text.contains(';') {
                pair.direct.parse("", &text).bind("").execute().sync();
                pair.run(&format!("{text} (extended)")).await;
            }
        }
    }
}

/// Ends what a client's turn has left open, so that it holds no server connection.
async fn end_turn(random: &mut Random, pair: &mut Pair) {
    if pair.status != b'I' {
        pair.query(random.pick(&["COMMIT", "ROLLBACK"])).await;
    }
    if std::mem::take(&mut pair.seals) {
        pair.query("DISCARD ALL").await;
    } else if std::mem::take(&mut pair.pins) {
        // Who made it may drop it.
        for text in
            ["RESET SESSION AUTHORIZATION", "SELECT pg_advisory_unlock_all()", "DISCARD TEMP"]
        {
            pair.query(text).await;
        }
        pair.query("CLOSE ALL").await;
        pair.query("DEALLOCATE ALL").await;
    }
    pair.pins = false;
}

async fn program(seed: u64, fixture: &Fixture, direct_database: &str, in_turns: bool) {
    let mut random = Random(seed);
    let log = Rc::new(RefCell::new(vec![format!("SEED={seed}")]));
    let mut pairs = Vec::new();
    for name in ["one", "two", ""] {
        let mut pair = Pair::login(fixture, direct_database, name, &log).await;
        pair.query("SET app.x = 'start'").await;
        pairs.push(pair);
    }
    for _ in 0..20 {
        let pair = &mut pairs[random.below(CLIENTS)];
        let steps = if in_turns { 1 + random.below(8) } else { 1 };
        for _ in 0..steps {
            step(&mut random, pair).await;
            if random.below(3) == 0 {
                pair.probe().await;
            }
        }
        if in_turns {
            end_turn(&mut random, pair).await;
        }
    }
    for pair in &mut pairs {
        end_turn(&mut random, pair).await;
        pair.probe().await;
    }
}

#[tokio::test]
async fn sessions_that_move_see_what_they_would_see_direct() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(12),
    };
    for in_turns in [true, false] {
        let count = if in_turns { 1 } else { u32::try_from(CLIENTS).expect("few") };
        let fixture = Fixture::start_with(Mode::Regulate, limit(count)).await;
        let superuser = testkit::connect(fixture.database.superuser_url()).await;
        let (owner, name) = (&fixture.database.owner.user, &fixture.database.name);
        let direct = format!("{name}_direct");
        for text in [
            format!("ALTER ROLE {owner} SUPERUSER"),
            format!("CREATE DATABASE {direct} TEMPLATE template0"),
            "DO $$ BEGIN CREATE ROLE helper; EXCEPTION WHEN duplicate_object THEN END $$".into(),
        ] {
            superuser.batch_execute(&text).await.expect("a superuser may");
        }
        for seed in seeds.clone().filter(|seed| (seed % 2 == 0) == in_turns) {
            program(seed, &fixture, &direct, in_turns).await;
        }
        fixture.end().await;
    }
}
