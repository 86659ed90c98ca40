//! Certificates of version 1, as `openssl x509 -req` makes them without extensions.

use proxy::ClientTls;

use crate::certificates::{Certificates, hba, postgres};
use crate::harness::{MODES, loopback, start};
use crate::tls::{SCRAM, psql, through, to, with};

#[tokio::test(flavor = "multi_thread")]
async fn ours_is_shown_to_clients() {
    let made = Certificates::make();
    made.version_1("old", "localhost");
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    for mode in MODES {
        let (proxy, _) = start(mode, &database.url(), |config| {
            config.access.tls = Some(made.tls("old", None));
        });
        let addr = proxy.listen(loopback(), None).unwrap();
        let url = database.url_through(addr).replace("127.0.0.1", "localhost");
        let ca = made.parameter("sslrootcert", "ca.crt");
        for parameters in [&["sslmode=require"][..], &["sslmode=verify-full", &ca]] {
            let got = psql(&postgres, &with(&url, parameters), "SELECT true").await;
            assert_eq!(got.as_deref(), Ok("t"), "{mode:?} {parameters:?}");
        }
    }
    // That a key is another's is found at once, as with the others.
    for cert in ["old.crt", "proxy.crt"] {
        let error = ClientTls::load(&made.path(cert), &made.path("next.key"), None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(cert) && text.contains("next.key"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_is_checked_as_libpq_does() {
    let made = Certificates::make();
    made.version_1("server", "localhost");
    let postgres = postgres(&made, SCRAM).await;
    let database = postgres.database().await;
    let root = |file: &str| made.parameter("sslrootcert", file);
    let (ca, old_ca, stranger) = (root("ca.crt"), root("ca-1.crt"), root("stranger.crt"));
    let pinned = root("server.crt");
    let select = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    // The handshake is signed in another way by each.
    for newest in ["TLSv1.3", "TLSv1.2"] {
        let statement = format!("ALTER SYSTEM SET ssl_max_protocol_version = '{newest}'");
        postgres.superuser().await.batch_execute(&statement).await.unwrap();
        hba(&postgres, SCRAM).await;
        for parameters in [
            &["sslmode=require"][..],
            &["sslmode=verify-ca", &ca],
            &["sslmode=verify-ca", &old_ca],
            &["sslmode=verify-ca", &pinned],
            &["sslmode=require", "channel_binding=require"],
        ] {
            let got = through(&database, parameters, select).await;
            assert_eq!(got.as_deref(), Ok("t"), "{newest} {parameters:?}");
        }
        let by_name = database.url().replace("127.0.0.1", "localhost");
        let full = ["sslmode=verify-full", &ca];
        let got = to(&by_name, &database, &full, select).await;
        assert_eq!(got.as_deref(), Ok("t"), "{newest}");
        for parameters in [&full, &["sslmode=verify-ca", &stranger]] {
            let error = through(&database, parameters, select).await.unwrap_err();
            assert!(error.contains("TLS with the server failed"), "{parameters:?}: {error}");
        }
    }
}
