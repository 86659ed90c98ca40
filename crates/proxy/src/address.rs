//! Where clients come in: a TCP address, or a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What the name of a Unix socket begins with; the port follows. libpq and others find no other.
const NAME: &str = ".s.PGSQL.";

/// Where clients come in. As text: `127.0.0.1:6432`, `[::1]:6432`, or the path of a Unix socket,
/// `/run/surgetank/.s.PGSQL.6432`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 is any free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The Unix socket that clients look for in this folder for this port.
    #[must_use]
    pub fn unix(folder: &Path, port: u16) -> Self {
        Self::Unix(socket_in(folder, port))
    }
}

/// The socket of this port in a folder, ours or the server's.
pub(crate) fn socket_in(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!("{NAME}{port}"))
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return text.parse().map(Self::Tcp).map_err(|_| {
                format!("{text:?} is neither ADDRESS:PORT nor the whole path of a Unix socket")
            });
        }
        let path = PathBuf::from(text);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let port = name.strip_prefix(NAME).and_then(|port| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err(format!(
                "{text:?}: clients find a Unix socket by its folder and a port; \
                 write FOLDER/{NAME}PORT"
            ));
        }
        Ok(Self::Unix(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["127.0.0.1:6432", "[::1]:0", "/run/surgetank/.s.PGSQL.6432"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let folder = Address::unix(Path::new("/tmp"), 7000);
        assert_eq!("/tmp/.s.PGSQL.7000".parse(), Ok(folder));
    }

    #[test]
    fn what_no_client_would_find_is_refused() {
        for text in ["", "6432", "localhost", "run/.s.PGSQL.6432", "127.0.0.1"] {
            assert!(text.parse::<Address>().unwrap_err().contains("neither"), "{text}");
        }
        for text in ["/", "/tmp", "/tmp/proxy.sock", "/tmp/.s.PGSQL.", "/tmp/.s.PGSQL.0"] {
            assert!(text.parse::<Address>().unwrap_err().contains("FOLDER/.s.PGSQL.PORT"));
        }
    }
}
