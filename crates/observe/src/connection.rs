//! One session with PostgreSQL, every question with a time limit.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, SimpleQueryMessage, Statement};

use crate::error::Error;

/// By this name our sessions are told apart in `pg_stat_activity`.
const APPLICATION_NAME: &str = "surgetank-observer";

/// How long PostgreSQL may take to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long one question may take, as we see it. PostgreSQL itself ends it before
/// ([`SESSION_SETTINGS`]); this is for a server that no longer answers at all.
const QUERY_LIMIT: Duration = Duration::from_secs(4);

/// Bounds what we may cost, and what a mistake of ours could do.
const SESSION_SETTINGS: &str = "
    SET statement_timeout = '2s';
    SET lock_timeout = '200ms';
    SET idle_in_transaction_session_timeout = '10s';
    SET default_transaction_read_only = on";

/// An open session. Dropping it closes the session.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    // Drives the socket; aborted when dropped.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Opens a session, and leaves its settings as the role has them.
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let mut config = config.clone();
        config.application_name(APPLICATION_NAME).connect_timeout(CONNECT_LIMIT);
        let opened = timeout(CONNECT_LIMIT, config.connect(NoTls)).await;
        let (client, driver) =
            opened.map_err(|_| Error::Timeout(CONNECT_LIMIT))?.map_err(Error::Connect)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // How the session ends is seen by whoever asks next.
            let _ended = driver.await;
        });
        Ok(Self { client, _driver: tasks })
    }

    /// Bounds the session's cost. Settings are read before this, so as to see those of the others.
    pub(crate) async fn restrain(&self) -> Result<(), Error> {
        self.simple(SESSION_SETTINGS).await?;
        // Only a superuser may; others see our own questions among the statements.
        match self.simple("SET pg_stat_statements.track = 'none'").await {
            Err(error) if error.ends_session() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub(crate) async fn prepare(&self, text: &str) -> Result<Statement, Error> {
        self.limited(self.client.prepare(text)).await
    }

    pub(crate) async fn query(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.limited(self.client.query(statement, parameters)).await
    }

    /// Prepares and asks once.
    pub(crate) async fn ask(
        &self,
        text: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.limited(self.client.query(text, parameters)).await
    }

    /// Runs one or several statements as text.
    pub(crate) async fn simple(&self, text: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.limited(self.client.simple_query(text)).await
    }

    async fn limited<T>(
        &self,
        question: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let answer =
            timeout(QUERY_LIMIT, question).await.map_err(|_| Error::Timeout(QUERY_LIMIT))?;
        answer.map_err(|error| {
            // `FATAL` also comes as an answer, before the server hangs up.
            let fatal = error.as_db_error().is_none_or(|db| db.severity() != "ERROR");
            if self.client.is_closed() || fatal {
                Error::Lost(error)
            } else {
                Error::Refused(error)
            }
        })
    }
}
