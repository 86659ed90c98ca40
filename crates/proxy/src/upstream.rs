//! Where the server is and who we are to it: a database URL, read.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

use crate::Error;
use crate::access::Secret;
use crate::address::socket_in;
use crate::stream::Stream;
use crate::tls::{Given, ServerTls};

/// A password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(Zeroizing<Box<str>>);

impl Password {
    pub(crate) fn new(secret: &str) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    /// The secret itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// The server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Host name or address, and port.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// The socket itself, in the folder that `unix_socket_directories` names.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The server that the proxy stands in front of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    endpoint: Endpoint,
    user: Option<String>,
    password: Option<Password>,
    database: Option<String>,
    tls: ServerTls,
}

/// The parts of a URL that its query string may override.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    tls: Given,
}

impl Upstream {
    /// Reads a database URL: `postgres://user:password@host:port/database?host=/socket/folder`.
    ///
    /// Of the query string `host`, `port`, `user`, `password`, `dbname`, `sslmode`, `sslrootcert`,
    /// `sslcert`, `sslkey`, `sslnegotiation` and `channel_binding` are read, which mean what they
    /// mean to libpq; what else it says is for the app's own driver. The files they name are read
    /// here and now. There are no default files: without `sslrootcert` no authority is asked.
    ///
    /// # Errors
    /// [`Error::Url`] with what is wrong, [`Error::Certificate`] with the file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let url = Url::parse(&with_host(text)).map_err(|error| Error::Url(error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            let scheme = url.scheme();
            return Err(Error::Url(format!("scheme {scheme:?}: use postgres:// or postgresql://")));
        }
        let parts = Parts::read(&url)?;
        let port = match parts.port.as_deref() {
            None => 5432,
            Some(port) => port
                .parse()
                .map_err(|_| Error::Url(format!("port {port:?} is not a number up to 65535")))?,
        };
        let host = parts.host.unwrap_or_else(|| "localhost".to_owned());
        if host.contains(',') {
            return Err(Error::Url(format!("host {host:?}: more than one host is not supported")));
        }
        let endpoint = if host.starts_with('/') {
            Endpoint::Unix(socket_in(Path::new(&host), port))
        } else {
            Endpoint::Tcp { host, port }
        };
        let database = parts.database.or_else(|| parts.user.clone());
        let password = parts.password.map(|secret| Password::new(&secret));
        let tls = ServerTls::read(&parts.tls)?;
        Ok(Self { endpoint, user: parts.user, password, database, tls })
    }

    /// Where the server is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Who we are to it, whoever the client is. Without one each client logs in as itself.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The database the URL names; by default the user's.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Whether the URL has a password: without one, only loopback addresses may be listened on.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    pub(crate) fn tls(&self) -> &ServerTls {
        &self.tls
    }

    /// Connects; the caller sets the time limit.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        self.tls.connect(&self.endpoint).await
    }

    /// What proves to us who comes as the URL's user; nothing if the URL has no password.
    pub(crate) fn secret(&self) -> Option<Secret> {
        self.password.clone().map(Secret::plain)
    }
}

impl Parts {
    fn read(url: &Url) -> Result<Self, Error> {
        let mut parts = Self {
            // The brackets of an IPv6 address belong to the URL, not to the address.
            host: given(url.host_str().unwrap_or_default().trim_matches(['[', ']']))?,
            port: url.port().map(|port| port.to_string()),
            user: given(url.username())?,
            password: given(url.password().unwrap_or_default())?,
            database: given(url.path().trim_start_matches('/'))?,
            tls: Given::default(),
        };
        for pair in url.query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "host" => &mut parts.host,
                "port" => &mut parts.port,
                "user" => &mut parts.user,
                "password" => &mut parts.password,
                "dbname" => &mut parts.database,
                "sslmode" => &mut parts.tls.sslmode,
                "sslrootcert" => &mut parts.tls.sslrootcert,
                "sslcert" => &mut parts.tls.sslcert,
                "sslkey" => &mut parts.tls.sslkey,
                "sslnegotiation" => &mut parts.tls.sslnegotiation,
                "channel_binding" => &mut parts.tls.channel_binding,
                _ => continue,
            };
            *place = given(value)?;
        }
        Ok(parts)
    }
}

