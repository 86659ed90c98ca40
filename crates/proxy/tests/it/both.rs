//! What must work in either mode.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use futures_util::future::join_all;
use proxy::{Error, Mode};
use tokio_postgres::NoTls;
use trace::{BackendPid, Event, Outcome, RequestKind, SqlState, TransactionState};

use crate::harness::{Fixture, MODES, SOON, code, loopback, start};

#[tokio::test]
async fn simple_and_extended_queries() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        let rows = client.simple_query("SELECT 1 UNION SELECT 2; SELECT 3").await.unwrap();
        assert_eq!(rows.len(), 7, "two descriptions, three rows, two completions: {rows:?}");
        let row = client.query_one("SELECT $1::int + 1", &[&41_i32]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 42);

        let error = client.query_one("SELECT 1/0", &[]).await.unwrap_err();
        assert_eq!(code(&error), "22012");
        let error = client.simple_query("SELEC 1").await.unwrap_err();
        assert_eq!(code(&error), "42601");
        assert_eq!(client.query_one("SELECT 7", &[]).await.unwrap().get::<_, i32>(0), 7);
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_statement_that_names_its_trace_joins_its_request_to_it() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect_as("web.1").await;
        let tagged = |text: &str| {
            format!("{text} /*action='x',traceparent='00-{TRACE}-b7ad6b7169203331-01'*/")
        };
        client.batch_execute("SELECT 1").await.unwrap();
        client.batch_execute(&tagged("SELECT 2")).await.unwrap();
        client.query(&tagged("SELECT $1::int"), &[&3_i32]).await.unwrap();
        client.batch_execute("SELECT 4 /* no trace */;").await.unwrap();
        testkit::wait_until(SOON, || fixture.requests().len() >= 5).await;
        let traced = |event| match event {
            Event::RequestTraced(traced) => Some(traced),
            _ => None,
        };
        let traced: Vec<_> = fixture.all_events().into_iter().filter_map(traced).collect();
        assert_eq!(traced.iter().map(|t| t.trace.to_string()).collect::<Vec<_>>(), [TRACE, TRACE]);
        let requests = fixture.requests();
        for (traced, meant) in traced.iter().zip([requests[1], requests[2]]) {
            assert_eq!(traced.session, meant.session);
            let before: Vec<_> = requests.iter().filter(|r| r.arrived <= traced.at).collect();
            assert_eq!(**before.last().unwrap(), meant);
            assert!(traced.at <= meant.done);
        }
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn every_request_is_recorded() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect_as("web.1").await;
        client.batch_execute("SELECT generate_series(1, 5)").await.unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        client.batch_execute("SELECT 1/0").await.unwrap_err();
        client.batch_execute("ROLLBACK").await.unwrap();
        client.query("SELECT generate_series(1, $1::int)", &[&3_i32]).await.unwrap();
        testkit::wait_until(SOON, || fixture.requests().len() >= 6).await;

        let connect = fixture.requests_and_connects()[0];
        assert_eq!((connect.kind, connect.outcome), (RequestKind::Connect, Outcome::Ok));
        let requests = fixture.requests();
        let told: Vec<_> = requests.iter().map(|r| (r.kind, r.rows, r.transaction)).collect();
        let (simple, extended) = (RequestKind::Simple, RequestKind::Extended);
        assert_eq!(
            told,
            [
                (simple, 5, TransactionState::Idle),
                (simple, 0, TransactionState::Open),
                (simple, 0, TransactionState::Failed),
                (simple, 0, TransactionState::Idle),
                // Parse and Describe, then Bind and Execute.
                (extended, 0, TransactionState::Idle),
                (extended, 3, TransactionState::Idle),
            ]
        );
        assert_eq!(requests[2].outcome, Outcome::Error(SqlState(*b"22012")));
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        assert_eq!(requests[0].backend, BackendPid(pid));
        assert_eq!(requests[4].statement, requests[5].statement);
        assert!(requests.iter().all(|request| request.bytes_in > 0 && request.bytes_out > 0));

        let events = fixture.all_events();
        assert!(events.iter().any(|event| matches!(event,
            Event::DynoNamed { dyno, name, .. } if **name == *"web.1" && *dyno == connect.dyno)));
        assert!(events.iter().any(|event| matches!(event,
            Event::ServerOpened { backend, .. } if *backend == BackendPid(pid))));
        assert!(
            events.iter().any(|event| matches!(event,
            Event::StatementSeen(seen) if seen.fingerprint == requests[4].statement
                && &*seen.text == "SELECT generate_series($2, $1::int)")),
            "{events:?}"
        );
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_pipeline_of_many_requests() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        let statement = client.prepare("SELECT $1::int * 2").await.unwrap();
        let requests = (0..200_i32).map(|number| {
            let (client, statement) = (&client, &statement);
            async move {
                if number % 7 == 0 {
                    let error = client.query_one("SELECT 1/$1::int", &[&0_i32]).await.unwrap_err();
                    assert_eq!(code(&error), "22012");
                }
                let row = client.query_one(statement, &[&number]).await.unwrap();
                assert_eq!(row.get::<_, i32>(0), number * 2);
            }
        });
        join_all(requests).await;
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn transactions_keep_together() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let (mut one, two) = (fixture.connect().await, fixture.connect().await);
        one.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        let transaction = one.transaction().await.unwrap();
        for number in 0..10_i32 {
            transaction.execute("INSERT INTO t VALUES ($1)", &[&number]).await.unwrap();
            let seen: i64 = two.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
            assert_eq!(seen, 0, "not committed");
        }
        transaction.commit().await.unwrap();
        let seen: i64 = two.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(seen, 10);

        let transaction = one.transaction().await.unwrap();
        transaction.execute("DELETE FROM t", &[]).await.unwrap();
        drop(transaction);
        let seen: i64 = two.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(seen, 10, "rolled back");
        drop((one, two));
        fixture.end().await;
    }
}

