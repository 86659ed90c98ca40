//! The fault proxy, seen from a client.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use testkit::fault::{Fault, FaultProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(120);

/// A server that sends back what it gets, until its client's side ends.
async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                // The client may break the connection: that is what is tested.
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    (address, tasks)
}

/// Sends 100 bytes through a proxy with this fault.
async fn send(fault: Fault) -> (TcpStream, FaultProxy, JoinSet<()>) {
    let (server, tasks) = echo().await;
    let proxy = FaultProxy::start(server).await;
    proxy.set(fault);
    let mut stream = TcpStream::connect(proxy.address()).await.expect("it listens");
    stream.write_all(&[7; 100]).await.expect("it reads");
    (stream, proxy, tasks)
}

#[tokio::test]
async fn without_a_fault_all_comes_back() {
    let (mut stream, proxy, _tasks) = send(Fault::None).await;
    stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut received)).await.unwrap().unwrap();
    assert_eq!(received, [7; 100]);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_delay_delays() {
    let before = Instant::now();
    let (mut stream, _proxy, _tasks) = send(Fault::Delay(Duration::from_millis(50))).await;
    stream.read_exact(&mut [0; 100]).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_cut_resets_after_so_many_bytes() {
    let (mut stream, _proxy, _tasks) = send(Fault::CutAfter(30)).await;
    let mut received = Vec::new();
    let ended = timeout(LIMIT, stream.read_to_end(&mut received)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(received.len() <= 30);
}

#[tokio::test]
async fn a_half_close_ends_one_direction_only() {
    let (mut stream, _proxy, _tasks) = send(Fault::HalfCloseAfter(30)).await;
    let mut received = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut received)).await.unwrap().unwrap();
    assert_eq!(received, [7; 30]);
    stream.write_all(b"still open").await.unwrap();
}

#[tokio::test]
async fn a_stall_is_silent_and_open() {
    let (mut stream, _proxy, _tasks) = send(Fault::StallAfter(30)).await;
    stream.read_exact(&mut [0; 30]).await.unwrap();
    let silence = timeout(Duration::from_millis(100), stream.read(&mut [0; 1])).await;
    assert!(silence.is_err(), "neither a byte nor an end");
}

#[tokio::test]
async fn a_refusal_resets() {
    let (server, _tasks) = echo().await;
    let proxy = FaultProxy::start(server).await;
    proxy.set(Fault::Refuse);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let ended = timeout(LIMIT, stream.read(&mut [0; 1])).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_partition_holds_all_back_until_it_ends() {
    let (mut stream, proxy, _tasks) = send(Fault::None).await;
    stream.read_exact(&mut [0; 100]).await.unwrap();
    proxy.block(true);
    stream.write_all(b"late").await.unwrap();
    let mut other = TcpStream::connect(proxy.address()).await.expect("it listens");
    other.write_all(b"later").await.unwrap();
    let silence = timeout(Duration::from_millis(100), stream.read(&mut [0; 1])).await;
    assert!(silence.is_err(), "neither a byte nor an end");
    proxy.block(false);
    let mut received = [0; 4];
    timeout(LIMIT, stream.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(&received, b"late");
    let mut received = [0; 5];
    timeout(LIMIT, other.read_exact(&mut received)).await.unwrap().unwrap();
    assert_eq!(&received, b"later");
}
