//! A small shop, as a team would run it on a platform: processes `web` and `worker` in a
//! [`Procfile`](PROCFILE), settings from the environment, logs on stdout, and a connection pool of
//! its own in every process.
//!
//! ```text
//!   web     GET|POST /checkout   recent orders, then stock and order in a transaction
//!           GET /popular         what the last 1 000 orders bought
//!           GET /product/{id}    one product
//!           GET /health          alive, without the database
//!   worker  report               sales by region and month, every few seconds
//!           restock              fills the shelves, every second
//!   setup                        tables and half a million orders
//! ```
//!
//! Nothing here is staged: there is no sleep that holds a thing and no planted error. The shop
//! fails under load because of two everyday decisions. `orders.customer_id` has a foreign key and
//! no index, so every checkout reads the whole table. And each process may open as many
//! connections as its own pool allows ([`Config::pool_size`]), with no regard to what the server
//! has left.
//!
//! Start reading at `web`, then `shop`.

mod config;
mod database;
mod error;
mod log;
mod setup;
mod shop;
mod web;
mod worker;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use config::{Command, Config, Job};

/// The shop's Procfile, for a platform that runs it from the binary it ships in.
pub const PROCFILE: &str = include_str!("../Procfile");

/// How long a process may take to finish what it began once it is asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Runs one process of the shop to its end, with the settings of the environment: the words after
/// `surgetank storefront`. Stops in order on SIGTERM and SIGINT.
///
/// Builds its own runtime: call [`run`] instead from inside one.
///
/// # Errors
/// Unknown words, settings that cannot be read, a port that is taken, or a failed `setup`.
pub fn cli(args: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let command = Command::parse(args)?;
    let config = Config::read(|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let work = run(command, config, stop.clone());
        tokio::pin!(work);
        tokio::select! {
            ended = &mut work => return ended,
            asked = stop_asked() => asked?,
        }
        stop.cancel();
        work.await
    })
}

/// Runs one process of the shop until it is done or `stop` is cancelled.
///
/// # Errors
/// As [`cli`].
pub async fn run(command: Command, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    match command {
        Command::Web => web::serve(config, stop).await,
        Command::Worker => worker::work(config, stop).await,
        // An interrupted setup leaves nothing: it is one transaction.
        Command::Setup { reset } => tokio::select! {
            done = setup::set_up(config, reset) => done,
            () = stop.cancelled() => anyhow::bail!("setup interrupted, nothing changed"),
        },
    }
}

/// Returns when the platform (SIGTERM) or the person at the terminal (SIGINT) asks us to stop.
async fn stop_asked() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
