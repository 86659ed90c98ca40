//! Protocol 3.2: long keys for cancel requests, and what is negotiated.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use proxy::Mode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use wire::backend::{self, Authentication, BackendKey, Report};
use wire::frame::put;
use wire::frontend;
use wire::startup::{self, Startup};

use crate::faults::running;
use crate::harness::{Fixture, MODES, loopback, start};
use crate::raw::{Message, Raw};

/// Sends a cancel request; returns when it was delivered, or dropped.
async fn cancel(addr: SocketAddr, pid: i32, key: &[u8]) {
    let mut raw = Raw::connect(addr).await;
    startup::put_cancel(&mut raw.out, pid, key);
    raw.send().await;
    assert_eq!(raw.try_receive().await, None, "it is never answered");
}

fn negotiated(heard: &[Message]) -> Option<&[u8]> {
    heard.iter().find(|message| message.tag == 'v').map(|message| &*message.body)
}

#[tokio::test]
async fn a_client_gets_the_protocol_that_it_asks_for() {
    let fixture = Fixture::start(Mode::Regulate).await;
    let owner = &fixture.database.owner;
    let own: [(&[u8], &[u8]); 2] =
        [(b"user", owner.user.as_bytes()), (b"database", fixture.database.name.as_bytes())];
    let odd: &[(&[u8], &[u8])] = &[(b"_pq_.a", b"1"), (b"_pq_.b", b"")];
    let options: &[u8] = b"\0\0\0\x02_pq_.a\0_pq_.b\0";
    let answer = |version: &[u8], options: &[u8]| Some([version, options].concat());
    // As PostgreSQL 18 answers.
    type Case<'a> = (u16, &'a [(&'a [u8], &'a [u8])], Option<Vec<u8>>, usize);
    let cases: [Case<'_>; 7] = [
        (0, &[], None, 4),
        (1, &[], None, 4),
        (2, &[], None, 32),
        (3, &[], answer(b"\0\x03\0\x02", b"\0\0\0\0"), 32),
        (9999, odd, answer(b"\0\x03\0\x02", options), 32),
        (2, odd, answer(b"\0\x03\0\x02", options), 32),
        (0, odd, answer(b"\0\x03\0\0", options), 4),
    ];
    for (minor, more, expected, length) in cases {
        let mut raw = Raw::connect(fixture.addr).await;
        raw.startup(minor, &[&own, more].concat());
        let heard = raw.authenticate(&owner.password).await;
        assert_eq!(negotiated(&heard).map(<[u8]>::to_vec), expected, "3.{minor}");
        assert_eq!(raw.key.1.len(), length, "3.{minor}");
        assert_eq!(raw.value("SELECT 5").await, "5");
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_long_key_cancels_and_a_part_of_it_does_not() {
    let fixture = Fixture::start(Mode::Regulate).await;
    let watcher = fixture.postgres.superuser().await;
    let owner = &fixture.database.owner;
    let mut raw = Raw::connect(fixture.addr).await;
    raw.startup(
        2,
        &[(b"user", owner.user.as_bytes()), (b"database", fixture.database.name.as_bytes())],
    );
    raw.authenticate(&owner.password).await;
    let (pid, key) = raw.key.clone();
    raw.query("SELECT pg_sleep(60)").send().await;
    running(&watcher, &fixture.database.name, "pg_sleep(60)").await;
    cancel(fixture.addr, pid, &key[..4]).await;
    cancel(fixture.addr, pid, &[&key[..], &[0]].concat()).await;
    running(&watcher, &fixture.database.name, "pg_sleep(60)").await;
    cancel(fixture.addr, pid, &key).await;
    let answer = raw.until_ready().await;
    let error = answer.iter().find(|message| message.tag == 'E').expect("an error");
    assert_eq!(error.code(), "57014");
    fixture.end().await;
}

/// A server of PostgreSQL 18's kind: it gives keys of any length, and its query `hold` lasts until
/// it is cancelled.
struct Double {
    key: Vec<u8>,
    /// The minor versions that it was asked for.
    minors: Mutex<Vec<u16>>,
    held: Notify,
    cancelled: Notify,
}

const PID: i32 = 77;

impl Double {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut sessions = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            sessions.spawn(Arc::clone(&self).session(stream));
        }
    }

    /// Ends with its client.
    async fn session(self: Arc<Self>, mut stream: TcpStream) -> std::io::Result<()> {
        let mut packet = stream.read_u32().await?.to_be_bytes().to_vec();
        let length = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]) as usize;
        packet.resize(length, 0);
        stream.read_exact(&mut packet[4..]).await?;
        let minor = match startup::read(&packet).expect("a startup packet") {
            Startup::Cancel { pid, key } => {
                assert_eq!((pid, key), (PID, &*self.key));
                self.cancelled.notify_one();
                return Ok(());
            }
            Startup::Session(session) => session.minor,
            other => panic!("{other:?}"),
        };
        self.minors.lock().expect("no panic").push(minor);
        let mut out = Vec::new();
        if minor > 2 {
            backend::put_negotiate(&mut out, 2, [].into_iter());
        }
        Authentication::Ok.put(&mut out);
        BackendKey { pid: PID, key: &self.key }.put(&mut out);
        backend::put_ready(&mut out, b'I');
        loop {
            stream.write_all(&out).await?;
            out.clear();
            let tag = stream.read_u8().await?;
            let mut content = vec![0; stream.read_u32().await? as usize - 4];
            stream.read_exact(&mut content).await?;
            match tag {
                frontend::tag::QUERY if content.starts_with(b"hold") => {
                    self.held.notify_one();
                    self.cancelled.notified().await;
                    let (code, message): (&[u8], &[u8]) = (b"57014", b"canceled");
                    let severity = b"ERROR";
                    Report { severity, code, message, ..Report::default() }.put_error(&mut out);
                    backend::put_ready(&mut out, b'I');
                }
                frontend::tag::QUERY => {
                    backend::put_command_complete(&mut out, b"SET");
                    backend::put_ready(&mut out, b'I');
                }
                frontend::tag::PARSE => backend::put_bare(&mut out, backend::tag::PARSE_COMPLETE),
                frontend::tag::BIND => backend::put_bare(&mut out, backend::tag::BIND_COMPLETE),
                frontend::tag::EXECUTE => backend::put_command_complete(&mut out, b"SET"),
                frontend::tag::SYNC => backend::put_ready(&mut out, b'I'),
                frontend::tag::TERMINATE => return Ok(()),
                _ => put(&mut out, backend::tag::NO_DATA, |_| {}),
            }
        }
    }
}

