//! Sockets that are listened on: one a worker, all on the same address.
//!
//! With several workers the kernel spreads connections over them (`SO_REUSEPORT`). That option also
//! lets another process of the same user take the address unnoticed, so it is set only where it is
//! needed, and the address is tried without it first.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on `addr` with `count` sockets; gives the address that was bound.
pub(crate) fn bind(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    if count > 1 && addr.port() != 0 {
        drop(socket(addr, Sharing::No)?);
    }
    let sharing = if count > 1 { Sharing::BetweenWorkers } else { Sharing::No };
    let first = socket(addr, sharing)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(socket(bound, sharing)?);
    }
    Ok((bound, listeners))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    No,
    BetweenWorkers,
}

fn socket(addr: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the past that linger in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::BetweenWorkers {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_address_and_nobody_else_gets_it() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (addr, listeners) = bind(any, 3).unwrap();
        assert_ne!(addr.port(), 0);
        assert_eq!(listeners.len(), 3);
        assert_eq!(bind(addr, 3).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(bind(addr, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
