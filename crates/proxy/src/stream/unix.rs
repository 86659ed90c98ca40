//! A Unix socket that is asked for room only while it has none.
//!
//! The kernel tells of room in a Unix socket whenever the peer has taken something, whether anybody
//! waits for room or not (`unix_write_space`; TCP does so only after a write found none).
//! Registered for writing as `tokio::net` does it, each request would cost one more wake-up: that
//! of the server having read it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::{Uid, User};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connected Unix socket.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    readable: AsyncFd<UnixStream>,
    /// The same socket under another descriptor, while it has no room.
    writable: Option<Box<AsyncFd<UnixStream>>>,
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe, since a descriptor may change; a stream's does not"
)]
fn register(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

impl UnixSocket {
    /// A connected socket that does not block, in the runtime of the calling thread.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self { readable: register(stream, Interest::READABLE)?, writable: None })
    }

    /// Leaves the runtime.
    pub(super) fn into_std(self) -> UnixStream {
        self.readable.into_inner()
    }

    /// The same socket under another descriptor.
    pub(super) fn duplicate(&self) -> io::Result<UnixStream> {
        self.readable.get_ref().try_clone()
    }

    /// The operating system's user whose process has connected.
    pub(super) fn system_uid(&self) -> Option<Uid> {
        let peer = getsockopt(self.readable.get_ref(), PeerCredentials).ok()?;
        Some(Uid::from_raw(peer.uid()))
    }

    /// That user's name.
    pub(super) async fn system_user(&self) -> Option<String> {
        let uid = self.system_uid()?;
        // Names may come over a network.
        let named = tokio::task::spawn_blocking(move || User::from_uid(uid));
        named.await.ok()?.ok()?.map(|user| user.name)
    }

    /// Whether the runtime knows of bytes to read, or of the end.
    pub(super) fn seems_readable(&self, cx: &mut Context<'_>) -> bool {
        self.readable.poll_read_ready(cx).is_ready()
    }

    /// Waits until there may be room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writable) = &self.writable else { return Poll::Ready(Ok(())) };
        ready!(writable.poll_write_ready(cx))?.retain_ready();
        Poll::Ready(Ok(()))
    }

    /// A write found no room: whoever writes is woken when there is some.
    fn had_no_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writable = match &mut self.writable {
            Some(writable) => writable,
            none => {
                let copy = self.readable.get_ref().try_clone()?;
                none.insert(Box::new(register(copy, Interest::WRITABLE)?))
            }
        };
        if let Poll::Ready(ready) = writable.poll_write_ready(cx) {
            ready?.clear_ready();
        }
        self.poll_room(cx)
    }
}

impl AsyncRead for UnixSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.readable.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let wanted = room.len();
            match ready.get_inner().read(room) {
                Ok(count) => {
                    // Less than there was room for: there is no more at present, and the kernel
                    // will tell of what comes.
                    if (1..wanted).contains(&count) {
                        ready.clear_ready();
                    }
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for UnixSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        ready!(socket.poll_room(cx))?;
        loop {
            match socket.readable.get_ref().write(buf) {
                Ok(count) => {
                    socket.writable = None;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(socket.had_no_room(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.readable.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (UnixSocket, UnixSocket) {
        let (one, other) = UnixStream::pair().expect("a pair of sockets");
        let socket = |stream: UnixStream| {
            stream.set_nonblocking(true).expect("it can be made not to block");
            UnixSocket::new(stream).expect("it can be registered")
        };
        (socket(one), socket(other))
    }

    /// More than the kernel takes at once: whoever writes waits for room, again and again.
    #[tokio::test]
    async fn a_full_socket_wakes_who_writes() {
        let (mut one, mut other) = pair();
        let sent: Vec<u8> =
            (0..4_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
        let mut received = Vec::new();
        let writes = async {
            one.write_all(&sent).await.expect("all is written");
            one.shutdown().await.expect("the end is told");
        };
        let reads = async { other.read_to_end(&mut received).await.expect("all is read") };
        tokio::join!(writes, reads);
        assert!(received == sent);
        assert!(one.writable.is_none(), "room is asked for only while there is none");
    }

    #[tokio::test]
    async fn it_moves_to_another_runtime_and_can_be_doubled() {
        let (mut one, other) = pair();
        let (copy, other) = (other.duplicate().expect("a copy"), other.into_std());
        let moved = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.expect("a runtime").block_on(async {
                let mut other = UnixSocket::new(other).expect("it can be registered");
                let mut word = [0; 4];
                other.read_exact(&mut word).await.expect("the word is there");
                word
            })
        });
        one.write_all(b"word").await.expect("it is written");
        assert_eq!(&moved.join().expect("the thread ends"), b"word");
        let mut copy = UnixSocket::new(copy).expect("it can be registered");
        copy.write_all(b"echo").await.expect("it is written");
        let mut word = [0; 4];
        one.read_exact(&mut word).await.expect("the word is there");
        assert_eq!(&word, b"echo");
    }

    #[tokio::test]
    async fn the_end_of_the_peer_is_read_and_its_absence_is_an_error() {
        let (mut one, other) = pair();
        drop(other);
        assert_eq!(one.read(&mut [0; 8]).await.expect("the end"), 0);
        let error = one.write_all(b"x").await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
