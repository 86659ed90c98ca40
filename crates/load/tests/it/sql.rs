//! Load over SQL.

use std::str::FromStr;
use std::time::Duration;

use load::{
    Error, FailureKind, Model, Options, Ramp, Range, Reach, RunResult, Schedule, Sql, SqlClass,
    Target, run,
};
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;
use trace::{Clock, SqlState};

const PATIENCE: Duration = Duration::from_secs(30);

fn class(text: &str, parameters: &[(i64, i64)]) -> SqlClass {
    let parameters = parameters.iter().map(|&(from, to)| Some(Range { from, to })).collect();
    SqlClass { text: text.into(), share: 1.0, parameters }
}

fn target(url: &str, connections: usize) -> Target {
    let config = Config::from_str(url).expect("testkit's addresses are good");
    Target::Sql(Sql::new(config, connections, PATIENCE, Reach::Loopback).expect("it is loopback"))
}

/// About 60 statements in 0.3 s.
async fn send(target: &Target, classes: Vec<SqlClass>) -> Result<RunResult, Error> {
    let schedule = Schedule::new(Ramp::constant(200.0, Duration::from_millis(300)), 42);
    let options = Options::new(Clock::start());
    let cancel = CancellationToken::new();
    run(&schedule, &Model::of_sql(200.0, classes), target, &options, &cancel).await
}

#[tokio::test]
async fn statements_run_with_drawn_parameters_of_any_type() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let session = testkit::connect(&database.url()).await;
    session.batch_execute("CREATE TABLE drawn (n int, b bigint, t text, f float8)").await.unwrap();
    let insert =
        class("INSERT INTO drawn VALUES ($1, $2, $3, $4)", &[(1, 9), (10, 19), (7, 7), (3, 3)]);
    let result = send(&target(&database.url(), 4), vec![insert]).await.unwrap();
    assert_eq!((result.completed, result.failed), (result.offered, 0));
    let sound = "SELECT count(*) FROM drawn \
                 WHERE n BETWEEN 1 AND 9 AND b BETWEEN 10 AND 19 AND t = '7' AND f = 3";
    let count: i64 = session.query_one(sound, &[]).await.unwrap().get(0);
    assert_eq!(u64::try_from(count).unwrap(), result.offered);
}

#[tokio::test]
async fn an_error_of_postgresql_is_a_failure_by_its_sqlstate() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let divide = class("SELECT 1 / $1::int", &[(0, 0)]);
    let result = send(&target(&database.url(), 4), vec![divide]).await.unwrap();
    let division_by_zero = FailureKind::Sql(SqlState(*b"22012"));
    assert_eq!(result.failures_by_kind, [(division_by_zero, result.offered)].into());
}

#[tokio::test]
async fn a_connection_that_was_ended_is_replaced() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let suicide = class("SELECT pg_terminate_backend(pg_backend_pid())", &[]);
    let result = send(&target(&database.url(), 2), vec![suicide, class("SELECT 1", &[])]).await;
    let result = result.unwrap();
    assert_eq!(result.classes[1].completed, result.classes[1].offered, "{result:?}");
    assert_eq!(result.classes[0].failed, result.classes[0].offered, "{result:?}");
}

#[tokio::test]
async fn connections_are_bounded_and_the_wait_for_one_is_latency() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let session = testkit::connect(&database.url()).await;
    session.batch_execute("CREATE TABLE gate (n int)").await.unwrap();
    session.batch_execute("BEGIN; LOCK TABLE gate").await.unwrap();
    let target = target(&database.url(), 3);
    let waiting = async {
        let busy =
            "SELECT count(*) FROM pg_locks WHERE relation = 'gate'::regclass AND NOT granted";
        loop {
            let waiting: i64 = session.query_one(busy, &[]).await.unwrap().get(0);
            assert!(waiting <= 3, "{waiting} connections");
            if waiting == 3 {
                break;
            }
            tokio::task::yield_now().await;
        }
        session.batch_execute("COMMIT").await.unwrap();
    };
    let (result, ()) = tokio::join!(send(&target, vec![class("SELECT n FROM gate", &[])]), waiting);
    let result = result.unwrap();
    assert_eq!((result.completed, result.abandoned), (result.offered, 0));
}

#[tokio::test]
async fn a_wrong_password_and_a_foreign_host_are_errors_at_the_start() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let mut config = Config::from_str(&database.url()).unwrap();
    config.password("not this one");
    let wrong = Target::Sql(Sql::new(config, 1, PATIENCE, Reach::Loopback).unwrap());
    let refused = send(&wrong, vec![class("SELECT 1", &[])]).await.unwrap_err();
    assert!(matches!(refused, Error::Connect(_)), "{refused}");

    let reach = |url, reach| Sql::new(Config::from_str(url).unwrap(), 1, PATIENCE, reach);
    for far in ["postgres://shop@192.0.2.7/shop", "postgres://shop@db.example.com/shop"] {
        let error = reach(far, Reach::Loopback).unwrap_err();
        assert!(matches!(error, Error::Remote { .. }), "{error}");
        reach(far, Reach::Anywhere).expect("the caller allowed it");
    }
    reach("postgres://shop@localhost/shop", Reach::Loopback).expect("this machine");
    reach("postgres://shop@%2Ftmp/shop", Reach::Loopback).expect("this machine");
}
