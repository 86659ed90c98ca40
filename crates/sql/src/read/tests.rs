//! What is equal, what is not, and what each statement is.

use proptest::prelude::*;

use super::{fingerprint, read};
use crate::{Effects, Kind, SessionEffect, normalise};

#[track_caller]
fn same(texts: &[&str]) {
    for pair in texts.windows(2) {
        assert_eq!(fingerprint(pair[0]), fingerprint(pair[1]), "{pair:?}");
    }
}

#[track_caller]
fn different(texts: &[&str]) {
    for (index, one) in texts.iter().enumerate() {
        for other in &texts[index + 1..] {
            assert_ne!(fingerprint(one), fingerprint(other), "{one} / {other}");
        }
    }
}

#[test]
fn data_space_comments_and_case_do_not_count() {
    same(&[
        "SELECT * FROM t WHERE a = 1 AND b = 'x'",
        "select *\n\tfrom T where A=$1 and b = $2;",
        "/* c */ SELECT * FROM t -- d\n WHERE a = -1.5e3 AND b = E'\\'' ; ;",
        ";SELECT * FROM t WHERE a = $7 AND b = $$x$$ /*action='x'*/",
        "SELECT * FROM t WHERE a = NULL AND b = true",
    ]);
}

#[test]
fn lists_of_literals_collapse() {
    same(&[
        "SELECT 1 FROM t WHERE a IN (1)",
        "SELECT 1 FROM t WHERE a IN (1, 2, -3)",
        "SELECT 1 FROM t WHERE a in ($1,$2)",
        "SELECT 1 FROM t WHERE a IN ($1::int, $2::int)",
        "SELECT 1 FROM t WHERE a IN ('a'::numeric(10, 2)[], NULL)",
        "SELECT 1 FROM t WHERE a IN (date 'a', - interval 'b')",
    ]);
    same(&[
        "INSERT INTO t (a, b) VALUES (1, 'x')",
        "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4)",
        "INSERT INTO t (a, b) VALUES (1, DEFAULT), (2, 'y') , (3, NULL)"
            .replace("DEFAULT", "'z'")
            .as_str(),
    ]);
    same(&["SELECT ARRAY[1,2]", "SELECT ARRAY[$1]"]);
}

#[test]
fn what_differs_is_told_apart() {
    different(&[
        "SELECT a FROM t",
        "SELECT b FROM t",
        "SELECT \"A\" FROM t",
        "SELECT a, 1 FROM t",
        "SELECT a, 1, 2 FROM t",
        "SELECT -a FROM t",
        "SELECT a FROM t WHERE b IN (1, c)",
        "SELECT a FROM t WHERE b IN (SELECT 1)",
        "SELECT a FROM t WHERE b IS NULL",
        "SELECT a FROM t WHERE b = NULL",
        "SELECT a FROM t; SELECT a FROM t",
        "SELECT f(1)",
        "SELECT f(1, 2)",
        "SELECT a - 1",
        "SELECT a + 1",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1, 2)",
        "INSERT INTO t VALUES (1, now())",
        "SELECT ab",
        "SELECT a b",
        "",
    ]);
}

/// Left: what an app sends; right: what PostgreSQL 15's `pg_stat_statements` keeps of it.
#[test]
fn agrees_with_pg_stat_statements() {
    same(&["SELECT x -1, -1, - 1 FROM t", "SELECT x -$1, $2, $3 FROM t"]);
    same(&["SELECT date '2026-01-01' + interval '1 day'", "SELECT date $1 + interval $2"]);
    same(&["SELECT '1'::int, CAST('2' AS text)", "SELECT $1::int, CAST($2 AS text)"]);
    same(&[
        "SELECT a FROM t WHERE b = true AND c IS NULL",
        "SELECT a FROM t WHERE b = $1 AND c IS NULL",
    ]);
    same(&["SELECT 'a'\n'b', 2 LIMIT 10", "SELECT $1, $2 LIMIT $3"]);
    same(&["SELECT a FROM t WHERE b IN (1,2)", "SELECT a FROM t WHERE b IN ($1 /*, ... */)"]);
    same(&[
        "SELECT a FROM t WHERE d IN (date 'x', date 'y')",
        "SELECT a FROM t WHERE d IN (date $1, date $2)",
    ]);
}

