//! What a proxy is told when it starts.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use crate::gate::{Terms, UNKNOWN};
use crate::pool::Key;
use crate::{Access, Dynos, Error, Knee, Upstream};

/// What the proxy does with the sessions that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One server connection per client; nothing is changed, everything is recorded.
    Observe,
    /// Transaction pooling: few server connections, a queue in front of them.
    Regulate,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Regulate => "regulate",
        })
    }
}

/// A database that clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// Whether both lead to the same server, the same way.
    pub(crate) fn leads_where(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.server_name == other.server_name
    }

    /// The kind of server connection that `user` needs who asks for this database, but for the
    /// parameters.
    pub(crate) fn key(&self, asked: &[u8], user: &[u8]) -> Key {
        let renamed = self.server_name.as_ref().map(|name| name.as_bytes());
        let forced = self.upstream.user().map(str::as_bytes);
        Key {
            database: renamed.unwrap_or(asked).into(),
            user: forced.unwrap_or(user).into(),
            parameters: Vec::new(),
        }
    }

    /// How clients name it; `*` for all.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("*")
    }
}

/// Most server connections where nobody has set a limit and none is found.
pub(crate) const STATIC_LIMIT: u32 = UNKNOWN;

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
    /// `regulate`: most server connections that may be open at once to a database. Without it: as
    /// many as the server has room for, read again each second, if [`Config::adaptive`]; else
    /// 20.
    pub limit: Option<NonZeroU32>,
    /// `regulate`: how many statements may execute at once is found by measuring, and the limit is
    /// only the most it can be. The server's own room (`max_connections` and what others use of
    /// it) is kept to.
    pub adaptive: bool,
    /// `regulate`: how dynos share.
    pub dynos: Arc<Dynos>,
    /// `regulate`: what an earlier run has found ([`Control::knees`](crate::Control::knees)).
    pub knees: Vec<Knee>,
    /// `regulate`: how long a request may wait for a server connection before it is refused.
    pub queue_timeout: Duration,
    /// `regulate`: how long a request waits before its client is told so by a NOTICE, once; without
    /// it clients are never told.
    pub queue_notice: Option<Duration>,
    /// How long opening a server connection may take, from TCP to the end of authentication.
    pub connect_timeout: Duration,
    /// Most clients at once, admins not counted; without it the system's limits hold.
    pub max_client_conn: Option<NonZeroU32>,
    /// Users who may do everything on the admin database (`pgbouncer`, or `surgetank`). If neither
    /// these nor [`Config::stats_users`] name anybody, there is no such database.
    pub admin_users: Vec<String>,
    /// Users who may only look.
    pub stats_users: Vec<String>,
}

/// A setting, as `SHOW CONFIG` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name: `PgBouncer`'s where it has one.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it is if nothing is said.
    pub default: String,
    /// Whether `SET` and a reload can change it.
    pub changeable: bool,
}

