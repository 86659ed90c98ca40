//! What can go wrong between the observer and PostgreSQL.

use std::time::Duration;

/// Why PostgreSQL could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No session could be opened.
    #[error("cannot observe PostgreSQL: {0}")]
    Connect(#[source] tokio_postgres::Error),
    /// PostgreSQL did not answer in time; the session is given up.
    #[error("PostgreSQL did not answer the observer within {0:?}")]
    Timeout(Duration),
    /// The session broke.
    #[error("the observer lost its session with PostgreSQL: {0}")]
    Lost(#[source] tokio_postgres::Error),
    /// PostgreSQL refused one question; the session goes on.
    #[error("PostgreSQL refused the observer's question: {}", message(.0))]
    Refused(#[source] tokio_postgres::Error),
}

impl Error {
    /// Whether the session can be used no more.
    pub(crate) fn ends_session(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// The server's own words; `tokio_postgres::Error` alone says only "db error".
fn message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned())
}
