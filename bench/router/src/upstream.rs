//! The server behind the routers: one answer to everything, as cheap as it can be.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Bytes of the answer's body.
const BODY: usize = 1024;

/// Serves `$PORT` until it is killed.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT").context("PORT")?.parse()?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let answer: &'static [u8] = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {BODY}\r\n\
         Cache-Control: no-store\r\nServer: fixed\r\n\r\n{}",
        "x".repeat(BODY)
    )
    .leak()
    .as_bytes();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        connections.spawn(converse(stream, answer));
    }
}

/// Answers each request on a connection; a client that breaks off is none of our business.
async fn converse(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(4096);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        stream.write_all(answer).await?;
        let lower = head.to_ascii_lowercase();
        if lower.windows(17).any(|words| words == b"connection: close") {
            return stream.shutdown().await;
        }
    }
}
