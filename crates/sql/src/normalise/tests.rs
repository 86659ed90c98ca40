//! Normalised texts, by example.

use expect_test::{Expect, expect};

use super::normalise;

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&normalise(text));
}

#[test]
fn literals_become_parameters_behind_those_there() {
    check(
        "SELECT * FROM t WHERE a = 'x' AND b = $2 AND c > -1.5 -- why\n ;",
        &expect!["SELECT * FROM t WHERE a = $3 AND b = $2 AND c > $4"],
    );
    check(
        "select'x'from t where b=true and c is not null",
        &expect!["select $1 from t where b=true and c is not null"],
    );
}

#[test]
fn lists_become_one() {
    check(
        "DELETE FROM t WHERE a IN (1, 2, 3) AND b = ANY(ARRAY['x','y'])",
        &expect!["DELETE FROM t WHERE a IN ($1) AND b = ANY(ARRAY[$2])"],
    );
    check("SELECT a IN (interval '1' day, interval '2' hour)", &expect!["SELECT a IN ($1)"]);
    check(
        "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y') RETURNING id",
        &expect!["INSERT INTO t (a, b) VALUES ($1, $2) RETURNING id"],
    );
    check(
        "INSERT INTO t VALUES ($1, $2), ($3, $4) ON CONFLICT DO NOTHING",
        &expect!["INSERT INTO t VALUES ($1, $2) ON CONFLICT DO NOTHING"],
    );
    check(
        "SELECT 1 FROM t WHERE a IN ($1, $2) AND b = $3",
        &expect!["SELECT $3 FROM t WHERE a IN ($1) AND b = $2"],
    );
}

#[test]
fn numbers_that_postgresql_does_not_know_stay() {
    check("a $65535 1 $70000", &expect!["a $65535 $70001 $70000"]);
    check("a $99999999999 1 2", &expect!["a $4294967295 $4294967295 $4294967295"]);
}

#[test]
fn stays_sql() {
    check(
        "SELECT date '2026-01-01' - interval '1' day, -interval '1 day'",
        &expect!["SELECT $1::date - $2::interval day, - $3::interval"],
    );
    check(
        "SELECT 1.5::numeric(10, 2), a::varchar(5) FROM t",
        &expect!["SELECT $1::numeric(10, 2), a::varchar(5) FROM t"],
    );
    check(
        "SELECT a, count(*) FROM t GROUP BY 1 HAVING count(*) > 1 ORDER BY 2, 1 LIMIT 5",
        &expect![
            "SELECT a, count(*) FROM t GROUP BY 1 HAVING count(*) > $1 ORDER BY 2, 1 LIMIT $2"
        ],
    );
    check(
        "SELECT row_number() OVER (ORDER BY a) - 1 FROM t ORDER BY a + 1, 2",
        &expect!["SELECT row_number() OVER (ORDER BY a) - $1 FROM t ORDER BY a + $2, 2"],
    );
    check("SELECT - $1, -'5', - -1", &expect!["SELECT - $1, - $2, $3"]);
}

#[test]
fn statements_stay_apart() {
    check("BEGIN;; UPDATE t SET a = 1; COMMIT;", &expect!["BEGIN; UPDATE t SET a = $1; COMMIT"]);
    check("CREATE USER u PASSWORD 'secret'", &expect!["CREATE USER u PASSWORD $1"]);
}
