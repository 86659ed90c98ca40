//! What a statement does to its session by functions that it reaches: the session keeps it, and
//! nobody else sees it.

use proxy::Mode;

use crate::compare::{Site, compare, compare_after, hear, query};
use crate::harness::{Fixture, SOON, limit};
use crate::raw::Raw;

/// What functions do, by the names of those that do it.
const EFFECTS: [(&str, &str); 6] = [
    ("temp", "CREATE TEMP TABLE IF NOT EXISTS x1 (n int)"),
    ("lock", "PERFORM pg_advisory_lock(5)"),
    ("hold", "EXECUTE 'DECLARE h CURSOR WITH HOLD FOR SELECT 1'"),
    ("setting", "SET work_mem = '7MB'"),
    ("config", "PERFORM set_config('work_mem', '7MB', false)"),
    ("ears", "EXECUTE 'LISTEN c'"),
];

/// How a function is reached: what is made for it, and the statement. `%` stands for the effect,
/// `@` for an operator of its own.
const WAYS: [(&str, &str, &str); 13] = [
    ("function", "", "SELECT f_%()"),
    ("quoted", "", "SELECT \"public\" . \"f_%\" ()"),
    (
        "another function",
        "CREATE FUNCTION g_%() RETURNS int LANGUAGE sql AS 'SELECT f_%()'",
        "SELECT g_%()",
    ),
    ("view", "CREATE VIEW v_% AS SELECT f_%() AS n", "SELECT * FROM v_%"),
    (
        "view of a view",
        "CREATE VIEW v_% AS SELECT f_%() AS n; CREATE VIEW w_% AS SELECT * FROM v_%",
        "SELECT * FROM w_%",
    ),
    ("column default", "CREATE TABLE t_% (n int DEFAULT f_%())", "INSERT INTO t_% DEFAULT VALUES"),
    (
        "trigger",
        "CREATE FUNCTION fire_%() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN PERFORM f_%(); RETURN new; END$$; CREATE TABLE t_% (n int); \
         CREATE TRIGGER fire BEFORE INSERT ON t_% FOR EACH ROW EXECUTE FUNCTION fire_%()",
        "INSERT INTO t_% VALUES (1)",
    ),
    (
        "trigger behind a foreign key",
        "CREATE FUNCTION fire_%() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN PERFORM f_%(); RETURN old; END$$; CREATE TABLE p_% (n int PRIMARY KEY); \
         CREATE TABLE t_% (n int REFERENCES p_% ON DELETE CASCADE); \
         INSERT INTO p_% VALUES (1); INSERT INTO t_% VALUES (1); \
         CREATE TRIGGER fire BEFORE DELETE ON t_% FOR EACH ROW EXECUTE FUNCTION fire_%()",
        "DELETE FROM p_%",
    ),
    ("domain check", "CREATE DOMAIN d_% AS int CHECK (f_%() + value > 0)", "SELECT 1::d_%"),
    (
        "table with a domain",
        "CREATE DOMAIN d_% AS int CHECK (f_%() + value > 0); CREATE TABLE t_% (n d_%)",
        "INSERT INTO t_% VALUES (1)",
    ),
    (
        "operator",
        "CREATE FUNCTION o_%(int, int) RETURNS int LANGUAGE plpgsql AS \
         $$BEGIN RETURN f_%(); END$$; \
         CREATE OPERATOR <@> (LEFTARG = int, RIGHTARG = int, FUNCTION = o_%)",
        "SELECT 1 <@> 2",
    ),
    (
        "check constraint",
        "CREATE TABLE t_% (n int CHECK (f_%() + n > 0))",
        "INSERT INTO t_% VALUES (1)",
    ),
    (
        "policy",
        "CREATE TABLE t_% (n int); INSERT INTO t_% VALUES (1); \
         ALTER TABLE t_% ENABLE ROW LEVEL SECURITY; ALTER TABLE t_% FORCE ROW LEVEL SECURITY; \
         CREATE POLICY p_% ON t_% USING (f_%() > 0)",
        "SELECT * FROM t_%",
    ),
];

