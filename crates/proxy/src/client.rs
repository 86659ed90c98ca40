//! A client's socket and buffers, for the times when no server connection is involved.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use crate::answer::Answer;
use crate::buffer::{Inbox, Outbox};
use crate::stream::{Socket, Stream};
use crate::timer::timeout;

/// How long a client that does not read may delay the end of its session.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who has just connected.
#[derive(Debug)]
pub(crate) enum Comer {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Comer {
    /// Where it comes from; nowhere if over a Unix socket.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }
}

/// A client's side of a session.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// Where it comes from; nowhere if over a Unix socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) inbox: Inbox,
    /// What goes to the client and was not read from a server.
    pub(crate) outbox: Outbox,
}

impl Client {
    /// Of one that has connected.
    pub(crate) fn receive(comer: Comer) -> io::Result<Self> {
        let address = comer.peer().map(|peer| peer.ip());
        let socket = match comer {
            Comer::Tcp(stream, _) => {
                // A client that lost its power must not hold a server connection for ever.
                SockRef::from(&stream).set_keepalive(true)?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Comer::Unix(stream) => Socket::unix(stream)?,
        };
        Ok(Self::new(Stream::Plain(socket), address))
    }

    pub(crate) fn new(stream: Stream, address: Option<IpAddr>) -> Self {
        Self { stream, address, inbox: Inbox::of_client(), outbox: Outbox::default() }
    }

    /// Writes what is due and reads once; 0 is the client's end. Cancellation safe.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.outbox.poll_flush(cx, &mut self.stream) {
                self.inbox.end();
                return Poll::Ready(Err(error));
            }
            // A client that reads nothing is not listened to.
            if self.outbox.is_full() {
                return Poll::Pending;
            }
            let read = self.inbox.poll_fill(cx, &mut self.stream);
            if read.is_pending() {
                self.inbox.rest();
            }
            read
        })
        .await
    }

    /// Reads once; `false` at the client's end or an error. Cancellation safe.
    pub(crate) async fn listen(&mut self) -> bool {
        matches!(self.fill().await, Ok(1..))
    }

    /// Writes what is due.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.outbox.poll_flush(cx, &mut self.stream)).await
    }

    /// Tells the client why its session ends, if it still listens, and closes.
    pub(crate) async fn dismiss(mut self, answer: &Answer) {
        answer.put_fatal(self.outbox.bytes());
        self.part().await;
    }

    /// Writes what is due and closes.
    pub(crate) async fn part(mut self) {
        let farewell = async {
            self.flush().await?;
            self.stream.shutdown().await
        };
        // Whoever does not take the last words does without.
        let _ = timeout(FAREWELL, farewell).await;
    }
}
