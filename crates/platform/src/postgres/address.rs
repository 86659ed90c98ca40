//! How to reach a cluster: its addresses, as URLs that libpq and all drivers understand.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Error;
use crate::random;

/// What may stand unescaped in a part of a URL (RFC 3986, "unreserved").
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A role and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The role's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Credentials {
    /// A role with a password nobody can guess: 128 random bits, as hexadecimal digits.
    ///
    /// # Errors
    /// The system has no random source.
    pub fn random(user: &str) -> Result<Self, Error> {
        let password = random::hex(16).map_err(|source| Error::Random { source })?;
        Ok(Self { user: user.to_owned(), password })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:(password)", self.user)
    }
}

/// Where a cluster listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The folder of its Unix socket.
    pub socket_dir: PathBuf,
    /// Its TCP address, always loopback.
    pub host: IpAddr,
    /// Its port, which is also part of the socket's name.
    pub port: u16,
}

impl Address {
    /// Its TCP socket address.
    #[must_use]
    pub fn tcp(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// The URL of a database over TCP, for libpq and every driver.
    #[must_use]
    pub fn url(&self, credentials: &Credentials, database: &str) -> String {
        format!(
            "postgresql://{}:{}@{}/{}",
            escape(&credentials.user),
            escape(&credentials.password),
            self.tcp(),
            escape(database)
        )
    }

    /// The URL of a database over the Unix socket, without a password.
    #[must_use]
    pub fn socket_url(&self, user: &str, database: &str) -> String {
        format!(
            "postgresql://{}@/{}?host={}&port={}",
            escape(user),
            escape(database),
            escape(&self.socket_dir.to_string_lossy()),
            self.port
        )
    }

    /// The path of the Unix socket itself.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{}", self.port))
    }
}

fn escape(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_url_is_escaped() {
        let address = Address {
            socket_dir: "/tmp/a b".into(),
            host: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 5433,
        };
        let owner = Credentials { user: "o@k".to_owned(), password: "p/:?#".to_owned() };
        assert_eq!(
            address.url(&owner, "a%b"),
            "postgresql://o%40k:p%2F%3A%3F%23@127.0.0.1:5433/a%25b"
        );
        assert_eq!(
            address.socket_url("me", "db"),
            "postgresql://me@/db?host=%2Ftmp%2Fa%20b&port=5433"
        );
        assert!(!format!("{owner:?}").contains("p/:"), "a password is not for logs");
    }
}
