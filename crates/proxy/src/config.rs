//! What a proxy is told when it starts.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::{Access, Error, Upstream};

/// What the proxy does with the sessions that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One server connection per client; nothing is changed, everything is recorded.
    Observe,
    /// Transaction pooling: at most `limit` server connections, a queue in front of them.
    Regulate,
}

/// A database that clients may ask for.
#[derive(Clone, Debug)]
pub struct Database {
    /// The name that clients ask for; without one, every name that no other entry has
    /// (`PgBouncer`'s `*`).
    pub name: Option<Box<str>>,
    /// Its server, and who we are to it.
    pub upstream: Upstream,
    /// Its name on the server, if that is another than the client's.
    pub server_name: Option<Box<str>>,
    /// `regulate`: most server connections, if other than [`Config::limit`]. Each entry has its
    /// own gate, shared by all users and, for the entry without a name, by all databases.
    pub limit: Option<NonZeroU32>,
}

impl Database {
    /// Whatever clients ask for, on one server.
    #[must_use]
    pub fn any(upstream: Upstream) -> Self {
        Self { name: None, upstream, server_name: None, limit: None }
    }

    /// How clients name it; `*` for all.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("*")
    }
}

/// A proxy's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it does.
    pub mode: Mode,
    /// The databases behind it; no two of one name.
    pub databases: Vec<Database>,
    /// Who may come in.
    pub access: Access,
    /// Threads that carry sessions. One is enough for tens of thousands of requests a second.
    pub workers: NonZeroUsize,
    /// `regulate`: most server connections that may be open at once to a database. Must leave room
    /// in the server's `max_connections` for superusers and for those who do not come through the
    /// proxy.
    pub limit: NonZeroU32,
    /// `regulate`: how long a request may wait for a server connection before it is refused.
    pub queue_timeout: Duration,
    /// How long opening a server connection may take, from TCP to the end of authentication.
    pub connect_timeout: Duration,
}

impl Config {
    /// The defaults: half as many workers as cores, 20 server connections, 5 s of patience.
    #[must_use]
    pub fn new(mode: Mode, upstream: Upstream) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            mode,
            databases: vec![Database::any(upstream)],
            access: Access::default(),
            workers: NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN),
            limit: NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN),
            queue_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
        }
    }

    /// Whether it can be run.
    ///
    /// # Errors
    /// [`Error::Databases`] if there is none, or two have the same name; [`Error::Access`].
    pub fn check(&self) -> Result<(), Error> {
        self.check_access(&self.access)?;
        let mut labels: Vec<&str> = self.databases.iter().map(Database::label).collect();
        labels.sort_unstable();
        if labels.is_empty() {
            return Err(Error::Databases("there is none".to_owned()));
        }
        match labels.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::Databases(format!("{:?} is there twice", pair[0]))),
            None => Ok(()),
        }
    }

    /// Whether clients can be let in to these databases by that.
    pub(crate) fn check_access(&self, access: &Access) -> Result<(), Error> {
        access.check()?;
        let nameless = self.databases.iter().find(|database| database.upstream.user().is_none());
        match nameless {
            Some(database) if self.mode == Mode::Regulate && access.users.are_of_urls() => {
                let label = database.label();
                Err(Error::Databases(format!(
                    "{label:?} names no user: write postgres://USER@host/database, or list users"
                )))
            }
            _ => Ok(()),
        }
    }
}
