//! What is loaded: an app over HTTP, or a database over SQL.

mod http;
mod sql;

use std::net::IpAddr;

pub use http::Http;
pub use sql::Sql;

use crate::mix::{Body, Request};
use crate::result::FailureKind;
use crate::{Error, Mix, Model};

/// Where load may go. Load that reaches a foreign machine by mistake is an attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// This machine only: 127.0.0.0/8, ::1, Unix sockets.
    #[default]
    Loopback,
    /// Any machine: its owner has agreed.
    Anywhere,
}

impl Reach {
    /// Whether `address`, which the caller called `host`, may be loaded.
    fn check(self, host: &str, address: IpAddr) -> Result<(), Error> {
        match self {
            Self::Anywhere => Ok(()),
            Self::Loopback if address.is_loopback() => Ok(()),
            Self::Loopback => Err(Error::Remote { host: host.to_owned() }),
        }
    }
}

/// What is loaded. Clones share their connections.
#[derive(Clone, Debug)]
pub enum Target {
    /// An app.
    Http(Http),
    /// A database.
    Sql(Sql),
}

impl Target {
    /// Checks that the model's requests can be sent here, and makes them ready.
    pub(crate) async fn prepare(&self, model: &Model) -> Result<Mix, Error> {
        match self {
            Self::Http(_) => Mix::http(model),
            Self::Sql(sql) => {
                sql.check().await?;
                Mix::sql(model)
            }
        }
    }

    /// Sends one request and waits for the whole of its answer.
    pub(crate) async fn send(&self, request: Request) -> Result<(), FailureKind> {
        match (self, request.body) {
            (Self::Http(http), Body::Http { method, path }) => http.send(method, &path).await,
            (Self::Sql(sql), Body::Sql { text, parameters }) => sql.send(&text, &parameters).await,
            (Self::Http(_), Body::Sql { .. }) | (Self::Sql(_), Body::Http { .. }) => {
                unreachable!("`prepare` draws only this target's kind of request")
            }
        }
    }
}

/// The failure behind an I/O error, told apart by who has to act.
fn io_failure(error: &std::io::Error) -> FailureKind {
    use std::io::ErrorKind;
    /// ENFILE and EMFILE, the same on every Unix we run on. The standard library has no kind for
    /// them.
    const NO_DESCRIPTOR: [i32; 2] = [23, 24];
    if error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR.contains(&code)) {
        return FailureKind::Starved;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => FailureKind::Refused,
        ErrorKind::AddrNotAvailable => FailureKind::Starved,
        ErrorKind::TimedOut => FailureKind::Timeout,
        _ => FailureKind::Disconnected,
    }
}
