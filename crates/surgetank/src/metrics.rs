//! The proxy's numbers for Prometheus: `GET /metrics`, in its text format.
//!
//! ```text
//!   Control::look ─▶ families (what is told) ─▶ page (how it is written) ─▶ endpoint (HTTP)
//! ```
//! Served by the control runtime, never by a worker. The socket goes from process to process with
//! the others: a restart refuses no scrape.

mod endpoint;
mod families;
mod page;
mod process;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use anyhow::Context;
use proxy::Proxy;
use tokio::net::TcpListener;

pub(crate) use endpoint::Endpoint;

use crate::out;

/// A socket that is listened on, and what for.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: TcpListener,
    /// What was asked for, possibly port 0.
    asked: SocketAddr,
    /// Where it is found.
    bound: SocketAddr,
}

impl Socket {
    /// Listens.
    pub(crate) async fn bind(asked: SocketAddr) -> anyhow::Result<Self> {
        let named = || format!("metrics on {asked}");
        let listener = TcpListener::bind(asked).await.with_context(named)?;
        let bound = listener.local_addr().with_context(named)?;
        Ok(Self { listener, asked, bound })
    }

    /// Takes over a socket that another process listened on. To be called within a runtime.
    pub(crate) fn adopt(socket: OwnedFd, asked: SocketAddr) -> anyhow::Result<Self> {
        let named = || format!("metrics on {asked}");
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true).with_context(named)?;
        let listener = TcpListener::from_std(listener).with_context(named)?;
        let bound = listener.local_addr().with_context(named)?;
        Ok(Self { listener, asked, bound })
    }

    /// Answers scrapes from now on. Whoever asked for more than loopback is told what that means.
    pub(crate) fn serve(self, proxy: &Proxy) -> Endpoint {
        let endpoint = Endpoint::start(self, proxy.control());
        let bound = endpoint.bound();
        out::talk(&format!("surgetank: metrics on http://{bound}/metrics"));
        if !bound.ip().is_loopback() {
            tracing::warn!("{bound} gives names of databases and users to whoever can reach it");
        }
        endpoint
    }
}

/// `ADDR:PORT`, or a port on loopback.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| "write ADDR:PORT, or a port for 127.0.0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        assert_eq!(address("9187").unwrap().to_string(), "127.0.0.1:9187");
        assert_eq!(address("[::]:1").unwrap().to_string(), "[::]:1");
        for wrong in ["", "localhost:1", "127.0.0.1", "65536", "-1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
