//! Generic plans, without executing anything.

use testkit::{Database, postgres};
use trace::{Event, Fingerprint};

use crate::collect::{Collected, observe, until};

fn plan_of(collected: &Collected, text: &str) -> Option<String> {
    let fingerprint = Fingerprint(sql::fingerprint(text));
    let of_statement = |event: &Event| match event {
        Event::PlanSeen(plan) if plan.statement == fingerprint => Some(plan.json.to_string()),
        _ => None,
    };
    collected.all(of_statement).pop()
}

async fn with_orders(database: &Database) -> testkit::Session {
    let app = database.connect().await;
    // In a schema that only the app's own role finds by `"$user"`.
    let schema = &database.owner.user;
    app.batch_execute(&format!(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.orders (id int PRIMARY KEY, customer int, placed date);
         INSERT INTO {schema}.orders
         SELECT n, n % 100, '2026-01-01' FROM generate_series(1, 1000) n",
    ))
    .await
    .expect("the owner may make a schema");
    app
}

const REPORT: &str = "SELECT sum(id) FROM orders WHERE customer = 7 AND placed > date '2025-01-01'";
const DELETION: &str = "DELETE FROM orders WHERE id = -1";

#[tokio::test]
async fn the_most_expensive_statements_are_explained_not_executed() {
    let postgres = postgres().await;
    let database = postgres.database().await;
    let (observer, collected) = observe(database.superuser_url(), true).await;
    let app = with_orders(&database).await;
    for statement in [REPORT, DELETION] {
        app.batch_execute(statement).await.unwrap();
    }
    assert!(observer.capture_plans(20).await >= 2);
    observer.shutdown().await;

    let plan = plan_of(&collected, REPORT).expect("the report is among the top statements");
    assert!(plan.contains("\"Node Type\": \"Seq Scan\""), "{plan}");
    assert!(plan.contains("customer = $1"), "a generic plan: {plan}");
    assert!(plan_of(&collected, DELETION).unwrap().contains("\"Operation\": \"Delete\""));
    let count: i64 = app.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
    assert_eq!(count, 1000);
}

#[tokio::test]
async fn without_the_extension_the_busiest_are_explained() {
    let postgres = postgres().await;
    let database = postgres.database().await;
    let (observer, collected) = observe(database.superuser_url(), false).await;
    let app = database.connect().await;
    app.batch_execute("CREATE TABLE public.slow (id int)").await.unwrap();
    let slow =
        "SELECT id, pg_sleep(60) FROM (SELECT 1 AS id UNION SELECT id FROM public.slow) AS x";
    // Two statements in one text: the second must not be executed by explaining the first.
    let two = "SELECT pg_sleep(0.5); INSERT INTO public.slow VALUES (1)";
    app.batch_execute(two).await.unwrap();
    tokio::select! {
        slept = app.batch_execute(slow) => panic!("slept through: {slept:?}"),
        () = until("the sleeper to be explained", async || {
            observer.capture_plans(20).await;
            plan_of(&collected, slow).is_some()
        }) => {}
    }
    observer.shutdown().await;
    assert!(plan_of(&collected, two).is_none());
    let other = database.connect().await;
    let count: i64 = other.query_one("SELECT count(*) FROM slow", &[]).await.unwrap().get(0);
    assert_eq!(count, 1, "inserted by the app, and only by it");
}
