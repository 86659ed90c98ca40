//! Clients that come over a Unix socket.

use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use proxy::{Address, Config, Error, Mode, Rules, SocketPermissions};
use testkit::Session;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::harness::{Fixture, MODES};

/// Where drivers look for the socket: a folder and a port.
const PORT: u16 = 6432;

fn socket_in(folder: &Path) -> PathBuf {
    let Address::Unix(path) = Address::unix(folder, PORT) else { unreachable!("it is one") };
    path
}

/// A session's settings over the socket in this folder, as somebody in particular.
fn through(folder: &Path, fixture: &Fixture, user: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    let password = &fixture.database.owner.password;
    config.host_path(folder).port(PORT).user(user).password(password);
    config.dbname(&fixture.database.name);
    config
}

/// The name of the user who runs this.
fn who_we_are() -> String {
    User::from_uid(Uid::current()).expect("an answer").expect("a user with a name").name
}

#[tokio::test(flavor = "multi_thread")]
async fn both_modes_serve_over_a_unix_socket_and_tcp() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let folder = tempfile::tempdir().unwrap();
        let path = socket_in(folder.path());
        fixture.proxy.listen_unix(&path, &SocketPermissions::default(), None).unwrap();
        let config = through(folder.path(), &fixture, &fixture.database.owner.user);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        client.batch_execute("BEGIN; CREATE TEMP TABLE t(n int); COMMIT").await.unwrap();
        // Much more than the socket holds.
        let text = "SELECT repeat('x', 1000000) FROM generate_series(1, 8)";
        let rows = client.query(text, &[]).await.unwrap();
        assert!(rows.iter().all(|row| row.get::<_, String>(0).len() == 1_000_000));
        let token = client.cancel_token();
        let (slept, cancelled) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), async {
            until_asleep(&fixture).await;
            token.cancel_query(NoTls).await
        });
        cancelled.unwrap();
        assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
        drop(fixture.connect().await);
        let seen = fixture.proxy.control().look();
        let session = seen.clients.iter().find(|client| client.peer.is_none()).unwrap();
        assert_eq!((&*session.dyno, session.local), ("[local]", None));
        drop(client);
        fixture.proxy.unlisten(Address::Unix(path.clone())).unwrap();
        assert!(!path.exists(), "nothing is left behind");
        fixture.end().await;
    }
}

async fn until_asleep(fixture: &Fixture) {
    let watcher: Session = fixture.postgres.superuser().await;
    let text = "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'";
    while watcher.query(text, &[&fixture.database.name]).await.expect("rows").is_empty() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_who_the_operating_system_says() {
    let me = who_we_are();
    let fixture = Fixture::start_with(Mode::Regulate, |config: &mut Config| {
        config.access.rules = Rules::read("local all all peer\nhost all all all trust").unwrap();
        config.access.users = proxy::Users::read_userlist(&format!("\"{me}\" \"\"")).unwrap();
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = socket_in(folder.path());
    fixture.proxy.listen_unix(&path, &SocketPermissions::default(), None).unwrap();
    let said = |user: &str| {
        let config = through(folder.path(), &fixture, user);
        async move { config.connect(NoTls).await.err().map(|error| format!("{error:?}")) }
    };
    let other = said("somebody_else").await.unwrap();
    assert!(other.contains("peer authentication failed for user \\\"somebody_else\\\""), "{other}");
    // Passed; PostgreSQL has no such role, or lets it in.
    let ours = said(&me).await.unwrap_or_default();
    assert!(!ours.contains("peer authentication"), "{ours}");
    fixture.end().await;
    assert!(!path.exists(), "nothing is left behind");
}

#[tokio::test]
async fn the_proxys_own_user_administers_it_over_a_unix_socket_without_a_password() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let folder = tempfile::tempdir().unwrap();
        let path = socket_in(folder.path());
        fixture.proxy.listen_unix(&path, &SocketPermissions::default(), None).unwrap();
        let socket = folder.path().display();
        let place = format!("host={socket} port={PORT} dbname=pgbouncer");
        let admin = testkit::connect(&format!("{place} user=pgbouncer")).await;
        for command in ["PAUSE", "RESUME"] {
            admin.batch_execute(command).await.unwrap();
        }
        // Under another name it is not known who that is, nor does a way lead there from elsewhere.
        let other = format!("{place} user=somebody_else");
        tokio_postgres::connect(&other, NoTls).await.err().unwrap();
        let url = format!("{}?user=pgbouncer&dbname=pgbouncer", fixture.url());
        tokio_postgres::connect(&url, NoTls).await.err().unwrap();
        drop(admin);
        fixture.end().await;
    }
}

#[tokio::test]
async fn what_is_listened_on_is_not_taken() {
    let fixture = Fixture::start(Mode::Regulate).await;
    let folder = tempfile::tempdir().unwrap();
    let path = socket_in(folder.path());
    let listen = || fixture.proxy.listen_unix(&path, &SocketPermissions::default(), None);
    listen().unwrap();
    let error = listen().unwrap_err();
    assert!(matches!(&error, Error::Listen { addr: Address::Unix(at), .. } if *at == path));
    assert!(error.to_string().contains("another process listens there"), "{error}");
    fixture.end().await;
}
