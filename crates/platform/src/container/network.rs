//! A network of its own: a namespace that has nothing but a loopback interface.
//!
//! A socket stays in the namespace in which it was made, whoever uses it: so whatever we listen on
//! or connect from within a dyno's network is made by a thread that is in there, and used from
//! anywhere. No bridge, no address translation, no addresses to hand out.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::mpsc as channel;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc};

/// Sockets that are made before somebody needs them, so that nobody waits for the thread.
const STOCK: usize = 4;

/// The namespace. It lives as long as this or a process in it does.
#[derive(Debug)]
pub(crate) struct Network {
    namespace: File,
    sockets: Mutex<mpsc::Receiver<io::Result<TcpSocket>>>,
}

/// What a new namespace consists of.
struct Opened {
    namespace: File,
    listeners: Vec<TcpListener>,
}

impl Network {
    /// Makes the namespace, brings its loopback interface up and listens on ports of it; the
    /// listeners are in the order of the ports. Blocks for a moment.
    pub(super) fn open(ports: &[u16]) -> io::Result<(Self, Vec<TcpListener>)> {
        let (stock, sockets) = mpsc::channel(STOCK);
        let (ready, opened) = channel::channel();
        let ports = ports.to_vec();
        // This thread never comes back into our own network, so it does nothing else.
        std::thread::Builder::new().name("dyno-network".to_owned()).spawn(move || {
            let entered = enter(&ports);
            let failed = entered.is_err();
            if ready.send(entered).is_err() || failed {
                return;
            }
            // Until nobody can want a socket any more.
            while stock.blocking_send(TcpSocket::new_v4()).is_ok() {}
        })?;
        let Opened { namespace, listeners } = opened.recv().map_err(io::Error::other)??;
        Ok((Self { namespace, sockets: Mutex::new(sockets) }, listeners))
    }

    /// A path by which another process of this machine finds the namespace.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()).into()
    }

    /// Connects to a port of the loopback interface within.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.sockets.lock().await.recv().await;
        let gone = || io::Error::other("the thread in the dyno's network has ended");
        let socket = socket.ok_or_else(gone)??;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }
}

#[cfg(target_os = "linux")]
fn enter(ports: &[u16]) -> io::Result<Opened> {
    use libcontainer::network::link::LinkClient;
    use libcontainer::network::wrapper::create_network_client;

    /// The loopback interface is the first of every namespace.
    const LOOPBACK: u32 = 1;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    let links = LinkClient::new(create_network_client());
    links.and_then(|mut links| links.set_up(LOOPBACK)).map_err(io::Error::other)?;
    let listen = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
    let listeners = ports.iter().map(listen).collect::<io::Result<_>>()?;
    Ok(Opened { namespace: File::open("/proc/thread-self/ns/net")?, listeners })
}

#[cfg(not(target_os = "linux"))]
fn enter(_ports: &[u16]) -> io::Result<Opened> {
    Err(io::ErrorKind::Unsupported.into())
}
