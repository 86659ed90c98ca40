//! Who may come in to `regulate`, and how they prove it.

use std::net::SocketAddr;
use std::time::Duration;

use proxy::{Access, AuthQuery, Database, Error, Method, Mode, Rules, Upstream, Users};
use testkit::Session;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use crate::harness::{MODES, code, loopback, start};

/// The URL of a database without who we are to it: each client logs in as itself.
fn anonymous(database: &testkit::Database) -> String {
    format!("postgres://{}/{}?sslmode=disable", database.address.tcp(), database.name)
}

async fn try_login(url: &str) -> Result<Session, String> {
    match tokio_postgres::connect(url, NoTls).await {
        Ok(_) => Ok(testkit::connect(url).await),
        Err(error) => match error.as_db_error() {
            Some(said) => Err(format!("{} {}", said.code().code(), said.message())),
            None => Err(format!("{error:?}")),
        },
    }
}

async fn who(session: &Session) -> String {
    session.query_one("SELECT current_user::text", &[]).await.expect("a name").get(0)
}

/// What PostgreSQL keeps of a role's password.
async fn stored(superuser: &Session, role: &str) -> String {
    let text = "SELECT rolpassword FROM pg_authid WHERE rolname = $1";
    superuser.query_one(text, &[&role]).await.expect("the role").get(0)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A database through a proxy, as somebody in particular.
fn url_of(database: &testkit::Database, proxy: SocketAddr, user: &str, password: &str) -> String {
    let mut url = url::Url::parse(&format!("postgres://{proxy}/{}", database.name)).expect("a URL");
    url.set_username(user).expect("a URL with a host");
    url.set_password(Some(password)).expect("a URL with a host");
    url.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_list_log_in_as_themselves() {
    let postgres = testkit::postgres().await;
    let (database, other) = (postgres.database().await, postgres.database().await);
    let superuser = postgres.superuser().await;
    let (ann, bob) = (&database.owner, &other.owner);
    // Of one the password is known, of the other only PostgreSQL's own verifier: the keys to log
    // in with come from the client itself.
    let list = format!(
        "{} {}\n{} {}\n\"carl\" \"md5{}\"\n",
        quoted(&ann.user),
        quoted(&ann.password),
        quoted(&bob.user),
        quoted(&stored(&superuser, &bob.user).await),
        // Of whatever.
        "2b1c3a0c2d8f5b3f0f3e4b7d6a5c4e3d",
    );
    let (proxy, events) = start(Mode::Regulate, &anonymous(&database), |config| {
        config.access.users = Users::read_userlist(&list).unwrap();
    });
    let addr = proxy.listen(loopback(), None).unwrap();
    let url = |user: &str, password: &str| url_of(&database, addr, user, password);
    for person in [ann, bob] {
        // The second login finds the greeting kept and its own server connection.
        for _ in 0..2 {
            let session = try_login(&url(&person.user, &person.password)).await.unwrap();
            assert_eq!(who(&session).await, person.user);
        }
    }
    let expected =
        |user: &str| format!("28P01 surgetank: password authentication failed for user \"{user}\"");
    for user in [ann.user.as_str(), bob.user.as_str(), "carl", "nobody"] {
        let error = try_login(&url(user, "wrong")).await.err().unwrap();
        assert_eq!(error, expected(user));
    }
    // No secret is shown or recorded.
    let seen = format!("{proxy:?} {:?}", events.all());
    for secret in [&ann.password, &bob.password, "wrong", "SCRAM-SHA-256$"] {
        assert!(!seen.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn md5_passwords_are_challenged_and_passed_on() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let superuser = postgres.superuser().await;
    let user = &database.owner.user;
    let password = &database.owner.password;
    superuser
        .batch_execute(&format!(
            "SET password_encryption = 'md5'; ALTER ROLE {user} PASSWORD '{password}'"
        ))
        .await
        .unwrap();
    let mut users = Users::nobody();
    users.insert(user, &stored(&superuser, user).await).unwrap();
    // The server lets an MD5 password in where its rules say scram-sha-256 only by md5; over its
    // socket it trusts.
    let socket = database.address.socket();
    let folder = socket.parent().unwrap().display();
    let port = database.address.tcp().port();
    let upstream = format!("postgres:///{}?host={folder}&port={port}", database.name);
    let (proxy, _) = start(Mode::Regulate, &upstream, |config| config.access.users = users);
    let addr = proxy.listen(loopback(), None).unwrap();
    let session = try_login(&database.url_through(addr)).await.unwrap();
    assert_eq!(&who(&session).await, user);
    let wrong = database.url_through(addr).replace("%20", "%21");
    assert!(try_login(&wrong).await.err().unwrap().starts_with("28P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_asked_about_users() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let superuser = postgres.superuser().await;
    let asker = postgres.cluster().superuser().clone();
    let user = &database.owner.user;
    let odd = format!("{user}'; DROP ROLE {user}; --");
    let mut users = Users::nobody();
    users.insert(&asker.user, &asker.password).unwrap();
    let (proxy, _) = start(Mode::Regulate, &anonymous(&database), |config| {
        config.access.users = users;
        config.access.query = Some(AuthQuery::by(&asker.user));
    });
    let addr = proxy.listen(loopback(), None).unwrap();
    let url = |user: &str, password: &str| url_of(&database, addr, user, password);
    let session = try_login(&url(user, &database.owner.password)).await.unwrap();
    assert_eq!(&who(&session).await, user);
    for nobody in ["nobody", &odd] {
        let error = try_login(&url(nobody, "x")).await.err().unwrap();
        assert!(error.contains("password authentication failed"), "{error}");
    }
    // A new password counts at the latest after one failed login.
    superuser.batch_execute(&format!("ALTER ROLE {user} PASSWORD 'new'")).await.unwrap();
    assert!(try_login(&url(user, "new")).await.is_err());
    assert_eq!(&who(&try_login(&url(user, "new")).await.unwrap()).await, user);
    assert!(try_login(&url(user, &database.owner.password)).await.is_err());

    // A query that cannot be run says so.
    let (proxy, _) = start(Mode::Regulate, &anonymous(&database), |config| {
        let mut users = Users::nobody();
        users.insert(&asker.user, &asker.password).unwrap();
        config.access.users = users;
        config.access.query =
            Some(AuthQuery { text: "SELECT $1::text".to_owned(), ..AuthQuery::by(&asker.user) });
    });
    let addr = proxy.listen(loopback(), None).unwrap();
    let error = try_login(&database.url_through(addr)).await.err().unwrap();
    assert!(error.contains("auth_query") && error.contains("two columns"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_asked_about_admins() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let superuser = postgres.superuser().await;
    let asker = postgres.cluster().superuser().clone();
    let (user, password) = (&database.owner.user, &database.owner.password);
    for mode in MODES {
        let (proxy, _) = start(mode, &anonymous(&database), |config| {
            config.databases[0].server_name = Some(database.name.as_str().into());
            config.access.users = Users::nobody();
            config.access.users.insert(&asker.user, &asker.password).unwrap();
            config.access.query = Some(AuthQuery::by(&asker.user));
            config.admin_users = vec![user.clone(), "made-up".to_owned()];
        });
        let addr = proxy.listen(loopback(), None).unwrap();
        let url = |user: &str, password: &str| {
            format!("{}?dbname=pgbouncer", url_of(&database, addr, user, password))
        };
        let admin = try_login(&url(user, password)).await.unwrap();
        admin.batch_execute("SHOW STATS").await.unwrap();
        for (user, password) in [(user.as_str(), "wrong"), ("made-up", password)] {
            let error = try_login(&url(user, password)).await.err().unwrap();
            assert!(error.starts_with("28P01"), "{mode:?} {user}: {error}");
        }
        // Known to the server, and no admin: told only who has proved who he is.
        let error = try_login(&url(&asker.user, &asker.password)).await.err().unwrap();
        assert!(error.starts_with("42501"), "{mode:?}: {error}");
        // A new password counts at the latest after one failed login.
        superuser.batch_execute(&format!("ALTER ROLE {user} PASSWORD 'new'")).await.unwrap();
        let _maybe = try_login(&url(user, "new")).await;
        try_login(&url(user, "new")).await.unwrap();
        let back = format!("ALTER ROLE {user} PASSWORD '{password}'");
        superuser.batch_execute(&back).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let user = &database.owner.user;
    let url = |addr| database.url_through(addr);
    let (proxy, _) = start(Mode::Regulate, &database.url(), |_| {});
    let addr = proxy.listen(loopback(), None).unwrap();
    let rules = |text: &str| Access { rules: Rules::read(text).unwrap(), ..Access::default() };
    let cases = [
        ("host all all 127.0.0.1/32 scram-sha-256", None),
        ("host all all 127.0.0.1/32 md5", None),
        ("host all all 127.0.0.1/32 trust", None),
        (
            "host all all 127.0.0.1/32 reject\nhost all all all trust",
            Some("28000 surgetank: no rule"),
        ),
        (
            "host all all 10.0.0.0/8 trust",
            Some("28000 surgetank: no rule lets in host \"127.0.0.1\""),
        ),
        ("hostssl all all all trust", Some("no encryption")),
        // In the clear, but it does not leave the machine.
        ("host all all all password", None),
    ];
    for (text, refused) in cases {
        proxy.set_access(rules(text)).unwrap();
        match (try_login(&url(addr)).await, refused) {
            (Ok(session), None) => assert_eq!(&who(&session).await, user, "{text}"),
            (Err(error), Some(says)) => assert!(error.contains(says), "{text}: {error}"),
            (got, _) => panic!("{text}: {:?}", got.map(|_| ())),
        }
    }
    // Trusted is who exists.
    proxy.set_access(rules("host all all all trust")).unwrap();
    let stranger = format!("postgres://stranger@{addr}/{}", database.name);
    assert!(try_login(&stranger).await.err().unwrap().starts_with("28P01"));
    assert!(Rules::all(Method::Trust) != Rules::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits_and_nobody_else_does() {
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let (proxy, _) = start(Mode::Regulate, &database.url(), |_| {});
    let addr = proxy.listen(loopback(), None).unwrap();
    let right = database.url_through(addr);
    let wrong = right.replace("%20", "%21");
    let began = Instant::now();
    for _ in 0..5 {
        assert!(try_login(&wrong).await.is_err());
    }
    // 0.1 s, 0.2 s, 0.4 s, 0.8 s, 1.6 s.
    assert!(began.elapsed() >= Duration::from_millis(3100), "{:?}", began.elapsed());
    // Somebody else is not kept waiting by the answer that is (for seconds from now).
    let guess = tokio_postgres::connect(&wrong, NoTls);
    tokio::pin!(guess);
    tokio::select! {
        biased;
        _ = &mut guess => panic!("the guess was answered first"),
        session = testkit::connect(&right) => drop(session),
    }
    assert_eq!(code(&guess.await.err().unwrap()), "28P01");
}

#[tokio::test]
async fn what_lets_everybody_in_is_refused() {
    let any = "0.0.0.0:0".parse().unwrap();
    let bare = "postgres://ann@127.0.0.1/shop";
    let (proxy, _) = start(Mode::Regulate, bare, |_| {});
    assert!(matches!(proxy.listen(any, None), Err(Error::NotLoopback(_))));
    let trusting = Access { rules: Rules::all(Method::Trust), ..Access::default() };
    proxy.set_access(trusting).unwrap();
    assert!(proxy.listen(any, None).is_ok(), "a rule says so");
    assert!(matches!(proxy.set_access(Access::default()), Err(Error::NotLoopback(_))));
    let (proxy, _) = start(Mode::Regulate, bare, |config| config.access.users = Users::nobody());
    assert!(proxy.listen(any, None).is_ok(), "only who is listed comes in");

    let nobody = Upstream::parse("postgres://127.0.0.1/shop").unwrap();
    let mut config = proxy::Config::new(Mode::Regulate, nobody.clone());
    let error = config.check().unwrap_err().to_string();
    assert!(error.contains("names no user"), "{error}");
    config.access.users = Users::nobody();
    assert!(config.check().is_ok());
    config.access.sslmode = "require".parse().unwrap();
    assert!(config.check().unwrap_err().to_string().contains("needs a certificate"));
    let config = proxy::Config::new(Mode::Observe, nobody.clone());
    assert!(config.check().is_ok(), "in observe mode the server checks");
    assert_eq!(Database::any(nobody).label(), "*");
}
