//! What can be wrong with bytes from outside.

/// Why bytes are not what PostgreSQL's protocol says they must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The length word of a message is below 4 or above the limit: the stream is lost.
    #[error(
        "invalid message length {length} of message type {:?} (4 to {} are valid)",
        char::from(*.tag), .limit - 1
    )]
    Length {
        /// The message's kind.
        tag: u8,
        /// What its length word says.
        length: u32,
        /// The first length that is too large.
        limit: u32,
    },
    /// The length word of a startup packet is out of bounds.
    #[error("invalid length of startup packet: {0}")]
    StartupLength(u32),
    /// The client speaks a protocol that is not version 3.
    #[error("protocol {major}.{minor} is not supported, only 3.x")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// The body of a message is not what its kind says; names the message.
    #[error("malformed {0}")]
    Malformed(&'static str),
}
