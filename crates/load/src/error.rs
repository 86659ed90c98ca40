//! Why a load could not be learnt, described or sent. What happens to single requests is not an
//! error of this room but its result: [`FailureKind`](crate::FailureKind).

use std::path::PathBuf;

/// What the caller has to do something about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target is on another machine, and the caller did not allow that.
    #[error("{host} is not this machine; allow remote targets to load it")]
    Remote {
        /// As the caller gave it.
        host: String,
    },
    /// The target's address cannot be used.
    #[error("target `{address}`: {reason}")]
    Address {
        /// As the caller gave it.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database did not let the generator in.
    #[error("connecting to the database under load")]
    Connect(#[source] tokio_postgres::Error),
    /// The model has no requests of the target's kind.
    #[error("the model has no {0} requests to send")]
    NothingToSend(&'static str),
    /// A statement's parameters are not in a recording, which holds no user's data.
    #[error("no range for parameter ${number} of `{statement}`; write one into the model")]
    ParameterUnknown {
        /// From 1.
        number: usize,
        /// The statement's text.
        statement: String,
    },
    /// The model contradicts itself.
    #[error("model: {0}")]
    Model(String),
    /// The model's file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The recording has no HTTP requests and no statements.
    #[error("the recording holds no requests to learn from")]
    NothingToLearn,
}
