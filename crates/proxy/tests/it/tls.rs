//! TLS with clients and with the server.

use std::path::PathBuf;
use std::process::Stdio;

use proxy::{Access, Mode, Proxy, Rules, SslMode, Users};
use testkit::{Database, TestPostgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::certificates::{Certificates, postgres};
use crate::faults::running;
use crate::harness::{MODES, code, loopback, start};

pub(crate) const SCRAM: &str = "host all all 127.0.0.1/32 scram-sha-256";

/// Whether the session is encrypted as the server sees it, and by whom it is.
const SSL: &str =
    "SELECT ssl, coalesce(client_dn, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// Runs a statement by psql; gives what it printed, or its error.
pub(crate) async fn psql(
    postgres: &TestPostgres,
    url: &str,
    statement: &str,
) -> Result<String, String> {
    let mut program: PathBuf = postgres.cluster().bin("psql");
    if !program.exists() {
        program = "psql".into();
    }
    let output = Command::new(program)
        .args(["-X", "-A", "-t", "-d", url, "-c", statement])
        .env("PGCONNECT_TIMEOUT", "20")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("psql is part of PostgreSQL");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

pub(crate) fn with(url: &str, parameters: &[&str]) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{}", parameters.join("&"))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_every_sslmode() {
    let made = Certificates::make();
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let (ca, stranger) =
        (made.parameter("sslrootcert", "ca.crt"), made.parameter("sslrootcert", "stranger.crt"));
    for mode in MODES {
        let (proxy, _) = start(mode, &database.url(), |config| {
            config.access.tls = Some(made.tls("proxy", None));
        });
        let addr = proxy.listen(loopback(), None).unwrap();
        let url = database.url_through(addr);
        let cases: [(&[&str], Result<&str, &str>); 8] = [
            (&["sslmode=disable"], Ok("t")),
            (&["sslmode=allow"], Ok("t")),
            (&["sslmode=prefer"], Ok("t")),
            (&["sslmode=require"], Ok("t")),
            (&["sslmode=verify-ca", &ca], Ok("t")),
            (&["sslmode=verify-full", &ca], Ok("t")),
            (&["sslmode=verify-full", &stranger], Err("certificate verify failed")),
            (&["sslmode=disable", "channel_binding=require"], Err("channel binding required")),
        ];
        for (parameters, expected) in cases {
            let got = psql(&postgres, &with(&url, parameters), "SELECT true").await;
            match expected {
                Ok(wanted) => assert_eq!(got.as_deref(), Ok(wanted), "{mode:?} {parameters:?}"),
                Err(says) => {
                    let error = got.unwrap_err();
                    assert!(error.contains(says), "{mode:?} {parameters:?}: {error}");
                }
            }
        }
        let bound = ["sslmode=require", "channel_binding=require"];
        let got = psql(&postgres, &with(&url, &bound), "SELECT true").await;
        // In observe mode it is the server that must offer it, and it has no TLS here.
        assert_eq!(got.is_ok(), mode == Mode::Regulate, "{got:?}");

        // Who must encrypt, must.
        let access = Access {
            tls: Some(made.tls("proxy", None)),
            sslmode: SslMode::Require,
            ..Access::default()
        };
        proxy.set_access(access).unwrap();
        assert!(psql(&postgres, &with(&url, &["sslmode=prefer"]), "SELECT 1").await.is_ok());
        let error = psql(&postgres, &with(&url, &["sslmode=disable"]), "SELECT 1").await;
        assert!(error.unwrap_err().contains("must be encrypted"));
    }
}

/// A proxy in regulate mode to this server with these parameters; what a client gets.
pub(crate) async fn through(
    database: &Database,
    parameters: &[&str],
    statement: &str,
) -> Result<String, String> {
    to(&database.url(), database, parameters, statement).await
}

/// The same, with the server's URL as it is given.
pub(crate) async fn to(
    url: &str,
    database: &Database,
    parameters: &[&str],
    statement: &str,
) -> Result<String, String> {
    let (proxy, _) = start(Mode::Regulate, &with(url, parameters), |config| {
        // What cannot work is tried again for so long before it is told.
        config.queue_timeout = std::time::Duration::from_secs(5);
    });
    let addr = proxy.listen(loopback(), None).expect("a port");
    let (client, connection) =
        match tokio_postgres::connect(&database.url_through(addr), NoTls).await {
            Ok(session) => session,
            Err(error) => return Err(format!("{error:?}")),
        };
    let driver = tokio::join!(
        async {
            let rows = client.simple_query(statement).await.map_err(|error| format!("{error:?}"));
            drop(client);
            rows
        },
        connection
    );
    driver.0.map(|messages| {
        let row = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.expect("a row");
        (0..row.len()).filter_map(|index| row.get(index)).collect::<Vec<_>>().join("|")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_every_sslmode() {
    let made = Certificates::make();
    let postgres = postgres(&made, SCRAM).await;
    let database = postgres.database().await;
    let (ca, stranger) =
        (made.parameter("sslrootcert", "ca.crt"), made.parameter("sslrootcert", "stranger.crt"));
    let pinned = made.parameter("sslrootcert", "server.crt");
    let cases: [(&[&str], Result<&str, &str>); 12] = [
        (&["sslmode=disable"], Ok("f|")),
        (&["sslmode=allow"], Ok("f|")),
        (&["sslmode=prefer"], Ok("t|")),
        (&[], Ok("t|")),
        (&["sslmode=require"], Ok("t|")),
        (&["sslmode=verify-ca", &ca], Ok("t|")),
        (&["sslmode=verify-ca", &pinned], Ok("t|")),
        (&["sslmode=verify-ca", &ca, "channel_binding=require"], Ok("t|")),
        (&["sslmode=verify-full", &ca], Err("TLS with the server failed")),
        (&["sslmode=require", "channel_binding=disable"], Ok("t|")),
        (&["sslmode=verify-ca", &stranger], Err("TLS with the server failed")),
        (&["sslmode=disable", "channel_binding=require"], Err("channel_binding=require")),
    ];
    for (parameters, expected) in cases {
        let got = through(&database, parameters, SSL).await;
        match expected {
            Ok(wanted) => assert_eq!(got.as_deref(), Ok(wanted), "{parameters:?}"),
            Err(says) => {
                let error = got.unwrap_err();
                assert!(error.contains(says), "{parameters:?}: {error}");
            }
        }
    }
    // The name is compared only where it is asked for, and it is `localhost`.
    let full = ["sslmode=verify-full", &ca, "channel_binding=require"];
    let by_name = database.url().replace("127.0.0.1", "localhost");
    assert_eq!(to(&by_name, &database, &full, SSL).await.as_deref(), Ok("t|"));
    // What the rules say about TLS: "allow" and "prefer" try the other way.
    let user = &database.owner.user;
    crate::certificates::hba(&postgres, "hostssl all all 127.0.0.1/32 scram-sha-256").await;
    assert_eq!(through(&database, &["sslmode=allow"], SSL).await.as_deref(), Ok("t|"));
    let error = through(&database, &["sslmode=disable"], SSL).await.unwrap_err();
    assert!(error.contains("pg_hba.conf"), "{error}");
    crate::certificates::hba(&postgres, "hostnossl all all 127.0.0.1/32 scram-sha-256").await;
    assert_eq!(through(&database, &["sslmode=prefer"], SSL).await.as_deref(), Ok("f|"));
    // A certificate instead of a password.
    made.client(user);
    crate::certificates::hba(&postgres, "hostssl all all 127.0.0.1/32 cert").await;
    let cert = made.parameter("sslcert", &format!("{user}.crt"));
    let key = made.parameter("sslkey", &format!("{user}.key"));
    let got = through(&database, &["sslmode=require", &cert, &key], SSL).await;
    assert_eq!(got.as_deref(), Ok(format!("t|/CN={user}").as_str()));
    // The older kinds of password.
    let superuser = postgres.superuser().await;
    for (rule, encryption) in [("md5", "md5"), ("password", "scram-sha-256")] {
        crate::certificates::hba(&postgres, &format!("hostssl all all 127.0.0.1/32 {rule}")).await;
        let set = format!(
            "SET password_encryption = '{encryption}'; ALTER ROLE {user} PASSWORD '{}'",
            database.owner.password
        );
        superuser.batch_execute(&set).await.unwrap();
        assert_eq!(through(&database, &["sslmode=require"], SSL).await.as_deref(), Ok("t|"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_encrypted_and_a_cancel_request() {
    let made = Certificates::make();
    let postgres = postgres(&made, "hostssl all all 127.0.0.1/32 scram-sha-256").await;
    let database = postgres.database().await;
    for mode in MODES {
        let (proxy, _) = start(mode, &with(&database.url(), &["sslmode=require"]), |config| {
            config.access.tls = Some(made.tls("proxy", None));
        });
        let addr = proxy.listen(loopback(), None).unwrap();
        let url = database.url_through(addr);
        // In the clear to us, encrypted to the server; cancel requests go the same way.
        let session = testkit::connect(&url).await;
        let row = session.query_one(SSL, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{mode:?}");
        let canceller = session.cancel_token();
        let asleep = session.batch_execute("select pg_sleep(60)");
        let watcher = postgres.superuser().await;
        let (slept, ()) = tokio::join!(asleep, async {
            running(&watcher, &database.name, "pg_sleep(60)").await;
            canceller.cancel_query(NoTls).await.unwrap();
        });
        assert_eq!(code(&slept.unwrap_err()), "57014", "{mode:?}");
        // A large answer and a large question through both.
        let bytes = "SELECT length(repeat('x', 3000000)), repeat('y', 3000000)";
        let url = with(&url, &["sslmode=require"]);
        let unbound = with(&url, &["channel_binding=disable"]);
        let printed = psql(&postgres, &unbound, bytes).await.unwrap();
        assert_eq!(printed.len(), 3_000_008, "{mode:?}");
        let bound = psql(&postgres, &url, "SELECT 1").await;
        match mode {
            Mode::Regulate => assert_eq!(bound.as_deref(), Ok("1")),
            Mode::Observe => {
                let error = bound.unwrap_err();
                assert!(error.contains("channel_binding=disable"), "{error}");
                // With the server's own certificate it can be bound.
                let tls = Some(made.tls("server", None));
                proxy.set_access(Access { tls, ..Access::default() }).unwrap();
                let url = with(&url, &["channel_binding=require"]);
                assert_eq!(psql(&postgres, &url, "SELECT 1").await.as_deref(), Ok("1"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_certificates() {
    let made = Certificates::make();
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let user = &database.owner.user;
    made.client(user);
    made.client("somebody");
    let mut users = Users::nobody();
    users.insert(user, &database.owner.password).unwrap();
    let (proxy, _) = start(Mode::Regulate, &database.url(), |config| {
        config.access = Access {
            users,
            rules: Rules::read("hostssl all all all cert").unwrap(),
            tls: Some(made.tls("proxy", Some("ca.crt"))),
            ..Access::default()
        };
    });
    let addr = proxy.listen(loopback(), None).unwrap();
    let url = format!("postgres://{user}@{addr}/{}?sslmode=require", database.name);
    let show = |name: &str| {
        let cert = made.parameter("sslcert", &format!("{name}.crt"));
        let key = made.parameter("sslkey", &format!("{name}.key"));
        with(&url, &[&cert, &key])
    };
    let who = psql(&postgres, &show(user), "SELECT current_user").await;
    assert_eq!(who.as_ref(), Ok(user));
    for wrong in [show("somebody"), with(&url, &["sslcert=/nowhere"])] {
        let error = psql(&postgres, &wrong, "SELECT 1").await.unwrap_err();
        assert!(error.contains("certificate authentication failed"), "{error}");
    }
    // Who checks certificates needs an authority.
    let rules = Rules::read("hostssl all all all cert").unwrap();
    let tls = Some(made.tls("proxy", None));
    let error = proxy.set_access(Access { rules, tls, ..Access::default() }).unwrap_err();
    assert!(error.to_string().contains("certificate authority"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_for_those_who_come_now() {
    let made = Certificates::make();
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let (proxy, _) = start(Mode::Regulate, &database.url(), |config| {
        config.access.tls = Some(made.tls("proxy", None));
    });
    let addr = proxy.listen(loopback(), None).unwrap();
    let seen = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        let (_, state) = stream.get_ref();
        state.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let mut old = encrypted(addr, false).await;
    let before = seen(&old);
    proxy.set_access(Access { tls: Some(made.tls("next", None)), ..Access::default() }).unwrap();
    let new = encrypted(addr, true).await;
    assert_ne!(before, seen(&new));
    // The old one goes on.
    assert_eq!(first_answer(&mut old, &database).await, b'R');
}

/// TLS with a proxy, asked for first or at once; who the proxy is, is not checked.
async fn encrypted(
    addr: std::net::SocketAddr,
    direct: bool,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    try_encrypted(addr, direct, b"postgresql").await.expect("TLS")
}

async fn try_encrypted(
    addr: std::net::SocketAddr,
    direct: bool,
    protocol: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(addr).await?;
    if !direct {
        let mut request = Vec::new();
        wire::startup::put_ssl_request(&mut request);
        stream.write_all(&request).await?;
        assert_eq!(stream.read_u8().await?, b'S');
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own")
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(crate::certificates::Anybody))
        .with_no_client_auth();
    if !protocol.is_empty() {
        config.alpn_protocols = vec![protocol.to_vec()];
    }
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await
}

/// The first byte of the answer to a startup packet.
async fn first_answer(
    stream: &mut tokio_rustls::client::TlsStream<TcpStream>,
    database: &Database,
) -> u8 {
    let mut packet = Vec::new();
    let parameters: [(&[u8], &[u8]); 2] =
        [(b"user", database.owner.user.as_bytes()), (b"database", database.name.as_bytes())];
    wire::startup::put_session(&mut packet, 0, parameters.into_iter());
    stream.write_all(&packet).await.expect("it listens");
    stream.read_u8().await.unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_tls_and_bytes_put_in_between() {
    let made = Certificates::make();
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    for mode in MODES {
        let (proxy, _) = start(mode, &database.url(), |config| {
            config.access.tls = Some(made.tls("proxy", None));
        });
        let addr = proxy.listen(loopback(), None).unwrap();
        let mut direct = encrypted(addr, true).await;
        assert_eq!(first_answer(&mut direct, &database).await, b'R', "{mode:?}");
        // Direct TLS must name its protocol.
        match try_encrypted(addr, true, b"").await {
            Ok(mut nameless) => assert_eq!(first_answer(&mut nameless, &database).await, 0),
            Err(error) => panic!("{error}"),
        }
        assert!(try_encrypted(addr, true, b"http/1.1").await.is_err());
        // Something in the clear behind the request for TLS.
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let mut bytes = Vec::new();
        wire::startup::put_ssl_request(&mut bytes);
        bytes.extend_from_slice(b"\0\0\0\x08\x04\xd2\x16\x2f");
        stream.write_all(&bytes).await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        let text = String::from_utf8_lossy(&heard).into_owned();
        assert!(text.contains("unencrypted data after SSL request"), "{mode:?}: {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_connections_with_tls_move_between_workers() {
    let made = Certificates::make();
    let postgres = postgres(&made, SCRAM).await;
    let database = postgres.database().await;
    let url = with(&database.url(), &["sslmode=require"]);
    let (proxy, _) = start(Mode::Regulate, &url, |config| {
        config.workers = 2.try_into().unwrap();
        config.limit = std::num::NonZeroU32::new(1);
    });
    let proxy: Proxy = proxy;
    let addr = proxy.listen(loopback(), None).unwrap();
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(testkit::connect(&database.url_through(addr)).await);
    }
    for round in 0..3 {
        for session in &sessions {
            let row = session.query_one(SSL, &[]).await.unwrap();
            assert!(row.get::<_, bool>(0), "{round}");
        }
    }
}