#[tokio::test]
async fn servers_keys_of_any_length_cancel() {
    for mode in MODES {
        for (length, minor) in [(4, 0), (32, 2), (255, 9999), (256, 2)] {
            let listener = TcpListener::bind(loopback()).await.unwrap();
            let server = listener.local_addr().unwrap();
            let url = format!("postgres://ann@{server}/shop?sslmode=disable");
            let double = Arc::new(Double {
                key: (0..length).map(|at: usize| u8::try_from(at).unwrap() ^ 0xa5).collect(),
                minors: Mutex::default(),
                held: Notify::new(),
                cancelled: Notify::new(),
            });
            let mut serving = tokio::task::JoinSet::new();
            serving.spawn(Arc::clone(&double).serve(listener));
            let (proxy, _) = start(mode, &url, |config| config.adaptive = false);
            let addr = proxy.listen(loopback(), None).unwrap();
            let mut raw = Raw::connect(addr).await;
            raw.startup(minor, &[(b"user", b"ann"), (b"database", b"shop")]);
            let heard = raw.authenticate("").await;
            assert_eq!(negotiated(&heard).is_some(), minor > 2);
            let (pid, key) = raw.key.clone();
            if mode == Mode::Observe {
                assert_eq!((pid, &key), (PID, &double.key), "it is the server's own");
                assert_eq!(*double.minors.lock().unwrap(), [minor]);
            } else {
                assert_eq!(key.len(), if minor >= 2 { 32 } else { 4 });
            }
            raw.query("hold").send().await;
            double.held.notified().await;
            cancel(addr, pid, &key).await;
            assert_eq!(raw.until_ready().await[0].code(), "57014", "{mode:?} {length}");
            drop(raw);
            proxy.shutdown(std::time::Duration::ZERO).await;
        }
    }
}
