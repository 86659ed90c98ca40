//! What two generations of the proxy say to each other, over a Unix socket that also carries their
//! listening sockets.
//!
//! ```text
//!   new                          old
//!    Hello ───────────────────▶        version of these words; who it is
//!          ◀─────────────────── Sockets   copies of all that it listens on
//!    Ready ───────────────────▶        all is checked and prepared
//!          ◀─────────────────── Yours     accepts nothing more; what it holds
//!    Accepting ───────────────▶        the old one's sockets may go now
//!          ◀─────────────────── Held      again and again, as its sessions end
//!    Cancel ──────────────────▶        for a session that stayed
//!          ◀─────────────────── Cancelled
//! ```
//! Until `Accepting`, the end of the connection leaves everything with the old one. One message is
//! a line of JSON. File descriptors come with the first byte of theirs, or before it; never after.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use proxy::Address;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Version of these words. Another one is refused: the old process serves on.
pub(super) const PROTOCOL: u32 = 1;

/// Most file descriptors in one message (Linux's `SCM_MAX_FD`).
pub(super) const DESCRIPTORS_MAX: usize = 253;

/// Longest message; 250 addresses stay below it.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// What can be said. Without `Debug`: it may carry a cancel key.
#[derive(Serialize, Deserialize)]
pub(super) enum Message {
    /// New to old.
    Hello { protocol: u32, version: String, pid: u32 },
    /// Old to new: not now, or not with these words.
    Refused { why: String },
    /// Old to new, with the sockets of all places in order.
    Sockets {
        pid: u32,
        places: Vec<Place>,
        /// Where Prometheus comes; its socket is the last one.
        #[serde(default)]
        metrics: Option<Place>,
    },
    /// New to old.
    Ready,
    /// Old to new: names of databases and server connections.
    Yours { held: Vec<(String, u32)> },
    /// New to old.
    Accepting,
    /// Old to new.
    Held { held: Vec<(String, u32)> },
    /// New to old.
    Cancel { number: u64, pid: i32, key: Vec<u8> },
    /// Old to new.
    Cancelled { number: u64 },
}

/// An address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// What was asked for, possibly port 0; `None` if a service manager opened the sockets.
    #[serde(with = "text::option")]
    pub(super) asked: Option<Address>,
    /// Where clients find it.
    #[serde(with = "text")]
    pub(super) bound: Address,
    pub(super) dyno: Option<String>,
    /// How many sockets there are.
    pub(super) sockets: usize,
}

impl Place {
    /// Whether this address was asked for, or is where clients find it.
    pub(super) fn is_at(&self, address: &Address) -> bool {
        self.asked.as_ref() == Some(address) || self.bound == *address
    }
}

/// Addresses as people write them.
mod text {
    use proxy::Address;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(address: &Address, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(address)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }

    pub(super) mod option {
        use super::{Address, Deserialize, Deserializer, Serializer, de};

