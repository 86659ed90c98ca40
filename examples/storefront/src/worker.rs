//! The `worker` process: what the shop does when no customer waits for it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Job};
use crate::database::Database;
use crate::error::ShopError;
use crate::log::{self, Level};

/// Sales by region and month since the shop's relaunch.
const REPORT: &str = "
    SELECT c.region, date_trunc('month', o.placed_at) AS month,
           count(DISTINCT o.id) AS orders,
           sum(l.quantity) AS items,
           sum(l.quantity * l.price_cents) AS revenue_cents
    FROM orders AS o
    JOIN order_lines AS l ON l.order_id = o.id
    JOIN customers AS c ON c.id = o.customer_id
    WHERE o.placed_at >= '2023-01-01'
    GROUP BY c.region, month
    ORDER BY c.region, month";

/// Fills every shelf that runs low. A product that a checkout holds is left for the next round, so
/// restocking never waits for a customer, nor takes part in a deadlock.
const RESTOCK: &str = "
    UPDATE products SET stock = stock + 1000
    WHERE id IN (SELECT id FROM products WHERE stock < 500 ORDER BY id FOR UPDATE SKIP LOCKED)";

/// Runs the jobs until `stop`, then lets them finish, for [`GRACE`](crate::GRACE) at most.
pub(crate) async fn work(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let database = Database::new(config.database, config.pool_size)?;
    let mut jobs = JoinSet::new();
    for job in config.jobs {
        let every = match job {
            Job::Report => config.report_every,
            Job::Restock => Duration::from_secs(1),
        };
        jobs.spawn(repeat(job, every, database.clone(), stop.clone()));
    }
    log::write(Level::Info, &[("msg", &"working"), ("jobs", &jobs.len())]);
    stop.cancelled().await;
    let finish = async { while jobs.join_next().await.is_some() {} };
    let finished = tokio::time::timeout(crate::GRACE, finish).await;
    if finished.is_err() {
        log::write(Level::Error, &[("msg", &"stopped before all jobs were done")]);
    }
    database.close();
    log::write(Level::Info, &[("msg", &"stopped")]);
    Ok(())
}

/// Runs `job` again and again, `every` so often but never twice at once.
async fn repeat(job: Job, every: Duration, database: Database, stop: CancellationToken) {
    let mut rounds = tokio::time::interval_at(Instant::now() + every, every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        let done = match job {
            Job::Report => report(&database).await,
            Job::Restock => restock(&database).await,
        };
        if let Err(error) = done {
            let job = format!("{job:?}").to_lowercase();
            log::write(Level::Error, &[("job", &job), ("error", &error.chain())]);
        }
    }
}

pub(crate) async fn report(database: &Database) -> Result<(), ShopError> {
    let doing = "making the sales report";
    let client = database.client().await?;
    let start = Instant::now();
    let statement = client.prepare_cached(REPORT).await.map_err(ShopError::doing(doing))?;
    let rows = client.query(&statement, &[]).await.map_err(ShopError::doing(doing))?;
    let seconds = format!("{:.2}", start.elapsed().as_secs_f64());
    log::write(Level::Info, &[("job", &"report"), ("rows", &rows.len()), ("seconds", &seconds)]);
    Ok(())
}

pub(crate) async fn restock(database: &Database) -> Result<(), ShopError> {
    let doing = "restocking";
    let client = database.client().await?;
    let statement = client.prepare_cached(RESTOCK).await.map_err(ShopError::doing(doing))?;
    client.execute(&statement, &[]).await.map_err(ShopError::doing(doing))?;
    Ok(())
}
