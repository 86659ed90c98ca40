//! What follows an `Upgrade`: bytes both ways, until either side has said all or both are silent.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until};

use super::code::Code;
use super::exchange::Exchange;

/// What is moved at once.
const PIECE: usize = 16 * 1024;

/// One end of the tunnel, and what was read from it already.
pub(super) struct End {
    stream: TcpStream,
    read: Bytes,
}

impl End {
    /// A dyno's end.
    pub(super) fn dyno((stream, read): (TcpStream, Bytes)) -> Self {
        Self { stream, read }
    }

    /// A client's end; nothing if it is none of ours.
    pub(super) fn client(upgraded: Upgraded) -> Option<Self> {
        let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
        Some(Self { stream: parts.io.into_inner(), read: parts.read_buf })
    }
}

/// Moves bytes until the end, and tells of it.
pub(super) async fn run(client: End, dyno: End, exchange: &mut Exchange) {
    let idle = exchange.shared().timing.idle;
    let traffic = Traffic { last: Mutex::new(Instant::now()), to_client: AtomicU64::new(0) };
    let silent = tokio::select! {
        // Who broke off is no matter: a tunnel has no other end.
        _ = carry(client, dyno, &traffic) => false,
        () = traffic.silence(idle) => true,
    };
    let bytes = traffic.to_client.load(Ordering::Relaxed);
    if silent {
        exchange.tell(Code::H15.status(), bytes, Some(Code::H15));
    } else {
        exchange.tell(StatusCode::SWITCHING_PROTOCOLS.as_u16(), bytes, None);
    }
}

/// What moves through a tunnel.
struct Traffic {
    /// When something moved last, in either direction.
    last: Mutex<Instant>,
    to_client: AtomicU64,
}

impl Traffic {
    fn moved(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Returns when nothing has moved for so long.
    async fn silence(&self, idle: Duration) {
        loop {
            let until = *self.last.lock() + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

async fn carry(client: End, dyno: End, traffic: &Traffic) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.stream.into_split();
    let (mut from_dyno, mut to_dyno) = dyno.stream.into_split();
    let up = async {
        to_dyno.write_all(&client.read).await?;
        pump(&mut from_client, &mut to_dyno, traffic, |_| ()).await
    };
    let count = |bytes: usize| {
        traffic.to_client.fetch_add(bytes as u64, Ordering::Relaxed);
    };
    let down = async {
        to_client.write_all(&dyno.read).await?;
        count(dyno.read.len());
        pump(&mut from_dyno, &mut to_client, traffic, count).await
    };
    tokio::try_join!(up, down)?;
    Ok(())
}

/// One direction, to its end.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    traffic: &Traffic,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        traffic.moved();
        to.write_all(&piece[..read]).await?;
        traffic.moved();
        count(read);
    }
}
