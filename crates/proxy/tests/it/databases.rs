//! Several databases behind one proxy.

use std::net::SocketAddr;

use proxy::{Access, AuthQuery, Database, Mode, Upstream, Users};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::faults::running;
use crate::harness::{MODES, loopback, start};
use crate::raw::Raw;

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

/// What a client hears on its way in, up to the error; SCRAM's nonces and salts left out.
async fn heard(addr: SocketAddr, (user, password): (&str, &str), database: &str) -> Vec<String> {
    let mut raw = Raw::connect(addr).await;
    raw.startup(0, &[(b"user", user.as_bytes()), (b"database", database.as_bytes())]);
    let error = raw.try_authenticate(password).await.expect_err("nobody is let in");
    assert_eq!(raw.try_receive().await, None);
    let mut heard = std::mem::take(&mut raw.asked);
    heard.push(format!("{} {}", error.code(), error.text()));
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_logged_in_is_told_that_there_is_no_such_database() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let owner = &database.owner;
    let right = (owner.user.as_str(), owner.password.as_str());
    let asker = postgres.cluster().superuser().clone();
    let entry = |name: Option<&str>, url: &str| Database {
        name: name.map(Into::into),
        server_name: name.map(|_| database.name.as_str().into()),
        ..Database::any(Upstream::parse(url).unwrap())
    };
    let anonymous = format!("postgres://{}/", database.address.tcp());
    let listed = |user: &str, password: &str| {
        let mut users = Users::nobody();
        users.insert(user, password).unwrap();
        Access { users, ..Access::default() }
    };
    let asking = || Access {
        query: Some(AuthQuery::by(&asker.user)),
        ..listed(&asker.user, &asker.password)
    };
    let shop = || entry(Some("shop"), &database.url());
    let cases: [(_, &dyn Fn() -> Access); 4] = [
        (shop(), &Access::default),
        (shop(), &|| listed(&owner.user, &owner.password)),
        (shop(), &asking),
        // The server itself has no database of the name.
        (entry(None, &anonymous), &asking),
    ];
    for mode in MODES {
        for (entry, access) in &cases {
            let has_any = entry.name.is_none();
            let known = entry.name.as_deref().unwrap_or(&database.name).to_owned();
            // Each time another proxy: guessing takes the longer the more guesses there were.
            let start = || {
                let (proxy, _) = start(mode, &database.url(), |config| {
                    config.databases = vec![entry.clone()];
                    config.access = access();
                });
                let addr = proxy.listen(loopback(), None).unwrap();
                (proxy, addr)
            };
            for (user, unknown) in [(owner.user.as_str(), "nowhere"), ("stranger", "pgbouncer")] {
                let ((proxy, addr), stranger) = (start(), (user, "wrong"));
                let expected = heard(addr, stranger, &known).await;
                assert!(expected.last().unwrap().starts_with("28P01"), "{expected:?}");
                assert_eq!(heard(addr, stranger, unknown).await, expected, "{mode:?}");
                // One that takes nobody in just now is no exception.
                proxy.control().disable(entry.label(), true).unwrap();
                assert_eq!(heard(addr, stranger, &known).await, expected, "{mode:?}");
            }
            let (proxy, addr) = start();
            let told = heard(addr, right, "nowhere").await;
            let code = told.last().unwrap().split(' ').next().unwrap();
            // Where the server is asked about users in the database that there is not, it knows
            // nobody.
            let asked_there = has_any && mode == Mode::Regulate;
            assert_eq!(code, if asked_there { "28P01" } else { "3D000" }, "{mode:?} {told:?}");
            proxy.control().disable(entry.label(), true).unwrap();
            let told = heard(addr, right, &known).await;
            assert!(told.last().unwrap().starts_with("3D000 surgetank: database"), "{told:?}");
        }
    }
}

#[test]
fn databases_that_make_no_sense_are_refused() {
    let upstream = Upstream::parse("postgres://ann@localhost/shop").unwrap();
    let mut config = proxy::Config::new(Mode::Regulate, upstream.clone());
    assert!(config.check().is_ok());
    config.databases.push(Database::any(upstream));
    assert_eq!(config.check().unwrap_err().to_string(), "databases: \"*\" is there twice");
    config.databases.clear();
    assert_eq!(config.check().unwrap_err().to_string(), "databases: there is none");
}
