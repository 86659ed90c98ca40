//! The loop: samples while there is a session, finds a new one when there is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use trace::{Clock, Event, Sink};

use crate::activity::{Activity, LockWaits};
use crate::config::ObserveConfig;
use crate::connection::Connection;
use crate::error::Error;
use crate::locks::Locks;
use crate::seen::Seen;
use crate::settings;
use crate::statements::{Statements, Texts};
use crate::tables::Tables;

/// The first wait before a new attempt to connect; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// What every sample needs.
#[derive(Clone)]
pub(crate) struct Teller {
    pub(crate) clock: Clock,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) seen: Arc<Seen>,
}

impl Teller {
    fn mark(&self, text: String) {
        self.sink.record(Event::Marked { at: self.clock.now(), text: text.into() });
    }
}

/// Runs until `stop` is told or dropped; then samples once more.
pub(crate) async fn run(
    config: ObserveConfig,
    teller: Teller,
    mut session: Session,
    mut stop: oneshot::Receiver<()>,
) {
    loop {
        let error = match session.sample_until(&config, &teller, &mut stop).await {
            Ok(()) => break,
            Err(error) => error,
        };
        let lost = Instant::now();
        tracing::warn!(%error, "observer has no session");
        teller.mark(format!("observer lost its session: {error}"));
        let Some(next) = reconnect(&config, &teller, &mut stop).await else { return };
        session = next;
        teller.mark(format!("observer is back after {:.1} s", lost.elapsed().as_secs_f64()));
    }
    if let Err(error) = session.totals(&teller, Texts::Now).await {
        tracing::warn!(%error, "observer could not take its last sample");
    }
}

/// Tries until it has a session; `None` if it was told to stop before.
async fn reconnect(
    config: &ObserveConfig,
    teller: &Teller,
    stop: &mut oneshot::Receiver<()>,
) -> Option<Session> {
    let mut wait = FIRST_RETRY;
    loop {
        let attempt = async {
            sleep(wait).await;
            Session::open(config, teller).await
        };
        tokio::select! {
            _ = &mut *stop => return None,
            opened = attempt => match opened {
                Ok(session) => return Some(session),
                Err(error) => tracing::debug!(%error, "observer tries again"),
            },
        }
        wait = (wait * 2).min(LONGEST_RETRY);
    }
}

/// A session with everything prepared that is asked again and again.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    activity: Activity,
    locks: Locks,
    tables: Tables,
    /// Absent where the server does not have it, or refused it.
    statements: Option<Statements>,
    /// Questions that were refused, logged once each.
    refused: Vec<&'static str>,
}

impl Session {
    pub(crate) async fn open(config: &ObserveConfig, teller: &Teller) -> Result<Self, Error> {
        let connection = Connection::open(&config.postgres).await?;
        settings::tell(&connection, teller.clock, &*teller.sink).await?;
        if config.create_extension {
            let create = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements";
            kept(connection.simple(create).await, "cannot create pg_stat_statements")?;
        }
        connection.restrain().await?;
        let version = settings::version(&connection).await?;
        let statements = kept(
            Statements::prepare(&connection, version).await,
            "pg_stat_statements cannot be read",
        )?;
        if statements.is_none() {
            tracing::info!("no pg_stat_statements in this database: no totals of statements");
        }
        Ok(Self {
            activity: Activity::prepare(&connection, version).await?,
            locks: Locks::prepare(&connection).await?,
            tables: Tables::prepare(&connection).await?,
            statements: statements.flatten(),
            connection,
            refused: Vec::new(),
        })
    }

    /// Samples at the pace of the configuration. `Ok` when it was told to stop.
    async fn sample_until(
        &mut self,
        config: &ObserveConfig,
        teller: &Teller,
        stop: &mut oneshot::Receiver<()>,
    ) -> Result<(), Error> {
        let mut ticks = interval(config.activity_period);
        // A late tick is skipped: a slow server is not asked more often for it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut totals_due = Instant::now();
        loop {
            tokio::select! {
                _ = &mut *stop => return Ok(()),
                _ = ticks.tick() => {}
            }
            self.activity(teller).await?;
            if Instant::now() >= totals_due {
                totals_due = Instant::now() + config.totals_period;
                self.totals(teller, Texts::WhenDue).await?;
            }
        }
    }

    async fn activity(&mut self, teller: &Teller) -> Result<(), Error> {
        let Teller { clock, sink, seen } = teller;
        let none = HashMap::new();
        let by_query_id = self.statements.as_ref().map_or(&none, Statements::by_query_id);
        let sampled =
            self.activity.sample(&self.connection, by_query_id, seen, *clock, &**sink).await;
        if self.answered("activity", sampled)? == Some(LockWaits::Some) {
            let sampled = self.locks.sample(&self.connection, *clock, &**sink).await;
            self.answered("lock waits", sampled)?;
        }
        Ok(())
    }

    async fn totals(&mut self, teller: &Teller, texts: Texts) -> Result<(), Error> {
        let Teller { clock, sink, seen } = teller;
        if let Some(statements) = &mut self.statements {
            let sampled = statements.sample(&self.connection, texts, seen, *clock, &**sink).await;
            self.answered("statements", sampled)?;
        }
        let sampled = self.tables.sample(&self.connection, *clock, &**sink).await;
        self.answered("tables", sampled)?;
        Ok(())
    }

    /// A refusal is logged once and the session goes on; `None` then.
    fn answered<T>(
        &mut self,
        question: &'static str,
        answer: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match answer {
            Err(error) if !error.ends_session() => {
                if !self.refused.contains(&question) {
                    self.refused.push(question);
                    tracing::warn!(question, %error, "observer goes without");
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

/// What can be done without: a refusal is logged and is `None`.
fn kept<T>(answer: Result<T, Error>, what: &'static str) -> Result<Option<T>, Error> {
    match answer {
        Err(error) if !error.ends_session() => {
            tracing::warn!(%error, "{what}");
            Ok(None)
        }
        other => other.map(Some),
    }
}