/// What a session can see of all these effects.
const PROBE: &str = "SELECT (SELECT count(*) FROM pg_class WHERE relname = 'x1' \
    AND relnamespace = pg_my_temp_schema()), \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
    (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
    current_setting('work_mem'), nullif(current_setting('app.x', true), ''), \
    (SELECT count(*) FROM pg_listening_channels())";

/// What is left after some statements: in the session, beside it, and for the next.
async fn left(site: &Site, texts: &[&str]) -> String {
    let mut maker = site.login().await;
    let mut shown = Vec::new();
    for text in texts {
        shown.push(query(&mut maker, text).await);
    }
    // Takes the connection, if it was given back.
    let mut other = site.login().await;
    query(&mut other, "BEGIN; SELECT 1").await;
    shown.push(format!("own {}", query(&mut maker, PROBE).await));
    shown.push(format!("other {}", query(&mut other, PROBE).await));
    query(&mut other, "ROLLBACK").await;
    shown.push(format!("own again {}", query(&mut maker, PROBE).await));
    drop((maker, other));
    let mut next = site.login().await;
    shown.push(format!("next {}", query(&mut next, PROBE).await));
    shown.join(" | ")
}

/// Puts an effect into a text.
fn of_effect(text: &str, index: usize) -> String {
    text.replace('%', EFFECTS[index].0).replace('@', &"#".repeat(index + 1))
}

/// The functions of all effects for one way to reach them.
fn functions(setup: &str) -> String {
    let one = |index: usize| {
        let body = EFFECTS[index].1;
        let function = "CREATE FUNCTION f_%() RETURNS int LANGUAGE plpgsql AS";
        let text = format!("{function} $$BEGIN {body}; RETURN 1; END$$; {setup};");
        of_effect(&text, index)
    };
    (0..EFFECTS.len()).map(one).collect()
}

async fn through_functions(ways: &[(&str, &str, &str)]) {
    for (way, setup, text) in ways {
        compare_after(&functions(setup), 2, async |site: &Site| {
            let mut answers = Vec::new();
            for (index, (effect, _)) in EFFECTS.iter().enumerate() {
                let found = left(site, &["SELECT 1", &of_effect(text, index)]).await;
                answers.push((format!("{way}, {effect}"), found));
            }
            answers
        })
        .await;
    }
}

#[tokio::test]
async fn effects_of_functions_are_the_sessions_own() {
    through_functions(&WAYS[..6]).await;
}

#[tokio::test]
async fn effects_of_functions_that_no_text_names_are_the_sessions_own() {
    through_functions(&WAYS[6..]).await;
}

/// Statements that say in their own words, or in those of others, what they do.
const STATEMENTS: [&[&str]; 36] = [
    &["DO $$BEGIN CREATE TEMP TABLE x1 (n int); END$$"],
    &["DO $$BEGIN PERFORM pg_advisory_lock(5); END$$"],
    &["DO $$BEGIN PERFORM set_config('app.x', '7', false); END$$"],
    &["DO $$BEGIN EXECUTE 'SET work' || '_mem = ''7MB'''; END$$"],
    &["DO LANGUAGE plpgsql 'BEGIN EXECUTE ''LISTEN c''; END'"],
    &["CALL p()"],
    &["CALL q()"],
    &["CALL \"public\".p()"],
    &["BEGIN", "CALL q()", "COMMIT"],
    &["BEGIN", "CALL q()", "ROLLBACK"],
    &["SELECT sql_lock()"],
    &["SELECT \"pg_advisory_lock\"(5)"],
    &["SELECT pg_catalog.\"pg_advisory_lock\"(5)"],
    &["SELECT \"pg_catalog\" . pg_advisory_lock (5)"],
    &["SELECT U&\"pg\\005fadvisory_lock\"(5)"],
    &["SELECT pg_try_advisory_lock_shared(6)"],
    &["SELECT set_config('app.x', '7', NOT true)"],
    &["SELECT set_config('work_mem', '7MB', 1 = 2)"],
    &["SELECT set_config('work' || '_mem', '7MB', false)"],
    &["SELECT \"set_config\"('work_mem', '7MB', 'f')"],
    &["SELECT set_config(n, '7MB', false) FROM (VALUES ('work_mem')) AS v (n)"],
    &["SELECT 1 AS n INTO TEMP x1"],
    &["SELECT 1 AS n INTO pg_temp.x1"],
    &["SELECT 1 AS n INTO TABLE \"pg_temp\".x1"],
    &["WITH q AS (SELECT 1 AS n) SELECT n INTO TEMPORARY TABLE x1 FROM q"],
    &["EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) \
         CREATE TEMP TABLE x1 AS SELECT 1 AS n"],
    &["EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT pg_advisory_lock(5)"],
    &["SET search_path = pg_temp, public; CREATE TABLE x1 (n int)"],
    &["CREATE VIEW pg_temp.x1 AS SELECT 1 AS n"],
    &["/* a */ CREATE /* b */ TEMP /* c */ TABLE x1 (n int)"],
    &["PREPARE w AS SELECT 1; CREATE TEMP TABLE x1 AS EXECUTE w"],
    &["CREATE TEMP SEQUENCE x1"],
    &["COPY (SELECT pg_advisory_lock(5)) TO STDOUT"],
    &["SELECT query_to_xml('SELECT pg_advisory_lock(5)', true, false, '')"],
    &["SET standard_conforming_strings = off", "SELECT '\\'', pg_advisory_lock(5), '\\''"],
    &["SET standard_conforming_strings = off; SELECT '\\'', set_config('app.x', '7', false), \
         '\\''"],
];

const SETUP: &str = "CREATE PROCEDURE p() LANGUAGE plpgsql AS \
     $$BEGIN CREATE TEMP TABLE x1 (n int); END$$; \
     CREATE PROCEDURE q() LANGUAGE plpgsql AS \
     $$BEGIN PERFORM pg_advisory_lock(5); PERFORM set_config('work_mem', '7MB', false); END$$; \
     CREATE FUNCTION sql_lock() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(5)'; \
     CREATE FUNCTION some_locks(n int) RETURNS int LANGUAGE plpgsql AS \
     $$BEGIN IF n > 1 THEN PERFORM pg_advisory_lock(n); END IF; RETURN n; END$$; \
     CREATE FUNCTION later() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
     CREATE TABLE plain (n int); INSERT INTO plain VALUES (1)";

#[tokio::test]
async fn effects_of_statements_are_the_sessions_own() {
    compare_after(SETUP, 2, async |site: &Site| {
        let mut answers = Vec::new();
        for texts in STATEMENTS {
            answers.push((format!("{texts:?}"), left(site, texts).await));
        }
        answers
    })
    .await;
}

/// Functions that are called by their numbers, with their arguments as text.
const CALLS: [(&str, &[&str]); 4] = [
    ("pg_advisory_lock(bigint)", &["5"]),
    ("set_config(text, text, boolean)", &["work_mem", "7MB", "f"]),
    ("set_config(text, text, boolean)", &["app.x", "7", "f"]),
    ("pg_advisory_unlock_all()", &[]),
];

/// `FunctionCall` (manual §55.7), all arguments and the result as text.
fn put_function_call(raw: &mut Raw, oid: i32, arguments: &[&str]) {
    wire::frame::put(&mut raw.out, wire::frontend::tag::FUNCTION_CALL, |out| {
        out.extend_from_slice(&oid.to_be_bytes());
        out.extend_from_slice(&0_i16.to_be_bytes());
        out.extend_from_slice(&i16::try_from(arguments.len()).expect("few").to_be_bytes());
        for argument in arguments {
            out.extend_from_slice(&i32::try_from(argument.len()).expect("short").to_be_bytes());
            out.extend_from_slice(argument.as_bytes());
        }
        out.extend_from_slice(&0_i16.to_be_bytes());
    });
}

#[tokio::test]
async fn effects_of_functions_called_by_number_are_the_sessions_own() {
    for count in [1, 2] {
        compare(count, async |site: &Site| {
            let mut answers = Vec::new();
            for (function, arguments) in CALLS {
                let (mut maker, mut other) = (site.login().await, site.login().await);
                let oid = maker.value(&format!("SELECT '{function}'::regprocedure::oid")).await;
                put_function_call(&mut maker, oid.parse().expect("a number"), arguments);
                maker.send().await;
                let mut shown = vec![hear(&mut maker, 1).await];
                // Where there is one connection, a pinned session leaves the other nothing.
                let is_pinned = count == 1 && !function.starts_with("pg_advisory_unlock");
                if !is_pinned {
                    shown.push(query(&mut other, PROBE).await);
                }
                shown.push(query(&mut maker, PROBE).await);
                drop(maker);
                shown.push(query(&mut other, PROBE).await);
                answers.push((format!("{function} {arguments:?}"), shown.join(" | ")));
            }
            answers
        })
        .await;
    }
}

const LOCK: &str = "CREATE OR REPLACE FUNCTION later() RETURNS int LANGUAGE plpgsql AS \
                    $$BEGIN PERFORM pg_advisory_lock(5); RETURN 1; END$$";
const TRIGGER: &str = "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS \
                       $$BEGIN PERFORM pg_advisory_lock(5); RETURN new; END$$; \
                       CREATE TRIGGER fire BEFORE INSERT ON plain \
                       FOR EACH ROW EXECUTE FUNCTION fire()";
const RULE: &str = "ALTER TABLE plain RENAME TO base; \
                    CREATE VIEW plain AS SELECT n, pg_advisory_lock(5)::text FROM base";

/// What a statement does, and what changes what it does.
const CHANGES: [(&str, &str); 4] = [
    ("SELECT later()", LOCK),
    ("SELECT later(), count(*) FROM plain", LOCK),
    ("INSERT INTO plain VALUES (2)", TRIGGER),
    ("SELECT * FROM plain LIMIT 1", RULE),
];

#[tokio::test]
async fn a_function_that_has_effects_only_sometimes_is_asked_about_each_time() {
    compare_after(SETUP, 2, async |site: &Site| {
        let mut texts = vec!["SELECT some_locks(1)"; 5];
        texts.push("SELECT some_locks(2)");
        vec![("some".to_owned(), left(site, &texts).await)]
    })
    .await;
}

#[tokio::test]
async fn what_is_replaced_through_the_proxy_is_noticed_at_once() {
    for (text, change) in CHANGES {
        for by_other in [false, true] {
            compare_after(SETUP, 2, async |site: &Site| {
                let mut before = site.login().await;
                for _ in 0..5 {
                    query(&mut before, text).await;
                }
                let found = match by_other {
                    false => left(site, &[text, text, change, text]).await,
                    true => {
                        query(&mut before, change).await;
                        left(site, &[text]).await
                    }
                };
                vec![(format!("{text}, by another {by_other}"), found)]
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_function_that_is_replaced_behind_the_proxy_is_noticed_at_once() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let direct = fixture.database.connect().await;
    direct.batch_execute(SETUP).await.unwrap();
    let (mut one, mut two) = (Raw::login(&fixture).await, Raw::login(&fixture).await);
    for _ in 0..5 {
        assert_eq!(one.value("SELECT later()").await, "1");
        assert_eq!(two.value("SELECT later()").await, "1");
    }
    direct.batch_execute(LOCK).await.unwrap();
    assert_eq!(one.value("SELECT later()").await, "1");
    let own = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
               AND pid = pg_backend_pid()";
    assert_eq!(one.value(own).await, "1");
    assert_eq!(fixture.pins(), [trace::PinCause::AdvisoryLock]);
    one.query("SELECT pg_advisory_unlock_all()").tags().await;
    assert_eq!(two.value(own).await, "0");
    drop((one, two, direct));
    fixture.end().await;
}

/// Statements that use built-in functions only.
const BUILT_IN: [&str; 5] = [
    "SELECT n FROM plain WHERE n = 1",
    "SELECT count(*), max(n), now() FROM plain",
    "UPDATE plain SET n = n + 1 WHERE n < 0",
    "INSERT INTO plain SELECT n FROM plain WHERE n < 0",
    "SELECT lower('A') || 'b', coalesce(NULL, 1)",
];

#[tokio::test]
async fn statements_of_built_in_functions_are_asked_about_no_more_once_known() {
    let postgres = testkit::postgres_with(&[("log_statement", "all")]).await;
    let fixture = Fixture::on(postgres.into(), Mode::Regulate, limit(1)).await;
    let direct = fixture.database.connect().await;
    direct.batch_execute(SETUP).await.unwrap();
    let mut raw = Raw::login(&fixture).await;
    // Questions begin with a letter that says what is asked.
    let log = fixture.postgres.cluster().log_path().to_owned();
    let count = || {
        let text = std::fs::read(&log).expect("the log");
        let text = String::from_utf8_lossy(&text).into_owned();
        text.matches("SELECT '").count() - text.matches("SELECT 'mark").count()
    };
    let round = async |raw: &mut Raw, texts: &[&str]| {
        let before = count();
        for text in texts {
            raw.query(text).tags().await;
            raw.parse("", text).bind("").execute().sync().tags().await;
        }
        // What is asked behind the last is there when this is answered.
        raw.query("SELECT 'mark'").tags().await;
        count() - before
    };
    let deadline = tokio::time::Instant::now() + SOON;
    while round(&mut raw, &BUILT_IN).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "they are asked about for ever");
    }
    for _ in 0..5 {
        assert_eq!(round(&mut raw, &BUILT_IN).await, 0);
    }
    // The count can see what it should not: a function of the user's is always asked about.
    assert!(round(&mut raw, &["SELECT later()"]).await > 0);
    drop((raw, direct));
    fixture.end().await;
}
