//! Clients that ask one thing after the other, each over a connection that it keeps.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A request as a browser behind a load balancer would send it, more or less.
const REQUEST: &[u8] = b"GET /product/7?from=search HTTP/1.1\r\nHost: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
/// Longer than any latency here; a request that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients that are connected.
pub(crate) struct Load {
    clients: Vec<TcpStream>,
}

/// What they saw.
pub(crate) struct Outcome {
    pub(crate) latency_ns: Histogram<u64>,
    pub(crate) took: Duration,
}

impl Load {
    pub(crate) async fn connect(address: SocketAddr, clients: u32) -> anyhow::Result<Self> {
        let mut connected = Vec::new();
        for _ in 0..clients {
            let mut client = TcpStream::connect(address).await?;
            client.set_nodelay(true)?;
            // Accepted and served once, so that a run begins with all of them there.
            ask(&mut client, &mut Vec::new()).await?;
            connected.push(client);
        }
        Ok(Self { clients: connected })
    }

    /// Lets all of them ask for so long.
    pub(crate) async fn run(self, span: Duration) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let until = began + span;
        let mut tasks = JoinSet::new();
        for mut client in self.clients {
            tasks.spawn(async move {
                let mut seen = histogram()?;
                let mut answer = Vec::new();
                let mut now = Instant::now();
                while now < until {
                    tokio::time::timeout(PATIENCE, ask(&mut client, &mut answer)).await??;
                    let then = std::mem::replace(&mut now, Instant::now());
                    seen.record(u64::try_from((now - then).as_nanos())?)?;
                }
                anyhow::Ok(seen)
            });
        }
        let mut latency_ns = histogram()?;
        while let Some(seen) = tasks.join_next().await {
            latency_ns.add(seen??)?;
        }
        Ok(Outcome { latency_ns, took: began.elapsed() })
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(60_000_000_000, 3)?)
}

/// One request and its whole answer, which must be good.
async fn ask(client: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    client.write_all(REQUEST).await?;
    answer.clear();
    loop {
        ensure!(client.read_buf(answer).await? > 0, "the connection was closed");
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end])?;
        ensure!(head.starts_with("HTTP/1.1 200"), "not good: {head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then_some(value)
        });
        let length: usize = length.with_context(|| format!("no length in {head}"))?.parse()?;
        while answer.len() < end + 4 + length {
            ensure!(client.read_buf(answer).await? > 0, "the connection was closed");
        }
        return Ok(());
    }
}
