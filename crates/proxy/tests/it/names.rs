//! Names of prepared statements: which exist after errors, `DEALLOCATE` and SQL that uses them.

use proxy::Mode;
use wire::frontend::{self, tag};

use crate::compare::{Answers, Site, ask, compare, hear, query};
use crate::harness::{Fixture, limit};
use crate::raw::{Raw, first_value};

/// What a session that has prepared `z` says, step by step.
type Case = (&'static str, &'static [fn(&mut Raw) -> &mut Raw]);

fn use_z(raw: &mut Raw) -> &mut Raw {
    raw.bind("z").execute().sync()
}

fn use_unnamed(raw: &mut Raw) -> &mut Raw {
    raw.bind("").execute().sync()
}

fn parse_unnamed(raw: &mut Raw) -> &mut Raw {
    raw.parse("", "SELECT 'U'").sync()
}

/// A message of any body, and `Sync`.
fn put_raw<'a>(raw: &'a mut Raw, kind: u8, body: &[u8]) -> &'a mut Raw {
    wire::frame::put(&mut raw.out, kind, |out| out.extend_from_slice(body));
    raw.sync()
}

const BEHIND_ERRORS: [Case; 22] = [
    ("close discarded", &[|raw| raw.parse("", "SELEC").close("z").sync(), use_z]),
    (
        "close and parse discarded",
        &[|raw| raw.parse("", "SELEC").close("z").parse("z", "SELECT 'B'").sync(), use_z],
    ),
    ("duplicate discarded", &[|raw| raw.parse("", "SELEC").parse("z", "SELECT 'B'").sync(), use_z]),
    ("duplicate", &[|raw| raw.parse("z", "SELECT 'B'").sync(), use_z]),
    ("duplicate of the same text", &[|raw| raw.parse("z", "SELECT 'A'").sync(), use_z]),
    ("duplicate of bad SQL", &[|raw| raw.parse("z", "SELEC").sync(), use_z]),
    ("duplicate of no table", &[|raw| raw.parse("z", "SELECT * FROM none").sync(), use_z]),
    ("duplicate of two", &[|raw| raw.parse("z", "SELECT 1; SELECT 2").sync(), use_z]),
    (
        "duplicate in one batch",
        &[
            |raw| raw.parse("n", "SELECT 1").parse("n", "SELECT 2").sync(),
            |raw| raw.bind("n").execute().sync(),
        ],
    ),
    (
        "duplicate in a transaction",
        &[
            |raw| raw.query("BEGIN").query("SELECT 1").parse("z", "SELECT 2").sync(),
            use_z,
            |raw| raw.query("ROLLBACK"),
            use_z,
        ],
    ),
    (
        "new discarded, then parsed",
        &[
            |raw| raw.parse("", "SELEC").parse("n", "SELECT 'B'").sync(),
            |raw| raw.parse("n", "SELECT 'C'").bind("n").execute().sync(),
        ],
    ),
    (
        "failed, bound, parsed",
        &[
            |raw| raw.parse("n", "SELEC").sync(),
            |raw| raw.bind("n").execute().sync(),
            |raw| raw.parse("n", "SELECT 'C'").bind("n").execute().sync(),
        ],
    ),
    ("closed, failed", &[|raw| raw.close("z").parse("z", "SELEC").sync(), use_z]),
    ("next batch", &[|raw| raw.parse("", "SELEC").close("z").sync().bind("z").execute().sync()]),
    (
        "execution fails, closed and parsed in the next",
        &[|raw| {
            raw.parse("", "SELECT 1/0").bind("").execute().parse("q", "SELECT 3").sync();
            raw.close("q").parse("q", "SELECT 4").bind("q").execute().sync()
        }],
    ),
    (
        "unnamed replaced behind an error",
        &[parse_unnamed, |raw| {
            raw.bind("no").parse("", "SELECT 'V'").sync().bind("").execute().sync()
        }],
    ),
    ("unnamed fails", &[parse_unnamed, |raw| raw.parse("", "SELEC").sync(), use_unnamed]),
    ("unnamed, simple query between", &[parse_unnamed, |raw| raw.query("SELECT 1"), use_unnamed]),
    (
        "unnamed, block between",
        &[parse_unnamed, |raw| raw.query("BEGIN").query("COMMIT"), use_unnamed],
    ),
    ("unnamed, closed", &[parse_unnamed, |raw| raw.close("").sync(), use_unnamed]),
    (
        "unnamed, DEALLOCATE ALL",
        &[
            parse_unnamed,
            |raw| raw.parse("d", "DEALLOCATE ALL").bind("d").execute().sync(),
            use_unnamed,
        ],
    ),
    (
        "nothing to describe",
        &[|raw| {
            raw.describe("no").sync().describe("").sync().describe_portal().sync();
            raw.execute().sync().close("no").sync()
        }],
    ),
];

