//! A TCP proxy that misbehaves on command, for tests of what stands on either side of it.
//!
//! ```no_run
//! # async fn example(server: std::net::SocketAddr) {
//! use testkit::fault::{Fault, FaultProxy};
//!
//! let proxy = FaultProxy::start(server).await;
//! // … clients connect to proxy.address() …
//! // From now on each new connection is reset once the server has sent 100 bytes over it.
//! proxy.set(Fault::CutAfter(100));
//! # }
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What goes wrong on a connection, from its opening on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every piece that the server sends comes so much later.
    Delay(Duration),
    /// After so many bytes from the server both sides are reset.
    CutAfter(u64),
    /// After so many bytes from the server its direction ends in good order (a FIN to the client);
    /// the client's direction goes on.
    HalfCloseAfter(u64),
    /// After so many bytes from the server no more come, and the connection stays open.
    StallAfter(u64),
    /// The connection is accepted and reset at once.
    Refuse,
}

/// The proxy: one server, any number of clients. Dropping it ends all connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    blocked: watch::Sender<bool>,
    accepted: Arc<AtomicU32>,
    // Aborted when dropped, and with it the connections, whose tasks it owns.
    _listening: JoinSet<()>,
}

impl FaultProxy {
    /// Listens on a free loopback port and forwards to `server`.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("it is bound");
        let (fault, faults) = watch::channel(Fault::None);
        let (blocked, blocks) = watch::channel(false);
        let accepted = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&accepted);
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                // A broken connection is what we are for: nobody has to hear of it.
                connections.spawn(forward(client, server, (*faults.borrow(), blocks.clone())));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, fault, blocked, accepted, _listening: listening }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// What is wrong with connections that are opened from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// A partition, from now on or no longer: nothing passes in either direction, on present and
    /// on new connections, and all stay open. What was sent meanwhile arrives afterwards.
    pub fn block(&self, blocked: bool) {
        self.blocked.send_replace(blocked);
    }
}

/// Returns once there is no partition.
async fn passable(blocks: &mut watch::Receiver<bool>) -> io::Result<()> {
    let open = blocks.wait_for(|blocked| !blocked).await;
    open.map(drop).map_err(|_| io::ErrorKind::ConnectionReset.into())
}

async fn forward(
    mut client: TcpStream,
    server: SocketAddr,
    (fault, mut blocks): (Fault, watch::Receiver<bool>),
) -> io::Result<()> {
    passable(&mut blocks).await?;
    if fault == Fault::Refuse {
        return client.set_zero_linger();
    }
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ended = {
        let (mut from_client, to_client) = client.split();
        let (from_server, mut to_server) = server.split();
        let mut blocks_up = blocks.clone();
        let up = async {
            let mut buffer = vec![0; 8192];
            loop {
                let read = from_client.read(&mut buffer).await?;
                passable(&mut blocks_up).await?;
                if read == 0 {
                    return to_server.shutdown().await;
                }
                to_server.write_all(&buffer[..read]).await?;
            }
        };
        tokio::try_join!(up, answer(from_server, to_client, (fault, blocks)))
    };
    if ended.is_err() {
        // With nothing to linger for, closing sends a reset instead of a FIN.
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Forwards what the server sends, until the fault strikes.
async fn answer(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    (fault, mut blocks): (Fault, watch::Receiver<bool>),
) -> io::Result<()> {
    let (delay, mut budget) = match fault {
        Fault::None | Fault::Refuse => (Duration::ZERO, u64::MAX),
        Fault::Delay(delay) => (delay, u64::MAX),
        Fault::CutAfter(bytes) | Fault::HalfCloseAfter(bytes) | Fault::StallAfter(bytes) => {
            (Duration::ZERO, bytes)
        }
    };
    let mut buffer = vec![0; 8192];
    while budget > 0 {
        let room = usize::try_from(budget).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = from.read(&mut buffer[..room]).await?;
        passable(&mut blocks).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        tokio::time::sleep(delay).await;
        to.write_all(&buffer[..read]).await?;
        budget -= u64::try_from(read).expect("a buffer's length fits");
    }
    match fault {
        Fault::CutAfter(_) => return Err(io::ErrorKind::ConnectionReset.into()),
        Fault::HalfCloseAfter(_) => to.shutdown().await?,
        Fault::None | Fault::Refuse | Fault::Delay(_) | Fault::StallAfter(_) => {}
    }
    // The server is not to block on us; it ends when the client's side does.
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await.map(drop)
}
