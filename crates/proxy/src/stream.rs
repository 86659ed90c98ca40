//! A connection to a client or the server: TCP, Unix socket or TLS, told apart once per call and
//! nowhere else.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use nix::unistd::Uid;
use rustls::CommonState;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::Endpoint;

mod unix;

use unix::UnixSocket;

/// A connection without encryption.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixSocket),
}

impl Socket {
    /// Connects; the caller sets the time limit.
    pub(crate) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_keepalive(true)?;
                Ok(Self::Tcp(stream))
            }
            Endpoint::Unix(path) => Self::unix(UnixStream::connect(path).await?),
        }
    }

    /// One that is connected.
    pub(crate) fn unix(stream: UnixStream) -> io::Result<Self> {
        Ok(Self::Unix(UnixSocket::new(stream.into_std()?)?))
    }

    fn migrate(self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => Ok(Self::Tcp(TcpStream::from_std(stream.into_std()?)?)),
            Self::Unix(stream) => Ok(Self::Unix(UnixSocket::new(stream.into_std())?)),
        }
    }

    /// The same socket under another descriptor, in the runtime of the calling thread.
    fn duplicate(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => {
                let copy = StdTcpStream::from(stream.as_fd().try_clone_to_owned()?);
                Ok(Self::Tcp(TcpStream::from_std(copy)?))
            }
            Self::Unix(stream) => Ok(Self::Unix(UnixSocket::new(stream.duplicate()?)?)),
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    fn seems_readable(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(&mut context).is_ready(),
            Self::Unix(stream) => stream.seems_readable(&mut context),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Moves the connection to the runtime of the calling thread.
    pub(crate) fn migrate(self) -> io::Result<Self> {
        match self {
            Self::Plain(socket) => Ok(Self::Plain(socket.migrate()?)),
            Self::Tls(mut tls) => {
                // The state of encryption cannot be parted from its socket, only the socket
                // exchanged below it.
                let (socket, _) = tls.get_mut();
                *socket = socket.duplicate()?;
                Ok(Self::Tls(tls))
            }
        }
    }

    /// Whether the runtime knows of bytes to read, or of the end. Costs no system call; what has
    /// just arrived may not be known yet.
    pub(crate) fn seems_readable(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.seems_readable(),
            Self::Tls(tls) => {
                let (socket, state) = tls.get_ref();
                // It does not want to read while it holds what was read and not taken.
                !state.wants_read() || socket.seems_readable()
            }
        }
    }

    /// Where it came in.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_addr(),
            Self::Tls(tls) => tls.get_ref().0.local_addr(),
        }
    }

    /// Over a Unix socket: the name of the operating system's user whose process has connected.
    pub(crate) async fn system_user(&self) -> Option<String> {
        match self {
            Self::Plain(Socket::Unix(socket)) => socket.system_user().await,
            Self::Plain(Socket::Tcp(_)) | Self::Tls(_) => None,
        }
    }

    /// Whether whoever has connected over a Unix socket is the operating system's user that we run
    /// as.
    pub(crate) fn is_our_own_user(&self) -> bool {
        match self {
            Self::Plain(Socket::Unix(socket)) => socket.system_uid() == Some(Uid::effective()),
            Self::Plain(Socket::Tcp(_)) | Self::Tls(_) => false,
        }
    }

    /// What was agreed on, if the connection is encrypted.
    pub(crate) fn tls(&self) -> Option<&CommonState> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.get_ref().1),
        }
    }
}

/// Sends what was encrypted and not sent. Whoever writes is told that all was taken as soon as it
/// is encrypted; this is done whenever the connection is looked at, so that the rest follows.
fn push(tls: &mut TlsStream<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if tls.get_ref().1.wants_write() { Pin::new(tls).poll_flush(cx) } else { Poll::Ready(Ok(())) }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => {
                if let Poll::Ready(Err(error)) = push(tls, cx) {
                    return Poll::Ready(Err(error));
                }
                Pin::new(&mut **tls).poll_read(cx, buf)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
