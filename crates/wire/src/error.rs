//! What can be wrong with bytes from outside.

/// Why bytes are not what PostgreSQL's protocol says they must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The length word of a message is below 4 or above the limit: the stream is lost.
    #[error("message {:?} cannot be {length} bytes long (at most {limit})", char::from(*.tag))]
    Length {
        /// The message's kind.
        tag: u8,
        /// What its length word says.
        length: usize,
        /// What would be accepted.
        limit: usize,
    },
    /// The length word of a startup packet is out of bounds.
    #[error("a startup packet cannot be {0} bytes long")]
    StartupLength(usize),
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
