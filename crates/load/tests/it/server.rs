//! An HTTP server for tests: answers each path as its name says, and holds back while its gate is
//! closed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use load::{Http, Reach, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers `/status/N` with N, hangs up on `/hang-up`, says nonsense on `/nonsense`, and greets on
/// anything else. Ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    gate: watch::Sender<bool>,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// A server with its gate open.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (gate, gate_seen) = watch::channel(true);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, gate_seen, Arc::clone(&seen)));
        Self { address, gate, seen, _tasks: tasks }
    }

    pub(crate) fn target(&self, timeout: Duration) -> Target {
        Target::Http(Http::at(self.address, timeout, Reach::Loopback).expect("it is loopback"))
    }

    /// From now on requests are read and not answered.
    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    /// Answers all that wait, and all that come.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// The first lines of the requests so far, without the protocol's name.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no holder panics").clone()
    }
}

async fn accept(listener: TcpListener, gate: watch::Receiver<bool>, seen: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, gate.clone(), Arc::clone(&seen)));
    }
}

async fn answer(
    mut stream: TcpStream,
    mut gate: watch::Receiver<bool>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let path = line.split(' ').nth(1)?.to_owned();
    seen.lock().expect("no holder panics").push(line);
    gate.wait_for(|open| *open).await.ok()?;
    let status = path.strip_prefix("/status/").unwrap_or("200");
    let told = match path.as_str() {
        "/hang-up" => return None,
        "/nonsense" => "I would rather not\r\n\r\n".to_owned(),
        _ => format!(
            "HTTP/1.1 {status} So be it\r\ncontent-length: 3\r\nconnection: close\r\n\r\nhi\n"
        ),
    };
    stream.write_all(told.as_bytes()).await.ok()
}