/// PostgreSQL allows a URL with a user and no host (`postgres://ann@/shop?host=/run`), the standard
/// for URLs does not: `localhost` is what it means.
fn with_host(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rfind('@').map(|at| rest.split_at(at + 1)) {
        Some((user, host)) if authority.len() == user.len() || host.starts_with(':') => {
            format!("{scheme}://{user}localhost{host}").into()
        }
        _ => text.into(),
    }
}

/// Percent-decodes a part; nothing if it is empty.
fn given(part: &str) -> Result<Option<String>, Error> {
    let text = percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| Error::Url("a percent-encoded part is not UTF-8".to_owned()))?;
    if text.contains('\0') {
        return Err(Error::Url("a part contains a zero byte".to_owned()));
    }
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn the_parts_of_a_url() {
        let cases = [
            ("postgres://ann@db.example/shop", tcp("db.example", 5432), "ann", None, "shop"),
            ("postgresql://a%40b:p%2Fw@h:6543/d%20b", tcp("h", 6543), "a@b", Some("p/w"), "d b"),
            ("postgres://ann@[::1]:1", tcp("::1", 1), "ann", None, "ann"),
            ("postgres://ann:@localhost/x", tcp("localhost", 5432), "ann", None, "x"),
            (
                "postgres:///shop?host=/run/pg&port=7&user=bob&password=a+b",
                Endpoint::Unix("/run/pg/.s.PGSQL.7".into()),
                "bob",
                Some("a+b"),
                "shop",
            ),
            (
                "postgres://ann:b@/shop?host=/run/pg",
                Endpoint::Unix("/run/pg/.s.PGSQL.5432".into()),
                "ann",
                Some("b"),
                "shop",
            ),
            ("postgres://ann@:7", tcp("localhost", 7), "ann", None, "ann"),
            (
                "postgres://ann@%2Frun%2Fpg/shop?sslmode=prefer&pool=5",
                Endpoint::Unix("/run/pg/.s.PGSQL.5432".into()),
                "ann",
                None,
                "shop",
            ),
        ];
        for (url, endpoint, user, password, database) in cases {
            let upstream = Upstream::parse(url).unwrap();
            assert_eq!(upstream.endpoint, endpoint, "{url}");
            assert_eq!(upstream.user(), Some(user), "{url}");
            assert_eq!(upstream.password.as_ref().map(Password::reveal), password, "{url}");
            assert_eq!(upstream.database(), Some(database), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let cases = [
            ("mysql://a@b/c", "scheme \"mysql\""),
            ("postgres://a@h/d?sslmode=verify-full", "need sslrootcert"),
            ("postgres://a@h/d?sslmode=verify-ca&sslrootcert=/none.crt", "/none.crt: "),
            ("postgres://a@h/d?sslrootcert=system&sslmode=require", "needs sslmode=verify-full"),
            ("postgres://a@h/d?sslnegotiation=direct", "needs sslmode=require"),
            ("postgres://a@h/d?sslnegotiation=maybe", "sslnegotiation \"maybe\""),
            ("postgres://a@h/d?channel_binding=maybe", "channel_binding \"maybe\""),
            ("postgres://a@h/d?sslcert=/a.crt", "sslcert and sslkey"),
            ("postgres://a@h/d?sslmode=maybe", "sslmode \"maybe\""),
            ("postgres://a@h/d?port=70000", "port \"70000\""),
            ("postgres://a@/d?host=h1,h2", "more than one host"),
            ("postgres://a%00b@h/d", "zero byte"),
            ("no url", "relative URL"),
        ];
        for (url, says) in cases {
            let error = Upstream::parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let upstream = Upstream::parse("postgres://ann:hunter2@h/d").unwrap();
        assert!(!format!("{upstream:?}").contains("hunter2"));
    }
}
