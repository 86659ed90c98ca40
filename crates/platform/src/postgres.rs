//! A PostgreSQL for those who have none at hand: found, or obtained, and run privately.
//!
//! ```text
//!   Search ──▶ Binaries::discover ──▶ Binaries ──▶ Cluster::start ──▶ Cluster
//!                  │ NotFound            ▲                              │ lives in
//!                  └──▶ obtain ──────────┘                              ▼
//!                     (if the user agrees)                          RunFolder ◀── sweep_leftovers
//! ```
//!
//! Invariants:
//! * Nothing outside of its run folder is written; nothing is left of it: not after a drop, and
//!   after `kill -9` only until the next [`sweep_leftovers`].
//! * The server is reachable from this machine only, over TCP with a password only.
//! * Nothing is installed or downloaded by anything but [`obtain`].
//!
//! Start reading at [`binaries`], then [`cluster`].

pub mod address;
pub mod binaries;
pub mod cluster;
mod download;
mod keeper;
mod launch;
mod not_found;
mod obtain;
mod packages;
mod process;

mod run_folder;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use address::{Address, Credentials};
pub use binaries::{Binaries, FoundBy, Search, Version};
pub use cluster::{Cluster, ClusterOptions, Durability, LocalAuth};
pub use not_found::NotFound;
pub use obtain::{ObtainError, obtain};
pub(crate) use process::wait_until;
pub(crate) use run_folder::remove as remove_folder;
pub use run_folder::{RunFolder, Swept, sweep_leftovers};

/// Why a cluster could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be made or written.
    #[error("cannot write {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path of the socket is longer than the system allows.
    #[error(
        "the socket's path {} is {excess} bytes too long: choose a shorter folder (TMPDIR)",
        path.display()
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// By how much.
        excess: usize,
    },
    /// We are root, PostgreSQL refuses root, and there is no other user to run it as.
    #[error(
        "postgresql refuses to run as root, and there is neither a user `postgres` nor `nobody` \
         to run it as: add one (useradd -r postgres) or start surgetank as another user"
    )]
    NoServerUser,
    /// The server's user cannot execute the programs.
    #[error("{user} cannot run the programs in {}: {said}", folder.display())]
    NotRunnable {
        /// Who.
        user: String,
        /// The programs' folder.
        folder: PathBuf,
        /// What the system said.
        said: String,
    },
    /// A program could not be started at all.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `initdb` has failed.
    #[error("initdb has failed; it said:\n{log}")]
    Initdb {
        /// Its last lines.
        log: String,
    },
    /// The server ended before it was ready.
    #[error("postgres has ended before it was ready; its log says:\n{log}")]
    Start {
        /// The log's last lines.
        log: String,
    },
    /// The server or `initdb` took too long.
    #[error("{what} was not ready after {limit:?}; its log says:\n{log}")]
    Deadline {
        /// Which.
        what: &'static str,
        /// The time it was given.
        limit: Duration,
        /// The log's last lines.
        log: String,
    },
    /// Somebody else took the port that was free a moment ago; several times in a row.
    #[error("port {port} was taken by somebody else while postgres started: try again")]
    PortTaken {
        /// The last one tried.
        port: u16,
    },
    /// There is no free loopback port.
    #[error("no free port on 127.0.0.1: {source}")]
    NoPort {
        /// Why.
        source: io::Error,
    },
    /// No random bytes for a password.
    #[error("no random bytes: {source}")]
    Random {
        /// Why.
        source: io::Error,
    },
    /// The start was given up by its caller.
    #[error("the start was given up")]
    Cancelled,
}

#[cfg(test)]
mod tests;
