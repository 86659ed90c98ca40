//! The observer as the rest of Surgetank sees it: start, plans on request, shutdown.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use trace::{Clock, Sink};

use crate::config::ObserveConfig;
use crate::error::Error;
use crate::plans;
use crate::sampler::{self, Session, Teller};
use crate::seen::Seen;

/// Samples PostgreSQL until it is shut down. Dropping it ends it without the last sample.
pub struct Observer {
    config: ObserveConfig,
    teller: Teller,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Observer {
    /// Connects and begins. Everything it sees is told to `sink`, at times of `clock`.
    ///
    /// # Errors
    /// If PostgreSQL does not let it in now. Later losses of the session are its own business.
    pub async fn start(
        config: ObserveConfig,
        clock: Clock,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, Error> {
        let teller = Teller { clock, sink, seen: Arc::new(Seen::default()) };
        let session = Session::open(&config, &teller).await?;
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(sampler::run(config.clone(), teller.clone(), session, stopped));
        Ok(Self { config, teller, stop, task })
    }

    /// Tells the plans of up to `count` statements: those with the most total time in
    /// `pg_stat_statements`, or where that is not installed, those most often seen at work.
    ///
    /// Nothing is executed; each statement takes PostgreSQL at most some seconds. Gives how many
    /// plans were told: fewer than asked for if statements cannot be planned without their values.
    pub async fn capture_plans(&self, count: usize) -> usize {
        let Teller { clock, sink, seen } = &self.teller;
        match plans::capture(&self.config.postgres, count, seen, *clock, &**sink).await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "plans could not be captured");
                0
            }
        }
    }

    /// Takes a last sample of statements and tables, and ends its session.
    pub async fn shutdown(mut self) {
        // The receiver is gone only if the task has ended.
        let _already_ended = self.stop.send(());
        while let Some(ended) = self.task.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "observer panicked");
            }
        }
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
