//! Sockets that are listened on: one a worker, all on the same address.
//!
//! With several workers the kernel spreads connections over them (`SO_REUSEPORT`). That option also
//! lets another process of the same user take the address unnoticed, so it is set only where it is
//! needed, and the address is tried without it first. A Unix socket is one for all workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use socket2::{Domain, Protocol, Socket, Type};

use crate::Address;

pub(crate) mod unix;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The same socket under another descriptor.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Tcp(socket) => socket.into(),
            Listener::Unix(socket) => socket.into(),
        }
    }
}

/// Listens on `addr` with `count` sockets; gives the address that was bound.
pub(crate) fn bind(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<Listener>)> {
    if count > 1 && addr.port() != 0 {
        drop(socket(addr, Sharing::No)?);
    }
    let sharing = if count > 1 { Sharing::BetweenWorkers } else { Sharing::No };
    let first = socket(addr, sharing)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![Listener::Tcp(first)];
    for _ in 1..count {
        listeners.push(Listener::Tcp(socket(bound, sharing)?));
    }
    Ok((bound, listeners))
}

/// Takes over sockets that somebody else opened; gives the one address they are all bound to.
pub(crate) fn adopt(sockets: Vec<OwnedFd>) -> io::Result<(Address, Vec<Listener>)> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let mut bound: Option<Address> = None;
    let mut listeners = Vec::new();
    for socket in sockets.into_iter().map(Socket::from) {
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(wrong("not a stream socket that is listened on".to_owned()));
        }
        let addr = socket.local_addr()?;
        let (tcp, path) = (addr.as_socket(), addr.as_pathname());
        let addr = tcp.map(Address::Tcp).or_else(|| path.map(|path| Address::Unix(path.into())));
        let addr = addr.ok_or_else(|| wrong("neither a TCP socket nor one with a path".into()))?;
        let first = bound.get_or_insert_with(|| addr.clone());
        if *first != addr {
            return Err(wrong(format!("they are bound to both {first} and {addr}")));
        }
        socket.set_nonblocking(true)?;
        listeners.push(match addr {
            Address::Tcp(_) => Listener::Tcp(socket.into()),
            Address::Unix(_) => Listener::Unix(socket.into()),
        });
    }
    let bound = bound.ok_or_else(|| wrong("there is none".to_owned()))?;
    Ok((bound, listeners))
}

/// Copies of the sockets for each worker, such that each worker has one at least, and each socket
/// is accepted from by one worker at least: with `SO_REUSEPORT` every socket has a queue of its
/// own, and whoever stands in one that nobody looks at waits for ever.
pub(crate) fn deal(sockets: &[Listener], workers: usize) -> io::Result<Vec<Vec<Listener>>> {
    let mut hands: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for round in 0..sockets.len().max(workers) {
        let socket = &sockets[round % sockets.len()];
        hands[round % workers].push(socket.try_clone()?);
    }
    Ok(hands)
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

    #[test]
    fn each_socket_has_a_worker_and_each_worker_a_socket() {
        let any = "127.0.0.1:0".parse().unwrap();
        for (sockets, workers) in [(1, 1), (3, 2), (2, 3), (1, 4), (4, 1)] {
            let (_, listeners) = bind(any, sockets).unwrap();
            let hands = deal(&listeners, workers).unwrap();
            let lengths: Vec<usize> = hands.iter().map(Vec::len).collect();
            assert_eq!(lengths.len(), workers);
            assert!(lengths.iter().all(|length| *length > 0), "{lengths:?}");
            assert_eq!(lengths.iter().sum::<usize>(), sockets.max(workers));
        }
    }

    #[test]
    fn what_cannot_be_accepted_from_is_not_adopted() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (addr, listeners) = bind(any, 2).unwrap();
        let (_, others) = bind(any, 1).unwrap();
        let fds = |listeners: &[Listener]| -> Vec<OwnedFd> {
            listeners.iter().map(|one| one.try_clone().unwrap().into()).collect()
        };
        assert_eq!(adopt(fds(&listeners)).unwrap().0, addr.into());
        let said = |sockets: Vec<OwnedFd>| adopt(sockets).unwrap_err().to_string();
        assert!(said(fds(&listeners).into_iter().chain(fds(&others)).collect()).contains("both"));
        let datagram = std::net::UdpSocket::bind(any).unwrap();
        assert!(said(vec![datagram.into()]).contains("not a stream socket"));
        let stream = std::net::TcpStream::connect(addr).unwrap();
        assert!(said(vec![stream.into()]).contains("listened on"));
        assert!(said(Vec::new()).contains("none"));
    }
}
