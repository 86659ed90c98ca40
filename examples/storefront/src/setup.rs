//! The shop's tables and three years of orders.

use anyhow::Context;
use tokio::time::Instant;

use crate::config::Config;
use crate::database::Database;
use crate::log::{self, Level};

pub(crate) const SCHEMA: &str = include_str!("../schema.sql");
const SEED: &str = include_str!("../seed.sql");
const DROP: &str = "DROP TABLE IF EXISTS order_lines, orders, products, customers";

/// Vacuumed, so that no autovacuum of the seed data falls into the first minutes of business.
const SETTLE: &str = "VACUUM (ANALYZE) customers, products, orders, order_lines";

/// Makes and fills the tables in one transaction; does nothing where they exist, unless `reset`.
pub(crate) async fn set_up(config: Config, reset: bool) -> anyhow::Result<()> {
    let database = Database::new(config.database, 1)?;
    let mut client = database.client().await?;
    let start = Instant::now();
    let transaction = client.transaction().await?;
    if reset {
        transaction.batch_execute(DROP).await.context("dropping the shop's tables")?;
    }
    let present: bool =
        transaction.query_one("SELECT to_regclass('orders') IS NOT NULL", &[]).await?.get(0);
    if present {
        log::write(Level::Info, &[("msg", &"the shop is set up already")]);
        return Ok(());
    }
    transaction.batch_execute(SCHEMA).await.context("creating the shop's tables")?;
    transaction.batch_execute(SEED).await.context("filling the shop's tables")?;
    transaction.commit().await?;
    client.batch_execute(SETTLE).await.context("vacuuming the shop's tables")?;
    let seconds = format!("{:.1}", start.elapsed().as_secs_f64());
    log::write(Level::Info, &[("msg", &"the shop is set up"), ("seconds", &seconds)]);
    database.close();
    Ok(())
}