#[tokio::test]
async fn large_values_both_ways_at_once() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        let value = "x".repeat(3_000_000);
        // All are sent before any is read: both directions are full at the same time.
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&value];
        let text = "SELECT $1::text || $1::text";
        let echoes = (0..4).map(|_| client.query_one(text, &parameters));
        for echo in join_all(echoes).await {
            assert_eq!(echo.unwrap().get::<_, &str>(0).len(), 6_000_000);
        }
        let text = format!("SELECT '{value}'");
        let rows = client.simple_query(&text).await.unwrap();
        assert_eq!(rows.len(), 3);
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_request_is_cancelled() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        let cancel = client.cancel_token();
        let watcher = fixture.postgres.superuser().await;
        let running = async {
            let text = "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%sleep%'";
            loop {
                let rows = watcher.query(text, &[&fixture.database.name]).await.unwrap();
                if !rows.is_empty() {
                    return cancel.cancel_query(NoTls).await.unwrap();
                }
            }
        };
        let sleep = client.batch_execute("SELECT pg_sleep(60)");
        let (slept, ()) = tokio::join!(sleep, running);
        assert_eq!(code(&slept.unwrap_err()), "57014");
        client.batch_execute("SELECT 1").await.unwrap();
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_wrong_password_or_database_is_refused_as_by_the_server() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let name = &fixture.database.name;
        let good: tokio_postgres::Config = fixture.url().parse().unwrap();
        let mut wrong = good.clone();
        wrong.password("guess");
        let error = wrong.connect(NoTls).await.map(|_| ()).unwrap_err();
        assert_eq!(code(&error), "28P01");
        let mut stranger = good.clone();
        stranger.user("nobody");
        let error = stranger.connect(NoTls).await.map(|_| ()).unwrap_err();
        assert_eq!(code(&error), "28P01");
        let mut lost = good.clone();
        lost.dbname(format!("no_{name}"));
        let error = lost.connect(NoTls).await.map(|_| ()).unwrap_err();
        assert_eq!(code(&error), "3D000");

        // The record follows the answer.
        testkit::wait_until(SOON, || fixture.requests_and_connects().len() == 3).await;
        let connects = fixture.requests_and_connects();
        let outcomes: Vec<_> = connects.iter().map(|request| request.outcome).collect();
        let wrong = Outcome::Error(SqlState::INVALID_PASSWORD);
        assert_eq!(outcomes, [wrong, wrong, Outcome::Error(SqlState(*b"3D000"))]);
        fixture.end().await;
    }
}

