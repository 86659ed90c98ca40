//! Load over SQL: single statements on a bounded set of connections.
//!
//! Customers may be without number, but an app's connections are not: a due statement waits for one
//! of them, and that wait is part of its latency.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_postgres::config::Host;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls, Statement};
use trace::SqlState;

use super::{Reach, io_failure};
use crate::Error;
use crate::result::FailureKind;

/// A database, and the connections that load it.
#[derive(Clone)]
pub struct Sql {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    timeout: Duration,
    /// One permit for each connection that may be in use.
    free: Semaphore,
    idle: std::sync::Mutex<Vec<Session>>,
}

/// One connection; ends when dropped.
struct Session {
    client: Client,
    statements: HashMap<Arc<str>, Statement>,
    /// Holds the task that moves the connection's bytes, and ends it.
    _driver: JoinSet<()>,
}

impl Sql {
    /// The database of `config`, over at most `connections` connections, opened as they are needed.
    /// A statement without a whole answer after `timeout` has failed.
    ///
    /// # Errors
    /// [`Error::Remote`] if `reach` does not allow one of the hosts.
    pub fn new(
        config: Config,
        connections: usize,
        timeout: Duration,
        reach: Reach,
    ) -> Result<Self, Error> {
        for host in config.get_hosts() {
            check_host(host, reach)?;
        }
        for address in config.get_hostaddrs() {
            reach.check(&address.to_string(), *address)?;
        }
        let free = Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS));
        let idle = std::sync::Mutex::new(Vec::new());
        Ok(Self { shared: Arc::new(Shared { config, timeout, free, idle }) })
    }

    /// Opens a first connection, so that a wrong password is an error and not a thousand failures.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        let session = Session::open(&self.shared.config).await.map_err(Error::Connect)?;
        self.shared.give_back(session);
        Ok(())
    }

    pub(crate) async fn send(
        &self,
        text: &Arc<str>,
        parameters: &[i64],
    ) -> Result<(), FailureKind> {
        match tokio::time::timeout(self.shared.timeout, self.execute(text, parameters)).await {
            Err(_) => Err(FailureKind::Timeout),
            Ok(done) => done.map_err(|error| sql_failure(&error)),
        }
    }

    /// Runs one statement. Given up half-way, its connection is closed: nobody else may wait behind
    /// a statement that nobody waits for.
    async fn execute(
        &self,
        text: &Arc<str>,
        parameters: &[i64],
    ) -> Result<(), tokio_postgres::Error> {
        let _permit = self.shared.free.acquire().await.expect("the semaphore is never closed");
        let mut session = match self.shared.take() {
            Some(session) => session,
            None => Session::open(&self.shared.config).await?,
        };
        let done = session.execute(text, parameters).await;
        if done.as_ref().map_or_else(survives, |()| true) {
            self.shared.give_back(session);
        }
        done
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { config, timeout, .. } = &*self.shared;
        f.debug_struct("Sql").field("config", config).field("timeout", timeout).finish()
    }
}

impl Shared {
    /// An idle connection, the latest used first; those that the server has closed are dropped.
    fn take(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|session| !session.client.is_closed())
    }

    fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}

impl Session {
    async fn open(config: &Config) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = config.connect(NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error reaches us through the client.
            let _ = connection.await;
        });
        Ok(Self { client, statements: HashMap::new(), _driver: driver })
    }

    async fn execute(
        &mut self,
        text: &Arc<str>,
        parameters: &[i64],
    ) -> Result<(), tokio_postgres::Error> {
        let statement = match self.statements.get(text) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(text).await?;
                self.statements.insert(Arc::clone(text), statement.clone());
                statement
            }
        };
        let drawn: Vec<Drawn> = parameters.iter().copied().map(Drawn).collect();
        let drawn: Vec<&(dyn ToSql + Sync)> = drawn.iter().map(|value| value as _).collect();
        self.client.query(&statement, &drawn).await?;
        Ok(())
    }
}

/// A drawn number, sent as text: PostgreSQL reads it as whatever type the parameter has.
#[derive(Debug)]
struct Drawn(i64);

impl ToSql for Drawn {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.to_string().as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn check_host(host: &Host, reach: Reach) -> Result<(), Error> {
    match host {
        Host::Unix(_) => Ok(()),
        Host::Tcp(name) if name == "localhost" => Ok(()),
        Host::Tcp(name) => match name.parse::<IpAddr>() {
            Ok(address) => reach.check(name, address),
            // A name is resolved anew at every connect, so what it stands for cannot be checked.
            Err(_) if reach == Reach::Anywhere => Ok(()),
            Err(_) => Err(Error::Remote { host: name.clone() }),
        },
    }
}

/// Whether a connection is good for more after this error: the server reported it and goes on. Of
/// FATAL and PANIC the manual says that the session ends (55.8, field `S`), soon if not yet.
fn survives(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|told| told.parsed_severity() == Some(Severity::Error))
}

fn sql_failure(error: &tokio_postgres::Error) -> FailureKind {
    if let Some(code) = error.code() {
        return match SqlState::from_bytes(code.code().as_bytes()) {
            Some(state) => FailureKind::Sql(state),
            None => FailureKind::Protocol,
        };
    }
    match error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        Some(io) => io_failure(io),
        None if error.is_closed() => FailureKind::Disconnected,
        None => FailureKind::Protocol,
    }
}
