//! A network of its own: a namespace that has nothing but a loopback interface.
//!
//! A socket stays in the namespace in which it was made, whoever uses it: so whatever we listen on
//! or connect from within a dyno's network is made by somebody who is in there, and used from
//! anywhere: a thread of ours as root, else a process ([`Keeper`]). No bridge, no address
//! translation, no addresses to hand out.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, mpsc as channel};

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc};

use super::userns::Keeper;

/// Sockets that are made before somebody needs them, so that nobody waits for the thread.
const STOCK: usize = 4;

/// The namespace. It lives as long as this or a process in it does.
#[derive(Debug)]
pub(crate) struct Network {
    namespace: File,
    sockets: Mutex<mpsc::Receiver<io::Result<TcpSocket>>>,
}

/// Who makes the namespace and stays in it.
#[derive(Debug)]
pub(super) enum Maker {
    /// A thread of this process, which is root.
    Thread(Vec<u16>),
    /// The process that this starts.
    Keeper(Command),
}

/// New namespaces.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Unless it is the machine's.
    pub(super) network: Option<Arc<Network>>,
    /// Unless it is this process's own.
    pub(super) user: Option<File>,
    /// In the order of the ports.
    pub(super) listeners: Vec<TcpListener>,
}

/// What it consists of, before this process takes it over.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) namespace: Option<File>,
    pub(super) user: Option<File>,
    pub(super) listeners: Vec<TcpListener>,
}

impl Network {
    /// Makes the namespace, brings its loopback interface up and listens on ports of it. Blocks
    /// for a moment.
    pub(super) fn open(maker: Maker) -> io::Result<Opened> {
        let (stock, sockets) = mpsc::channel(STOCK);
        let (ready, made) = channel::channel();
        // This thread never comes back into our own network, so it does nothing else.
        std::thread::Builder::new().name("dyno-network".to_owned()).spawn(move || match maker {
            Maker::Thread(ports) => {
                if hand_over(enter(&ports), &ready).is_some() {
                    serve(&stock, TcpSocket::new_v4);
                }
            }
            Maker::Keeper(command) => {
                let (keeper, made) = match Keeper::start(command) {
                    Ok((keeper, made)) => (Some(keeper), Ok(made)),
                    Err(error) => (None, Err(error)),
                };
                if let (Some(()), Some(keeper)) = (hand_over(made, &ready), keeper) {
                    serve(&stock, || Ok(TcpSocket::from_std_stream(keeper.connectable()?)));
                }
            }
        })?;
        let Made { namespace, user, listeners } = made.recv().map_err(io::Error::other)??;
        let namespace = namespace.ok_or_else(|| io::Error::other("no network namespace"))?;
        let network = Arc::new(Self { namespace, sockets: Mutex::new(sockets) });
        Ok(Opened { network: Some(network), user, listeners })
    }

    /// A path by which another process of this machine finds the namespace.
    pub(super) fn path(&self) -> PathBuf {
        path(&self.namespace)
    }

    /// Connects to a port of the loopback interface within.
    pub(crate) async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let socket = self.sockets.lock().await.recv().await;
        let gone = || io::Error::other("nobody is in the dyno's network any more");
        let socket = socket.ok_or_else(gone)??;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }
}

/// A path by which another process of this machine finds an open namespace.
pub(super) fn path(namespace: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd()).into()
}

/// Nothing, if there is nothing to serve or nobody to be served.
fn hand_over(made: io::Result<Made>, to: &channel::Sender<io::Result<Made>>) -> Option<()> {
    let failed = made.is_err();
    to.send(made).ok().filter(|()| !failed)
}

/// Keeps sockets in stock until nobody can want one any more.
fn serve(stock: &mpsc::Sender<io::Result<TcpSocket>>, make: impl Fn() -> io::Result<TcpSocket>) {
    while stock.blocking_send(make()).is_ok() {}
}

#[cfg(target_os = "linux")]
fn enter(ports: &[u16]) -> io::Result<Made> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    loopback_up()?;
    let listeners = ports.iter().map(listen).collect::<io::Result<_>>()?;
    let namespace = File::open("/proc/thread-self/ns/net")?;
    Ok(Made { namespace: Some(namespace), user: None, listeners })
}

#[cfg(not(target_os = "linux"))]
fn enter(_ports: &[u16]) -> io::Result<Made> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Brings the loopback interface of this thread's network up.
#[cfg(target_os = "linux")]
pub(super) fn loopback_up() -> io::Result<()> {
    use libcontainer::network::link::LinkClient;
    use libcontainer::network::wrapper::create_network_client;

    /// It is the first of every namespace.
    const LOOPBACK: u32 = 1;
    let links = LinkClient::new(create_network_client());
    links.and_then(|mut links| links.set_up(LOOPBACK)).map_err(io::Error::other)
}

/// Listens on a port of the loopback interface of this thread's network.
#[cfg(target_os = "linux")]
pub(super) fn listen(port: &u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
}
