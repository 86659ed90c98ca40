//! Sockets that a service manager opened for us: sd_listen_fds(3).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use anyhow::Context;
use listenfd::ListenFd;

/// The TCP sockets that were passed in, by the address they are bound to. To be called before there
/// are threads: the variables that announce them are taken out of the environment, so that no child
/// takes them for its own.
///
/// # Errors
/// One of them is no TCP socket.
pub(crate) fn sockets() -> anyhow::Result<BTreeMap<SocketAddr, Vec<OwnedFd>>> {
    let mut passed = ListenFd::from_env();
    let mut sockets: BTreeMap<SocketAddr, Vec<OwnedFd>> = BTreeMap::new();
    for index in 0..passed.len() {
        let listener = passed.take_tcp_listener(index).context("LISTEN_FDS")?;
        let Some(listener) = listener else { continue };
        let address = listener.local_addr().context("LISTEN_FDS")?;
        sockets.entry(address).or_default().push(listener.into());
    }
    Ok(sockets)
}
