//! Statements, tables, settings.

use std::collections::HashMap;

use testkit::postgres;
use trace::{Event, Fingerprint, StatementSampled, TableSampled};

use crate::collect::{Collected, observe, until};

fn last_of(collected: &Collected, text: &str) -> Option<StatementSampled> {
    let fingerprint = Fingerprint(sql::fingerprint(text));
    let of_statement = |event: &Event| match event {
        Event::StatementSampled(sample) if sample.statement == fingerprint => {
            Some((**sample).clone())
        }
        _ => None,
    };
    collected.all(of_statement).pop()
}

/// What apps send: `pg_stat_statements` must keep texts with the same fingerprint.
const STATEMENTS: &[&str] = &[
    "SELECT id FROM items WHERE name = 'it''s' AND id IN (1, 2, -3) LIMIT 5",
    "select  ID from items /* c */ where id - 1 = -1 and name is not null -- d",
    "INSERT INTO items (id, name) VALUES (10, 'x'), (11, E'y\\n')",
    "INSERT INTO items VALUES (12, DEFAULT)",
    "UPDATE items SET name = $t$z$t$ WHERE id = -1 OR id = 1.5e1 OR true",
    "DELETE FROM items WHERE id = ANY(ARRAY[10, 11]) AND name = 'a'\n'b'",
    "SELECT date '2026-01-01' + interval '1 day', '1'::int, CAST('2' AS text)",
    "SELECT count(*), NULL FROM items GROUP BY name HAVING count(*) > 1 ORDER BY 1",
    "SELECT CASE WHEN id = 1 THEN - 2 ELSE +3 END FROM items WHERE name LIKE '%a%'",
    "WITH a AS (SELECT 1 AS n) SELECT n::numeric(10, 2) FROM a WHERE n BETWEEN -1 AND 1",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (n, t) WHERE n = - 1",
];

#[tokio::test]
async fn statements_are_counted_under_the_fingerprint_of_what_was_sent() {
    let postgres = postgres().await;
    let database = postgres.database().await;
    let (observer, collected) = observe(database.superuser_url(), true).await;
    let app = database.connect().await;
    app.batch_execute("CREATE TABLE items (id int, name text)").await.unwrap();
    until("the first sample", async || {
        collected.has(|event| matches!(event, Event::TableSampled(_)))
    })
    .await;
    for _ in 0..3 {
        for statement in STATEMENTS {
            app.batch_execute(statement).await.unwrap();
        }
        app.query("SELECT name FROM items WHERE id = $1", &[&1_i32]).await.unwrap();
    }
    observer.shutdown().await;

    for statement in STATEMENTS.iter().chain(&["SELECT name FROM items WHERE id = $1"]) {
        let sample = last_of(&collected, statement);
        assert_eq!(sample.map(|sample| sample.calls), Some(3), "{statement}");
    }
    let inserted = last_of(&collected, STATEMENTS[2]).unwrap();
    assert_eq!(inserted.rows, 6);
    assert!(inserted.blocks > 0 && inserted.exec.0 > 0, "{inserted:?}");
}

#[tokio::test]
async fn tables_and_settings_are_told() {
    let postgres = postgres().await;
    let database = postgres.database().await;
    let app = database.connect().await;
    app.batch_execute(
        "CREATE TABLE events (id int PRIMARY KEY);
         INSERT INTO events SELECT generate_series(1, 500);
         SELECT count(*) FROM events",
    )
    .await
    .unwrap();
    let (observer, collected) = observe(database.superuser_url(), false).await;
    let is_read = |sample: &TableSampled| {
        &*sample.table == "public.events" && sample.seq_scans >= 1 && sample.seq_rows_read >= 500
    };
    // A backend reports its statistics at the end of a transaction, up to a second late.
    until("the sequential scan to be counted", async || {
        app.batch_execute("SELECT count(*) FROM events").await.unwrap();
        collected.has(|event| matches!(event, Event::TableSampled(sample) if is_read(sample)))
    })
    .await;
    observer.shutdown().await;

    let settings: HashMap<Box<str>, Box<str>> = collected
        .all(|event| match event {
            Event::SettingSeen { name, value, .. } => Some((name.clone(), value.clone())),
            _ => None,
        })
        .into_iter()
        .collect();
    assert!(settings["max_connections"].parse::<u32>().unwrap() > 0);
    assert!(settings["superuser_reserved_connections"].parse::<u32>().is_ok());
    // Not the limit that the observer gives itself.
    assert_eq!(&*settings["statement_timeout"], "0");
}

#[tokio::test]
async fn a_member_of_pg_monitor_is_enough() {
    let postgres = postgres().await;
    let database = postgres.database().await;
    let superuser = testkit::connect(database.superuser_url()).await;
    let grant = format!("GRANT pg_monitor TO {}", database.owner.user);
    superuser.batch_execute(&grant).await.unwrap();
    superuser.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    superuser.batch_execute("SELECT 1 AS of_the_superuser").await.unwrap();
    let (observer, collected) = observe(&database.url(), false).await;
    until("a sample of activity", async || {
        collected.has(|event| matches!(event, Event::ActivitySampled(_)))
    })
    .await;
    observer.shutdown().await;
    assert!(last_of(&collected, "SELECT 1 AS of_the_superuser").is_some());
}
