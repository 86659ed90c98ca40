//! The way to a dyno's ports.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::container::Network;

/// Where a dyno's processes listen.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// On this machine's loopback.
    Shared,
    /// On a loopback of its own.
    Own(Arc<Network>),
}

impl Reach {
    /// Connects to a port that the dyno listens on.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        match self {
            Self::Shared => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
            Self::Own(network) => network.connect(port).await,
        }
    }
}