#[tokio::test]
async fn names_behind_an_error_are_as_without_a_proxy() {
    compare(2, async |site: &Site| run(site, &BEHIND_ERRORS).await).await;
}

async fn run(site: &Site, cases: &[Case]) -> Answers {
    let mut answers = Vec::new();
    for (name, steps) in cases {
        let mut raw = site.login().await;
        raw.parse("z", "SELECT 'A'").sync();
        let mut shown = vec![ask(&mut raw).await];
        for step in *steps {
            step(&mut raw);
            shown.push(ask(&mut raw).await);
        }
        shown.push(query(&mut raw, "SELECT 'alive'").await);
        answers.push(((*name).to_owned(), shown.join(" | ")));
    }
    answers
}

const MALFORMED: [Case; 9] = [
    ("Parse without end", &[|raw| put_raw(raw, tag::PARSE, b"n\0SELECT 1"), use_z]),
    ("Parse without types", &[|raw| put_raw(raw, tag::PARSE, b"n\0SELECT 1\0")]),
    (
        "Parse with too few types",
        &[|raw| put_raw(raw, tag::PARSE, b"n\0SELECT 1\0\0\x02\0\0\0\x17"), use_z],
    ),
    (
        "Parse with something behind",
        &[
            |raw| put_raw(raw, tag::PARSE, b"n\0SELECT 1\0\0\0xx"),
            |raw| raw.bind("n").execute().sync(),
        ],
    ),
    ("Describe of what", &[|raw| put_raw(raw, tag::DESCRIBE, b"Xz\0"), use_z]),
    ("Describe without end", &[|raw| put_raw(raw, tag::DESCRIBE, b"Sz"), use_z]),
    ("Close of what", &[|raw| put_raw(raw, tag::CLOSE, b"Xz\0"), use_z]),
    ("Close with something behind", &[|raw| put_raw(raw, tag::CLOSE, b"Sz\0x"), use_z]),
    ("Bind without counts", &[|raw| put_raw(raw, tag::BIND, b"\0z\0"), use_z]),
];

#[tokio::test]
async fn malformed_messages_are_errors_and_the_session_lives_on() {
    compare(2, async |site: &Site| run(site, &MALFORMED).await).await;
}

/// Forms of `DEALLOCATE` and SQL that uses a statement of the protocol, as simple queries.
const SIMPLE: [&[&str]; 36] = [
    &["DEALLOCATE z"],
    &["deallocate \"z\";"],
    &["DEALLOCATE Z"],
    &["DEALLOCATE \"Z\""],
    &["DEALLOCATE PREPARE z"],
    &["/* app:x */ DEALLOCATE z"],
    &["DEALLOCATE z /* app:x */"],
    &["DEALLOCATE z -- bye"],
    &["DEALLOCATE U&\"\\007a\""],
    &["DEALLOCATE z; SELECT 1"],
    &["SELECT 1; DEALLOCATE z"],
    &["SELECT 1/0; DEALLOCATE z"],
    &["DEALLOCATE z; SELECT 1/0"],
    &["ROLLBACK; DEALLOCATE z"],
    &["DEALLOCATE ALL"],
    &["DEALLOCATE \"all\""],
    &["DEALLOCATE ALL /* x */"],
    &["ROLLBACK; DEALLOCATE ALL"],
    &["DISCARD ALL"],
    &["/* x */ DISCARD ALL"],
    &["DISCARD PLANS"],
    &["DEALLOCATE none"],
    &["BEGIN", "DEALLOCATE z", "ROLLBACK"],
    &["BEGIN", "DISCARD ALL", "SELECT 1", "ROLLBACK"],
    &["BEGIN", "DEALLOCATE ALL", "SELECT 1", "COMMIT"],
    &[
        "SET work_mem = '99kB'",
        "BEGIN",
        "DISCARD ALL",
        "SHOW work_mem",
        "ROLLBACK",
        "SHOW work_mem",
    ],
    &["BEGIN", "SELECT 1", "DEALLOCATE z", "ROLLBACK"],
    &["BEGIN", "SELEC", "DEALLOCATE z", "ROLLBACK"],
    &["EXECUTE z"],
    &["EXECUTE \"z\""],
    &["EXECUTE z; EXECUTE z"],
    &["BEGIN", "EXECUTE z", "COMMIT"],
    &["EXPLAIN (COSTS OFF) EXECUTE z"],
    &["CREATE TABLE made AS EXECUTE z", "SELECT * FROM made", "DROP TABLE made"],
    &["PREPARE y AS SELECT 5", "EXECUTE y", "DEALLOCATE y", "EXECUTE y"],
    &["SELECT name, statement, from_sql FROM pg_prepared_statements"],
];