#[test]
fn kinds() {
    let kinds = [
        ("", Kind::Empty),
        (" ; -- x", Kind::Empty),
        ("(SELECT 1)", Kind::Select),
        ("WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a", Kind::Select),
        ("with recursive a as (select 1) DELETE FROM t", Kind::Delete),
        ("VALUES (1)", Kind::Select),
        ("insert into t values (1)", Kind::Insert),
        ("update t set a = 1", Kind::Update),
        ("merge into t using s on true when matched then delete", Kind::Merge),
        ("begin", Kind::Begin),
        ("start transaction read only", Kind::Begin),
        ("commit", Kind::Commit),
        ("end", Kind::Commit),
        ("prepare transaction 'x'", Kind::Commit),
        ("rollback", Kind::Rollback),
        ("rollback work", Kind::Rollback),
        ("abort", Kind::Rollback),
        ("rollback to savepoint s", Kind::Savepoint),
        ("rollback transaction to s", Kind::Savepoint),
        ("set x = 1", Kind::Set),
        ("copy t from stdin", Kind::Copy),
        ("create table t ()", Kind::Ddl),
        ("prepare p as select 1", Kind::Prepare),
        ("explain select 1", Kind::Explain),
        ("fetch 1 from c", Kind::Cursor),
        ("nonsense", Kind::Other),
        ("'x'", Kind::Other),
        ("begin; insert into t values (1); commit", Kind::Begin),
    ];
    for (text, kind) in kinds {
        assert_eq!(read(text).kind, kind, "{text}");
    }
}

#[test]
fn effects_on_settings() {
    use SessionEffect::{ReadsSettings, Set, SetLocal};
    let effects: &[(&str, &[SessionEffect])] = &[
        ("set search_path = x", &[Set]),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", &[Set]),
        ("set \"my.x\" = 1", &[Set]),
        ("set time zone 'UTC'", &[Set]),
        ("reset all", &[Set]),
        ("show app.x", &[ReadsSettings]),
        ("select current_setting('app.x', true)", &[ReadsSettings]),
        ("set local x = 1", &[SetLocal]),
        ("set transaction isolation level serializable", &[]),
        ("set constraints all deferred", &[]),
        ("update t set local = 1", &[]),
        ("select set_config('a', 'b', false)", &[Set]),
        ("select set_config('a', f('b', true), $1)", &[Set]),
        ("select set_config('a', 'b', true)", &[SetLocal]),
        ("select set_config('a', 'b', not true)", &[Set]),
        ("select set_config('a', 'b', false or true)", &[Set]),
        ("select \"set_config\"('a', 'b', false)", &[Set]),
        ("select pg_catalog.set_config('a', 'b', 'T')", &[SetLocal]),
        ("select set_config('a', 'b', true), set_config('a', 'b', false)", &[Set, SetLocal]),
        ("select set_config from t", &[]),
    ];
    check_effects(effects);
}

#[test]
fn effects_on_objects() {
    use SessionEffect::{
        AdvisoryLock, Anything, CursorWithHold, Deallocate, Execute, Listen, Prepare,
        ReadsStatementNames, Release, ReplicationSlot, SequenceRead, SequenceUse, Set, Unknown,
    };
    let effects: &[(&str, &[SessionEffect])] = &[
        ("prepare p as select 1", &[Prepare]),
        ("prepare \"p\" as select 1", &[Prepare]),
        ("prepare p as select set_config('a', 'b', false)", &[Prepare, Set]),
        ("prepare transaction 'p'", &[]),
        ("execute p", &[Execute, Anything]),
        ("explain (costs off) execute p", &[Execute, Anything]),
        ("create table t as execute p", &[Execute, Anything]),
        ("deallocate p", &[Deallocate, Release]),
        ("discard all", &[Deallocate, Release, Set]),
        ("select name from pg_prepared_statements", &[ReadsStatementNames]),
        ("select * from \"pg_prepared_statements\"", &[ReadsStatementNames]),
        ("listen c", &[Listen]),
        ("unlisten *", &[Release]),
        ("notify c", &[]),
        ("create temp table t ()", &[Anything]),
        ("create table t ()", &[Anything]),
        ("explain analyze create temp table t as select 1", &[Anything]),
        ("alter table t set schema pg_temp", &[Anything]),
        ("drop table t", &[Release, Anything]),
        ("select a into temp x from t", &[Anything]),
        ("select a into table pg_temp.x from t", &[Anything]),
        ("select a into \"x\" from t", &[Anything]),
        ("with q as (select 1) select * into local temporary x from q", &[Anything]),
        ("insert into temp values (1)", &[]),
        ("select temp from weather", &[]),
        ("declare c cursor with hold for select 1", &[CursorWithHold]),
        ("declare c cursor for with hold as (select 1) select * from hold", &[]),
        ("declare c cursor without hold for select 1", &[]),
        ("close c", &[Release]),
        ("select pg_advisory_lock(1)", &[AdvisoryLock]),
        ("select pg_catalog.\"pg_advisory_lock\" (1)", &[AdvisoryLock]),
        ("select U&\"pg\\005fadvisory_lock\"(1)", &[Anything]),
        ("select pg_try_advisory_lock_shared (1, 2)", &[AdvisoryLock]),
        ("select pg_advisory_xact_lock(1)", &[]),
        ("select pg_advisory_unlock(1)", &[Release]),
        ("select 'pg_advisory_lock(1)'", &[]),
        ("select lastval(), currval('s')", &[SequenceRead]),
        ("select nextval('s')", &[SequenceUse]),
        ("select setval('s', 1)", &[SequenceUse]),
        ("with i as (insert into t values (1)) select 1", &[SequenceUse]),
        ("select query_to_xml('select f()', true, true, '')", &[Anything]),
        ("select * from crosstab('select f()') as t(a int, b int)", &[Anything]),
        ("select pg_create_physical_replication_slot('s', true, true)", &[ReplicationSlot]),
        ("select setseed(0.5)", &[Unknown]),
        ("do $$ begin end $$", &[Set, Anything]),
        ("call p()", &[Anything]),
        ("load 'auto_explain'", &[Unknown, Anything]),
        ("select 1; set x = 1", &[Set]),
        ("begin; create temp table t (); set a = 1; commit", &[Anything, Set]),
        ("rollback; listen x", &[Listen]),
        ("select 1", &[]),
        ("", &[]),
    ];
    check_effects(effects);
}

