//! What can go wrong with a recording.

use std::io;
use std::path::PathBuf;

/// Why a recording could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder holds a recording already; two would mix their dynos and sessions.
    #[error("{} already holds a recording; choose another folder", dir.display())]
    AlreadyRecorded {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder or a segment could not be created.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// What was to be created.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The recorder stopped before it was asked to; what it wrote before is good.
    #[error("the recording stopped early, {lost} events are lost: {reason}")]
    Poisoned {
        /// What the disk said.
        reason: String,
        /// Events lost in all.
        lost: u64,
    },
    /// A folder or segment could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder holds no segment.
    #[error("{} holds no recording (no segment-*.sgt in it)", dir.display())]
    NoRecording {
        /// The folder.
        dir: PathBuf,
    },
    /// The segment was written in a format of another version.
    #[error("{} has format version {found}, this program reads {known}", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The version that this program reads.
        known: u16,
    },
}