/// A session that has prepared `z`.
async fn with_z(site: &Site) -> Raw {
    let mut raw = site.login().await;
    raw.parse("z", "SELECT 'A'").sync();
    ask(&mut raw).await;
    raw
}

async fn deallocate(site: &Site, simple: bool) -> Answers {
    let mut answers = Vec::new();
    for texts in SIMPLE {
        let (mut raw, mut other) = (with_z(site).await, with_z(site).await);
        let mut shown = Vec::new();
        for text in texts {
            match simple {
                true => raw.query(text),
                false => raw.parse("", text).bind("").execute().sync(),
            };
            shown.push(ask(&mut raw).await);
        }
        for raw in [&mut raw, &mut other] {
            use_z(raw);
            shown.push(ask(raw).await);
        }
        raw.parse("z", "SELECT 'again'").bind("z").execute().sync();
        shown.push(ask(&mut raw).await);
        shown.push(query(&mut raw, "SELECT count(*) FROM pg_prepared_statements").await);
        answers.push((format!("{texts:?} {simple}"), shown.join(" | ")));
    }
    answers
}

#[tokio::test]
async fn deallocate_and_execute_by_simple_queries() {
    compare(2, async |site: &Site| deallocate(site, true).await).await;
}

#[tokio::test]
async fn deallocate_and_execute_by_the_extended_protocol() {
    compare(2, async |site: &Site| deallocate(site, false).await).await;
}

#[tokio::test]
async fn deallocate_and_parse_again_in_one_write() {
    compare(2, async |site: &Site| {
        let mut raw = site.login().await;
        raw.parse("z", "SELECT 'A'").sync().query("DEALLOCATE z");
        raw.parse("z", "SELECT 'B'").bind("z").execute().sync();
        raw.query("EXECUTE z").query("DEALLOCATE ALL").bind("z").sync();
        vec![("in one write".to_owned(), ask(&mut raw).await)]
    })
    .await;
}

/// What SQL and the protocol prepare by the same names.
const BOTH: [&[&str]; 9] = [
    &["PREPARE z AS SELECT 'B'", "EXECUTE z", "DEALLOCATE z", "EXECUTE z"],
    &["/* x */ prepare \"z\" as SELECT 'B'", "EXECUTE z"],
    &["PREPARE y AS SELECT 'B'", "PREPARE y AS SELECT 'C'", "EXECUTE y", "DEALLOCATE y"],
    &["BEGIN", "PREPARE z AS SELECT 'B'", "ROLLBACK", "EXECUTE z"],
    &["BEGIN", "PREPARE y AS SELECT 'B'", "ROLLBACK", "EXECUTE y", "PREPARE y AS SELECT 1"],
    &["SELECT 1/0; PREPARE z AS SELECT 'B'", "PREPARE z (int) AS SELECT $1", "EXECUTE z (1)"],
    &["DEALLOCATE z; PREPARE z AS SELECT 'B'", "EXECUTE z", "DEALLOCATE ALL"],
    &["DEALLOCATE z", "PREPARE z AS SELECT 'B'", "EXECUTE z", "DISCARD ALL", "EXECUTE z"],
    &["PREPARE a AS SELECT 1", "PREPARE \"A\" AS SELECT 2", "EXECUTE a", "DEALLOCATE ALL"],
];