        pub(in super::super) fn serialize<S: Serializer>(
            address: &Option<Address>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match address {
                Some(address) => to.serialize_some(&address.to_string()),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Address>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
        }
    }
}

/// One end of the connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl Link {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        // The folder's and the socket's modes keep others out; this is for those who share them.
        let (theirs, ours) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
        if theirs != ours {
            let why = format!("the other side runs as user {theirs}, not {ours}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(Self { stream, bytes: Vec::new(), descriptors: VecDeque::new() })
    }

    /// To whoever listens at a path; `None` if nobody does.
    pub(super) async fn connect(path: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(path).await {
            Ok(stream) => Self::new(stream).map(Some),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Says something. Not cancellation safe: half a message may be out.
    pub(super) async fn say(&self, message: &Message) -> io::Result<()> {
        self.say_with(message, &[]).await
    }

    /// Says something and gives copies of file descriptors with it.
    pub(super) async fn say_with(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let mut rest = line.as_slice();
        let mut descriptors = descriptors;
        while !rest.is_empty() {
            let sent = self.stream.async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty()
                    && !control.push(SendAncillaryMessage::ScmRights(descriptors))
                {
                    return Err(io::Error::other("too many sockets for one message"));
                }
                let flags = SendFlags::NOSIGNAL;
                Ok(sendmsg(self.stream.as_fd(), &[IoSlice::new(rest)], &mut control, flags)?)
            });
            rest = &rest[sent.await?..];
            descriptors = &[];
        }
        Ok(())
    }

    /// The other side's next message; `None` when it is gone. Cancellation safe.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.bytes.len() > MESSAGE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message without end"));
            }
            if self.receive().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn receive(&mut self) -> io::Result<usize> {
        let Self { stream, bytes, descriptors } = self;
        let (count, received) = stream
            .async_io(Interest::READABLE, || {
                let mut chunk = [0; 4096];
                let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut slices = [IoSliceMut::new(&mut chunk)];
                let flags = RecvFlags::CMSG_CLOEXEC;
                let received = match recvmsg(stream.as_fd(), &mut slices, &mut control, flags) {
                    Err(rustix::io::Errno::CONNRESET) => return Ok((0, Vec::new())),
                    received => received?,
                };
                if received.flags.contains(ReturnFlags::CTRUNC) {
                    return Err(io::Error::other("sockets were lost on their way"));
                }
                let mut with_it = Vec::new();
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        with_it.extend(rights);
                    }
                }
                bytes.extend_from_slice(&chunk[..received.bytes]);
                Ok((received.bytes, with_it))
            })
            .await?;
        descriptors.extend(received);
        Ok(count)
    }

    /// What keeps the connection open although the link is dropped.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// Takes file descriptors that came with a message heard.
    pub(super) fn take(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if self.descriptors.len() < count {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "fewer sockets than announced"));
        }
        Ok(self.descriptors.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener};

    fn pair() -> (Link, Link) {
        let (one, other) = UnixStream::pair().unwrap();
        (Link::new(one).unwrap(), Link::new(other).unwrap())
    }

    #[tokio::test]
    async fn sockets_arrive_with_their_message_whatever_is_said_around_it() {
        let (old, mut new) = pair();
        let listeners: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let place = |index: usize, asked: Option<Address>| Place {
            asked,
            bound: addresses[index].into(),
            dyno: None,
            sockets: 1,
        };
        let (any, path) = ("127.0.0.1:0".parse().ok(), "/run/x/.s.PGSQL.1".parse().ok());
        let places = vec![place(0, None), place(1, any), place(2, path)];
        old.say(&Message::Held { held: vec![("x".repeat(9000), 1)] }).await.unwrap();
        let copies: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        old.say_with(&Message::Sockets { pid: 1, places: places.clone(), metrics: None }, &copies)
            .await
            .unwrap();
        old.say(&Message::Ready).await.unwrap();

        assert!(matches!(new.hear().await.unwrap(), Some(Message::Held { .. })));
        let Some(Message::Sockets { places: heard, .. }) = new.hear().await.unwrap() else {
            panic!("not what was said");
        };
        assert_eq!(heard, places);
        for (descriptor, address) in new.take(3).unwrap().into_iter().zip(addresses) {
            assert_eq!(TcpListener::from(descriptor).local_addr().unwrap(), address);
        }
        assert!(new.take(1).is_err());
        assert!(matches!(new.hear().await.unwrap(), Some(Message::Ready)));
        drop(old);
        assert!(new.hear().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn words_of_another_time_are_an_error() {
        let (old, mut new) = pair();
        sendmsg(
            old.stream.as_fd(),
            &[IoSlice::new(b"{\"Later\":{}}\n")],
            &mut SendAncillaryBuffer::default(),
            SendFlags::empty(),
        )
        .unwrap();
        assert!(new.hear().await.is_err());
    }
}
