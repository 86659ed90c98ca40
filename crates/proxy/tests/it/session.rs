//! Cancel requests, and the end of a session.

use std::time::Duration;

use proxy::Mode;

use crate::harness::{Fixture, MODES, SOON, code, limit};
use crate::raw::Raw;

#[tokio::test]
async fn a_cancel_request_never_hits_another_session() {
    let fixture = Fixture::start_with(Mode::Regulate, limit(1)).await;
    let (one, two) = (fixture.connect().await, fixture.connect().await);
    one.batch_execute("SELECT 1").await.unwrap();
    let cancel = one.cancel_token();
    for _ in 0..20 {
        // The first session does not hold the server connection: nothing may be hit.
        let (slept, cancelled) = tokio::join!(
            two.batch_execute("SELECT pg_sleep(0.01)"),
            cancel.cancel_query(tokio_postgres::NoTls)
        );
        cancelled.unwrap();
        slept.unwrap();
    }
    // Short requests and cancel requests at the same time: only one's own are ever hit.
    for _ in 0..50 {
        let (mine, cancelled, others) = tokio::join!(
            one.batch_execute("SELECT pg_sleep(0.002)"),
            cancel.cancel_query(tokio_postgres::NoTls),
            two.batch_execute("SELECT pg_sleep(0.002)"),
        );
        cancelled.unwrap();
        others.unwrap();
        if let Err(error) = mine {
            assert_eq!(code(&error), "57014");
        }
    }
    drop((one, two));
    fixture.end().await;
}

#[tokio::test]
async fn a_made_up_key_cancels_nothing() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let raw = Raw::login(&fixture).await;
        assert_ne!(raw.key.0, 0);
        let mut intruder = Raw::connect(fixture.addr).await;
        wire::startup::put_cancel(&mut intruder.out, raw.key.0, &[9, 9, 9, 9]);
        intruder.send().await;
        assert_eq!(intruder.try_receive().await, None, "it is never answered");
        drop(raw);
        fixture.end().await;
    }
}

#[tokio::test]
async fn shutdown_ends_sessions_with_a_word() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let mut idle = Raw::login(&fixture).await;
        idle.value("SELECT 1").await;
        let mut open = Raw::login(&fixture).await;
        open.query("BEGIN; SELECT 1").tags().await;
        let mut busy = Raw::login(&fixture).await;
        busy.query("SELECT pg_sleep(60)").send().await;
        let watcher = fixture.postgres.superuser().await;
        fixture.proxy.shutdown(Duration::from_millis(50)).await;
        for raw in [&mut idle, &mut open, &mut busy] {
            let last = raw.receive().await;
            assert_eq!((last.tag, last.code().as_str()), ('E', "57P01"), "{}", last.text());
            assert_eq!(raw.try_receive().await, None);
        }
        // Nothing is left on the server, even of what ran; in observe mode what runs is not ours
        // to cancel, and ends when PostgreSQL notices.
        if mode == Mode::Regulate {
            let text = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
            let left: i64 =
                watcher.query_one(text, &[&fixture.database.name]).await.unwrap().get(0);
            assert_eq!(left, 0);
        }
    }
}

#[tokio::test]
async fn shutdown_lets_a_transaction_finish_within_its_grace() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let client = fixture.connect().await;
        client.batch_execute("BEGIN; SELECT 1").await.unwrap();
        let Fixture { proxy, addr, .. } = fixture;
        let finish = async move {
            testkit::wait_until(SOON, || std::net::TcpStream::connect(addr).is_err()).await;
            client.batch_execute("SELECT 1").await.unwrap();
            client.batch_execute("COMMIT").await.unwrap();
            drop(client);
        };
        tokio::join!(proxy.shutdown(SOON), finish);
    }
}

#[tokio::test]
async fn a_socket_of_another_network_is_served_as_its_dyno_until_it_is_let_go() {
    for mode in MODES {
        let fixture = Fixture::start(mode).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = fixture.proxy.serve(listener.into(), "web.7").unwrap();
        let session = testkit::connect(&fixture.database.url_through(addr)).await;
        session.batch_execute("SELECT 1").await.unwrap();
        let events = fixture.all_events();
        let names = events.iter().filter_map(|event| match event {
            trace::Event::DynoNamed { name, .. } => Some(&**name),
            _ => None,
        });
        assert_eq!(names.collect::<Vec<_>>(), ["web.7"]);
        // No successor gets it: only whoever made the network can make it again.
        let handed = fixture.proxy.sockets().unwrap();
        assert!(handed.iter().all(|handed| handed.addr != addr.into()));
        drop(serving);
        let refused = async {
            while tokio::net::TcpStream::connect(addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, refused).await.expect("nobody listens any more");
        // Who is in stays in.
        session.batch_execute("SELECT 1").await.unwrap();
        drop(session);
        fixture.end().await;
    }
}
