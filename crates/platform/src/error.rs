//! What can go wrong on the platform, one variant per thing that the caller does differently.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::name::DynoName;

/// An error of dynos, router, logs, one-off runs or the control socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Procfile could not be read.
    #[error("cannot read {}: {source}; it holds one `<type>: <command>` a line", path.display())]
    ProcfileRead {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the Procfile is wrong.
    #[error("Procfile line {line}: {reason}")]
    ProcfileLine {
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// A formation such as `web=2,worker+1` is wrong.
    #[error("formation `{text}`: {reason}")]
    Formation {
        /// The part that is wrong.
        text: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// A dyno name is wrong.
    #[error("`{0}` is not a dyno name; expected `<type>.<number>`, for example `web.1`")]
    DynoName(String),
    /// There is no such dyno.
    #[error("no dyno {name}; running are: {known}")]
    UnknownDyno {
        /// The one that was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A process could not be started.
    #[error("{dyno}: cannot start `{command}`: {source}")]
    Spawn {
        /// Whose process.
        dyno: DynoName,
        /// Its command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// The platform is going down and starts nothing any more.
    #[error("the platform is shutting down")]
    ShuttingDown,
    /// The router's address could not be bound.
    #[error("router cannot listen on {address}: {source}; choose another port, or 0 for any")]
    RouterBind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The control socket could not be made.
    #[error("control socket {}: {source}", path.display())]
    ControlSocket {
        /// The socket, or the folder it should be in.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process already serves this app.
    #[error("already running: {} answers; stop that one first", path.display())]
    AlreadyRunning {
        /// Its control socket.
        path: PathBuf,
    },
    /// Nobody serves this app.
    #[error(
        "not running: nobody answers at {}; start it with `surgetank up` in this folder",
        path.display()
    )]
    NotRunning {
        /// The control socket that was tried.
        path: PathBuf,
    },
    /// The conversation over the control socket broke off or was not understood.
    #[error("control socket: {0}")]
    ControlBroken(String),
    /// A file that an app keeps from one run to the next cannot be read or written.
    #[error("{}: {source}", path.display())]
    Kept {
        /// The file, or the folder it should be in.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A config var is wrong.
    #[error("{0}")]
    ConfigVar(String),
    /// There is no such release.
    #[error("there is no release v{version}")]
    UnknownRelease {
        /// The one that was asked for.
        version: u64,
    },
    /// One cannot roll back to this release.
    #[error("v{version} cannot be rolled back to: it was never live, or has no code")]
    NotEligible {
        /// The one that was asked for.
        version: u64,
    },
    /// There is no release before the current one.
    #[error("there is no earlier release to roll back to")]
    NothingToRollBackTo,
    /// The `release` process failed, so what was live stays live.
    #[error("release v{version} failed, the one before stays live: {why}")]
    ReleaseFailed {
        /// The one that failed.
        version: u64,
        /// How its process ended.
        why: String,
    },
    /// Enough one-off dynos run.
    #[error("at most {most} one-off dynos at a time")]
    TooManyOneOffs {
        /// The limit.
        most: usize,
    },
    /// The system has no random source.
    #[error("random source: {0}")]
    Random(io::Error),
    /// The address of the Platform API could not be bound.
    #[error("the Platform API cannot listen on {address}: {source}")]
    ApiBind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A log drain cannot be had so.
    #[error("{0}")]
    Drain(String),
    /// There is no such log drain.
    #[error("there is no such drain; `surgetank drains` lists them")]
    UnknownDrain,
    /// The running platform refused, and said why.
    #[error("{0}")]
    Refused(String),
}

/// What this room's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
