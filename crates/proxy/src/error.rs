//! What can go wrong with the proxy itself. What goes wrong in a session is told to its client and
//! recorded; it never comes up here.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Address;

/// Why the proxy could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database URL cannot be understood.
    #[error("database URL: {0}")]
    Url(String),
    /// The databases make no sense.
    #[error("databases: {0}")]
    Databases(String),
    /// A line of `userlist.txt` is not understood.
    #[error("userlist, line {line}: {why}")]
    Userlist {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A line of the hba rules is not understood.
    #[error("hba rules, line {line}: {why}")]
    Rules {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Who may come in, and how, makes no sense.
    #[error("access: {0}")]
    Access(String),
    /// A certificate or key cannot be used.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An address that others can reach, with no password to keep them out.
    #[error(
        "will not listen on {0}: the database URL has no password, so anybody who reaches this \
         address would be let in; give the URL a password or listen on 127.0.0.1"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: Address,
        /// Why not.
        source: io::Error,
    },
    /// Sockets that were passed in cannot be accepted from.
    #[error("cannot accept connections from the sockets passed in: {0}")]
    Adopt(io::Error),
    /// [`Proxy::unlisten`](crate::Proxy::unlisten) of an address that is not listened on.
    #[error("not listening on {0}")]
    NotListening(Address),
    /// A worker thread could not be started.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// A worker has ended, or takes no more commands.
    #[error("a worker of the proxy takes no commands")]
    WorkerGone,
}

impl Error {
    pub(crate) fn certificate(path: &Path, why: &dyn Display) -> Self {
        Self::Certificate { path: path.to_owned(), why: why.to_string() }
    }
}