#[track_caller]
fn check_effects(effects: &[(&str, &[SessionEffect])]) {
    for (text, effects) in effects {
        let expected = effects.iter().fold(Effects::NONE, |sum, effect| sum.with(*effect));
        assert_eq!(read(text).effects, expected, "{text}");
    }
}

#[test]
fn long_texts_hash_in_pieces() {
    let long = format!("SELECT {} FROM t", vec!["column_name"; 500].join(", "));
    assert_eq!(fingerprint(&long), fingerprint(&long.to_uppercase()));
    assert_ne!(fingerprint(&long), fingerprint(&long.replacen("column_name, ", "", 1)));
    let one_word = "x".repeat(5000);
    assert_ne!(fingerprint(&one_word), fingerprint(&one_word[1..]));
}

/// Each of these took time quadratic in its length, or worse: a megabyte would not end today.
#[test]
fn long_runs_of_signs_take_linear_time() {
    for unit in ["+", "- ", "*+", "+-", "- date "] {
        let text = format!("select {} x", unit.repeat((1 << 20) / unit.len()));
        assert_eq!(fingerprint(&normalise(&text)), fingerprint(&text), "{unit}");
    }
}

/// Text made of what SQL is made of, so that the interesting rules meet each other.
fn sql_like() -> impl Strategy<Value = String> {
    let tokens = prop::sample::select(vec![
        "select",
        "in",
        "values",
        "(",
        ")",
        "(1",
        "),(",
        ",",
        "1",
        "-",
        "+",
        "--x\n",
        "/*c*/",
        "/*",
        "'a'",
        "'",
        "\"q\"",
        "$1",
        "$2",
        "$$",
        "$t$",
        "::",
        "int",
        "date",
        "interval",
        "interval '1' day",
        "null",
        "is",
        "not",
        "as",
        ".",
        "..",
        ";",
        "array",
        "[",
        "]",
        "by",
        "order",
        "E'\\''",
        "U&",
        "=",
        "<",
        "@",
        "a",
        "e",
        "x1",
        "1e5",
        "0x1f",
        "limit",
        "set",
        "default",
        "\n",
        "numeric(10,2)",
        "true",
        "größe",
        "group by 1, 2",
    ]);
    let gaps = prop::sample::select(vec!["", " ", "\n"]);
    prop::collection::vec((tokens, gaps), 0..24)
        .prop_map(|parts| parts.iter().flat_map(|(token, gap)| [*token, *gap]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_string_is_read(text in "\\PC*") {
        prop_assert_ne!(read(&text).fingerprint, 0);
        prop_assert_eq!(fingerprint(&normalise(&text)), fingerprint(&text));
        let _tags = crate::comment_tags(&text);
    }

    #[test]
    fn normalising_keeps_the_fingerprint(text in sql_like()) {
        let normal = normalise(&text);
        prop_assert_eq!(fingerprint(&normal), fingerprint(&text), "normalised: {}", normal);
    }

    #[test]
    fn normalising_twice_changes_nothing(text in sql_like()) {
        let normal = normalise(&text);
        prop_assert_eq!(normalise(&normal), normal);
    }
}
