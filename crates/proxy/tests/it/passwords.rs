//! Passwords as long as PostgreSQL takes them: tokens of a cloud's identity service are long.

use proxy::{Mode, Rules, Users};
use testkit::{Database, TestPostgres};

use crate::certificates::hba;
use crate::harness::{loopback, start};
use crate::raw::{Message, Raw};

/// `PG_MAX_AUTH_TOKEN_LENGTH` is 65,535, with the length word and the zero byte at the end.
const LONGEST: usize = 65_530;

fn token(length: usize) -> String {
    (0..length)
        .map(|index| char::from(b'a' + u8::try_from(index % 26).expect("a letter")))
        .collect()
}

async fn login(
    addr: std::net::SocketAddr,
    database: &Database,
    password: &str,
) -> Result<String, Message> {
    let mut raw = Raw::connect(addr).await;
    let user = database.owner.user.as_bytes();
    raw.startup(0, &[(b"user", user), (b"database", database.name.as_bytes())]);
    raw.try_authenticate(password).await?;
    Ok(raw.value("SELECT current_user").await)
}

/// A server that asks everybody for this, and a database whose owner has the password.
async fn server(method: &str, password: &str) -> (TestPostgres, Database) {
    let postgres = testkit::postgres_with(&[]).await;
    let database = postgres.database().await;
    let owner = &database.owner.user;
    let statement = format!("ALTER ROLE {owner} PASSWORD '{password}'");
    postgres.superuser().await.batch_execute(&statement).await.expect("a password");
    hba(&postgres, &format!("host all all 127.0.0.1/32 {method}")).await;
    (postgres, database)
}

#[tokio::test]
async fn the_longest_passwords_go_both_ways() {
    let password = token(LONGEST);
    for method in ["password", "scram-sha-256"] {
        let (_postgres, database) = server(method, &password).await;
        let owner = &database.owner.user;
        let address = database.address.tcp();
        let anonymous = format!("postgres://{address}/{}?sslmode=disable", database.name);
        let of_url = format!("postgres://{owner}:{password}@{address}/{}", database.name);
        let listed = || Users::read_userlist(&format!("\"{owner}\" \"{password}\"")).unwrap();
        let cases = [
            (Mode::Observe, &anonymous, None, ""),
            (Mode::Regulate, &of_url, None, "password"),
            (Mode::Regulate, &anonymous, Some(listed()), "password"),
            (Mode::Regulate, &anonymous, Some(listed()), "scram-sha-256"),
        ];
        for (mode, url, users, rule) in cases {
            let (proxy, _) = start(mode, url, |config| {
                config.access.users = users.unwrap_or_default();
                if !rule.is_empty() {
                    config.access.rules = Rules::read(&format!("host all all all {rule}")).unwrap();
                }
            });
            let addr = proxy.listen(loopback(), None).unwrap();
            let got = login(addr, &database, &password).await;
            assert_eq!(got.as_ref(), Ok(owner), "{mode:?} {method} {rule}");
            if method == "password" && rule != "scram-sha-256" {
                let wrong = login(addr, &database, &password[1..]).await.unwrap_err();
                assert_eq!(wrong.code(), "28P01", "{mode:?}");
                let long = login(addr, &database, &token(LONGEST + 1)).await.unwrap_err();
                assert_eq!(long.code(), "08P01", "{mode:?}");
                assert!(long.text().contains("invalid message length 65536"), "{long:?}");
            }
        }
    }
}