#[tokio::test]
async fn every_way_in_which_the_server_asks_for_a_password() {
    for method in ["trust", "password", "md5", "scram-sha-256"] {
        // The server may run as another user, who must be able to read it.
        let mut hba = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile()
            .unwrap();
        write!(hba, "local all all trust\nhost all all 127.0.0.1/32 {method}\n").unwrap();
        // With md5 the server asks in the way in which the password was stored.
        let encryption = if method == "md5" { "md5" } else { "scram-sha-256" };
        let postgres = testkit::postgres_with(&[
            ("hba_file", hba.path().to_str().unwrap()),
            ("password_encryption", encryption),
        ])
        .await;
        let fixture = Fixture::on(postgres.into(), Mode::Regulate, |_| {}).await;
        let client = fixture.connect().await;
        let user: String = client.query_one("SELECT current_user::text", &[]).await.unwrap().get(0);
        assert_eq!(user, fixture.database.owner.user, "{method}");

        // The server does not take what the URL has: the client is told by whom it was refused.
        let wrong = fixture.database.url().replace("w%3Ard", "wrong");
        assert_ne!(wrong, fixture.database.url());
        let (proxy, _events) = start(Mode::Regulate, &wrong, |_| {});
        let addr = proxy.listen(loopback(), None).unwrap();
        let through = fixture.database.url_through(addr).replace("w%3Ard", "wrong");
        let refused = tokio_postgres::connect(&through, NoTls).await.map(|_| ());
        match refused {
            Ok(()) => assert_eq!(method, "trust"),
            Err(error) => assert_eq!(code(&error), "28P01", "{method}"),
        }
        proxy.shutdown(SOON).await;
        drop(client);
        fixture.end().await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    for mode in MODES {
        // A port on which nobody listens, and nobody else can.
        let kept = tokio::net::TcpSocket::new_v4().unwrap();
        kept.bind(loopback()).unwrap();
        let nobody = kept.local_addr().unwrap();
        let url = format!("postgres://ann:secret@{nobody}/shop");
        let (proxy, _events) = start(mode, &url, |config| {
            config.queue_timeout = std::time::Duration::from_secs(1);
        });
        let addr = proxy.listen(loopback(), Some("web.1")).unwrap();
        let through = format!("postgres://ann:secret@{addr}/shop");
        let error = tokio_postgres::connect(&through, NoTls).await.map(|_| ()).unwrap_err();
        assert_eq!(code(&error), "08006");
        let text = error.as_db_error().unwrap().message();
        assert!(text.contains(&nobody.to_string()), "{text}");
        proxy.shutdown(SOON).await;
    }
}

#[tokio::test]
async fn the_socket_of_the_server() {
    let fixture = Fixture::start(Mode::Regulate).await;
    let database = &fixture.database;
    let (proxy, _events) = start(Mode::Regulate, &database.socket_url(), |_| {});
    let addr = proxy.listen(loopback(), None).unwrap();
    // Over the socket no password is asked for, so none is asked for here.
    let client = testkit::connect(&database.url_through(addr)).await;
    let user: String = client.query_one("SELECT current_user::text", &[]).await.unwrap().get(0);
    assert_eq!(user, database.owner.user);
    drop(client);
    proxy.shutdown(SOON).await;
    fixture.end().await;
}

#[tokio::test]
async fn without_a_password_only_loopback_is_listened_on() {
    let anywhere = "0.0.0.0:0".parse().unwrap();
    for mode in MODES {
        let (proxy, _events) = start(mode, "postgres://ann@127.0.0.1:1/shop", |_| {});
        let refused = proxy.listen(anywhere, None);
        assert!(matches!(refused, Err(Error::NotLoopback(_))), "{refused:?}");
        assert!(proxy.listen(loopback(), None).is_ok());
        proxy.shutdown(SOON).await;

        let (proxy, _events) = start(mode, "postgres://ann:x@127.0.0.1:1/shop", |_| {});
        let bound = proxy.listen(anywhere, None).unwrap();
        proxy.unlisten(bound).unwrap();
        assert!(matches!(proxy.unlisten(bound), Err(Error::NotListening(_))));
        proxy.shutdown(SOON).await;
    }
}

#[tokio::test]
async fn a_listener_stands_for_its_dyno() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let addr = fixture.proxy.listen(loopback(), Some("worker.1")).unwrap();
        let url = format!("{}?application_name=psql", fixture.database.url_through(addr));
        let client = testkit::connect(&url).await;
        let name: String = client.query_one("SHOW application_name", &[]).await.unwrap().get(0);
        assert_eq!(name, "psql", "{mode:?}");
        let named = |name: &str| {
            fixture.all_events().iter().any(
                |event| matches!(event, Event::DynoNamed { name: told, .. } if **told == *name),
            )
        };
        assert!(named("worker.1"));
        assert!(!named("psql"));
        drop(client);
        fixture.end().await;
    }
}