impl Config {
    /// The defaults: half as many workers as cores, a limit that is found, 5 s of patience.
    #[must_use]
    pub fn new(mode: Mode, upstream: Upstream) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            mode,
            databases: vec![Database::any(upstream)],
            access: Access::default(),
            workers: NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN),
            limit: None,
            adaptive: true,
            dynos: Arc::default(),
            knees: Vec::new(),
            queue_timeout: Duration::from_secs(5),
            queue_notice: None,
            connect_timeout: Duration::from_secs(5),
            max_client_conn: None,
            admin_users: Vec::new(),
            stats_users: Vec::new(),
        }
    }

    /// All settings but the databases.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let any = self.databases.first().map(|database| database.upstream.clone());
        let base = any.map_or_else(|| self.clone(), |upstream| Self::new(self.mode, upstream));
        let clients = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get).to_string();
        let limit = |config: &Self| match config.limit {
            Some(limit) => limit.to_string(),
            None if config.adaptive => "auto".to_owned(),
            None => STATIC_LIMIT.to_string(),
        };
        let seconds = |time: Duration| time.as_secs_f64().to_string();
        let after = |time: Option<Duration>| seconds(time.unwrap_or_default());
        let pool_mode = match self.mode {
            Mode::Observe => "session",
            Mode::Regulate => "transaction",
        };
        let one = |key, value: String, default: String, changeable| Setting {
            key,
            value,
            default,
            changeable,
        };
        vec![
            one("admin_users", self.admin_users.join(", "), String::new(), true),
            one("adaptive", self.adaptive.to_string(), base.adaptive.to_string(), true),
            one("default_pool_size", limit(self), limit(&base), true),
            one(
                "max_client_conn",
                clients(self.max_client_conn),
                clients(base.max_client_conn),
                true,
            ),
            one("pool_mode", pool_mode.to_owned(), pool_mode.to_owned(), false),
            one("query_wait_notify", after(self.queue_notice), after(base.queue_notice), true),
            one(
                "query_wait_timeout",
                seconds(self.queue_timeout),
                seconds(base.queue_timeout),
                true,
            ),
            one(
                "server_connect_timeout",
                seconds(self.connect_timeout),
                seconds(base.connect_timeout),
                true,
            ),
            one("stats_users", self.stats_users.join(", "), String::new(), true),
            one("workers", self.workers.to_string(), base.workers.to_string(), false),
        ]
    }

    /// Changes one setting, by its name in [`Config::settings`] or in our own files.
    ///
    /// # Errors
    /// What is wrong with the name or the value, in words.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let wrong = |what: &str| format!("{key} = {value}: {what}");
        let count = || value.parse().map_err(|_| wrong("not a number above 0"));
        let seconds = || {
            let time = value.parse().ok().filter(|time| *time > 0.0);
            time.and_then(|time| Duration::try_from_secs_f64(time).ok())
                .ok_or_else(|| wrong("not a number of seconds above 0"))
        };
        let names = || -> Vec<String> {
            let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        match key {
            "default_pool_size" | "limit" if value == "auto" => self.limit = None,
            "default_pool_size" | "limit" => self.limit = Some(count()?),
            "adaptive" => {
                self.adaptive = value.parse().map_err(|_| wrong("neither true nor false"))?;
            }
            "max_client_conn" if value == "0" => self.max_client_conn = None,
            "max_client_conn" => self.max_client_conn = Some(count()?),
            "query_wait_timeout" | "queue_timeout" => self.queue_timeout = seconds()?,
            "query_wait_notify" | "queue_notice" if value == "0" => self.queue_notice = None,
            "query_wait_notify" | "queue_notice" => self.queue_notice = Some(seconds()?),
            "server_connect_timeout" | "connect_timeout" => self.connect_timeout = seconds()?,
            "admin_users" => self.admin_users = names(),
            "stats_users" => self.stats_users = names(),
            "pool_mode" | "mode" | "workers" => {
                return Err(format!("{key} cannot be changed while running: restart instead"));
            }
            _ => return Err(format!("no setting {key:?}; see SHOW CONFIG")),
        }
        Ok(())
    }

    /// What the gate of a database is made for.
    pub(crate) fn terms(&self, database: &Database) -> Terms {
        let remembered = self.knees.iter().find(|knee| knee.database == database.label());
        Terms {
            cap: database.limit.or(self.limit).map(NonZeroU32::get),
            adaptive: self.adaptive,
            remembered: remembered.map(|knee| knee.statements),
            patience: self.queue_timeout,
            dynos: Arc::clone(&self.dynos),
        }
    }

    /// Whether there is an admin database.
    #[must_use]
    pub fn has_admin_database(&self) -> bool {
        !self.admin_users.is_empty() || !self.stats_users.is_empty()
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

    /// Whether nobody is trusted but by a rule that says so.
    pub(crate) fn asks_for_passwords(&self) -> bool {
        let access = &self.access;
        let by_access = !access.rules.is_empty() || !access.users.are_of_urls();
        // In `observe` mode the server itself checks its clients, but it sees us, and may trust us.
        self.databases.iter().all(|database| {
            (self.mode == Mode::Regulate && by_access) || database.upstream.has_password()
        })
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