/// A `Query` ends a batch without `Sync`; if a message of the batch fails, it is discarded.
#[tokio::test]
async fn a_query_behind_a_batch_without_sync() {
    compare(1, async |site: &Site| {
        let mut answers = Vec::new();
        for text in
            ["SELECT 42", "SELECT set_config('app.x', '1', false)", "CREATE TEMP TABLE x ()"]
        {
            for parsed in ["SELEC", "SELECT 1"] {
                let mut raw = site.login().await;
                raw.parse("q", parsed).query(text);
                raw.send().await;
                let first = hear(&mut raw, usize::from(parsed != "SELEC")).await;
                raw.sync();
                let last = ask(&mut raw).await;
                let next = query(&mut raw, "SELECT current_setting('app.x', true)").await;
                answers.push((format!("{parsed}, {text}"), format!("{first} | {last} | {next}")));
            }
        }
        answers
    })
    .await;
}

#[tokio::test]
async fn sql_and_the_protocol_share_their_names() {
    compare(2, async |site: &Site| {
        let mut answers = Vec::new();
        for texts in BOTH {
            let (mut raw, mut other) = (with_z(site).await, with_z(site).await);
            let mut shown = Vec::new();
            for text in texts {
                shown.push(query(&mut raw, text).await);
                for name in ["y", "z"] {
                    raw.parse(name, "SELECT 'protocol'").sync();
                    shown.push(ask(&mut raw).await);
                }
                use_z(&mut raw);
                use_z(&mut other);
                shown.extend([ask(&mut raw).await, ask(&mut other).await]);
                raw.close("y").sync();
                shown.push(ask(&mut raw).await);
            }
            answers.push((format!("{texts:?}"), shown.join(" | ")));
        }
        answers
    })
    .await;
}

/// Names of any length and kind, the proxy's own among them.
const NAMES: [&str; 7] =
    ["surgetank_1", "surgetank_2", "s0", "S 1", "a\"b", "é", "'; DROP TABLE t; --"];

#[tokio::test]
async fn names_of_any_kind_are_the_sessions_own() {
    compare(1, async |site: &Site| {
        let mut answers = Vec::new();
        let (mut one, mut two) = (site.login().await, site.login().await);
        let long = "n".repeat(70);
        let cut = &long[..63];
        for name in NAMES.into_iter().chain([long.as_str()]) {
            one.parse(name, "SELECT 'one'").bind(name).execute().sync();
            two.parse(name, "SELECT 'two'").bind(name).execute().sync();
            let mut shown = vec![ask(&mut one).await, ask(&mut two).await];
            let quoted = name.replace('"', "\"\"");
            for raw in [&mut one, &mut two] {
                shown.push(query(raw, &format!("EXECUTE \"{quoted}\"")).await);
            }
            one.bind(cut).execute().sync();
            shown.push(ask(&mut one).await);
            one.parse(cut, "SELECT 'cut'").sync();
            shown.push(ask(&mut one).await);
            let list = "SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY 1";
            shown.push(query(&mut one, list).await);
            shown.push(query(&mut one, &format!("DEALLOCATE \"{quoted}\"")).await);
            one.bind(name).sync();
            two.bind(name).execute().sync();
            shown.extend([ask(&mut one).await, ask(&mut two).await]);
            one.close(cut).sync();
            shown.push(ask(&mut one).await);
            answers.push((name.to_owned(), shown.join(" | ")));
        }
        answers
    })
    .await;
}

#[tokio::test]
async fn failed_parses_do_not_end_a_session() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let mut raw = Raw::login(&fixture).await;
    for round in 0..=100 {
        for number in 0..100 {
            let name = format!("n{round}_{number}");
            raw.parse(&name, "SELEC").sync();
        }
        raw.send().await;
        for _ in 0..100 {
            let heard = raw.until_ready().await;
            assert_eq!(heard[0].code(), "42601", "{round}");
        }
    }
    raw.parse("n0_0", "SELECT 'here'").bind("n0_0");
    frontend::Execute { portal: b"", max_rows: 0 }.put(&mut raw.out);
    raw.sync().send().await;
    assert_eq!(first_value(&raw.until_ready().await), "here");
    let count = raw.value("SELECT count(*) FROM pg_prepared_statements").await;
    assert_eq!(count, "1");
    drop(raw);
    fixture.end().await;
}
