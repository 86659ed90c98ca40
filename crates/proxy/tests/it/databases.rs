//! Several databases behind one proxy.

use proxy::{Database, Upstream};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::faults::running;
use crate::harness::{MODES, loopback, start};

#[tokio::test(flavor = "multi_thread")]
async fn each_name_leads_to_its_own_database() {
    let postgres = testkit::postgres().await;
    let (red, blue) = (postgres.database().await, postgres.database().await);
    for mode in MODES {
        let entry = |name: &str, url: &str, server_name: Option<&str>| Database {
            name: Some(name.into()),
            server_name: server_name.map(Into::into),
            ..Database::any(Upstream::parse(url).unwrap())
        };
        let (proxy, _) = start(mode, &red.url(), |config| {
            config.databases = vec![
                entry("red", &red.url(), Some(&red.name)),
                entry("blue", &blue.url(), Some(&blue.name)),
            ];
        });
        let addr = proxy.listen(loopback(), None).unwrap();
        for (name, database) in [("red", &red), ("blue", &blue)] {
            let session =
                testkit::connect(&format!("{}?dbname={name}", database.url_through(addr))).await;
            let seen: String =
                session.query_one("select current_database()", &[]).await.unwrap().get(0);
            assert_eq!(seen, database.name, "{mode:?}");
            // A cancel request finds its way to the right server.
            let canceller = session.cancel_token();
            let asleep = session.batch_execute("select pg_sleep(60)");
            let watcher = database.connect().await;
            let (slept, ()) = tokio::join!(asleep, async {
                running(&watcher, &database.name, "pg_sleep(60)").await;
                canceller.cancel_query(NoTls).await.unwrap();
            });
            assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED), "{mode:?}");
        }
        let url = format!("{}?dbname=green", red.url_through(addr));
        let error = tokio_postgres::connect(&url, NoTls).await.err().unwrap();
        assert_eq!(error.code(), Some(&SqlState::INVALID_CATALOG_NAME), "{mode:?}: {error}");
    }
}

#[test]
fn databases_that_make_no_sense_are_refused() {
    let upstream = Upstream::parse("postgres://ann@localhost/shop").unwrap();
    let mut config = proxy::Config::new(proxy::Mode::Regulate, upstream.clone());
    assert!(config.check().is_ok());
    config.databases.push(Database::any(upstream));
    assert_eq!(config.check().unwrap_err().to_string(), "databases: \"*\" is there twice");
    config.databases.clear();
    assert_eq!(config.check().unwrap_err().to_string(), "databases: there is none");
}
