//! Sockets that a service manager opened for us: sd_listen_fds(3).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use anyhow::Context;
use listenfd::ListenFd;
use proxy::Address;

/// The sockets that were passed in, by the address they are bound to. To be called before there
/// are threads: the variables that announce them are taken out of the environment, so that no child
/// takes them for its own.
///
/// # Errors
/// One of them is neither a TCP socket nor a Unix socket with a path.
pub(crate) fn sockets() -> anyhow::Result<BTreeMap<Address, Vec<OwnedFd>>> {
    let mut passed = ListenFd::from_env();
    let mut sockets: BTreeMap<Address, Vec<OwnedFd>> = BTreeMap::new();
    for index in 0..passed.len() {
        // What is of another kind stays in its place.
        if let Ok(Some(listener)) = passed.take_unix_listener(index) {
            let address = listener.local_addr().context("LISTEN_FDS")?;
            let path = address.as_pathname().context("LISTEN_FDS: a Unix socket without a path")?;
            sockets.entry(Address::Unix(path.into())).or_default().push(listener.into());
        } else if let Some(listener) = passed.take_tcp_listener(index).context("LISTEN_FDS")? {
            let address = listener.local_addr().context("LISTEN_FDS")?;
            sockets.entry(address.into()).or_default().push(listener.into());
        }
    }
    Ok(sockets)
}
