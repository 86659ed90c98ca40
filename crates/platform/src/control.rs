//! The way in for another terminal: an HTTP API over a Unix socket, so that `surgetank ps`,
//! `logs -t`, `ps:scale`, `ps:restart` and `run` reach the `surgetank up` that runs.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /info` | – | what [`Controlled::info`] says |
//! | `GET /ps` | – | a list of [`DynoInfo`] |
//! | `POST /logs` | [`LogsOrder`] | lines, as they come |
//! | `POST /scale` | `{"changes": "web=2,worker+1"}` | `{"formation": "web=2, worker=1"}` |
//! | `POST /restart` | `{"target": "web.1"}`, a type, or empty for all | the restarted dynos |
//! | `GET /maintenance` | – | `{"on": false}` |
//! | `POST /maintenance` | `{"on": true}` | the same |
//! | `POST /run` | [`RunOrder`] | a [`RunComparison`] |
//!
//! An error is `{"error": "…"}` with a status of 400 or more. Whoever may open the socket may do
//! all of this, so the socket is for its owner only (mode 0600).

mod client;
mod server;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use client::{Client, LogLines};
pub use server::Server;
pub use socket::{candidates, runtime_dir};

use crate::dyno::{DynoInfo, Dynos};
use crate::error::{Error, Result};
use crate::logs::{LogFilter, LogHub};
use crate::name::DynoName;
use crate::router::Maintenance;
use crate::run::{RunComparison, RunOptions, Tally, run};

/// Which lines of the log are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsOrder {
    /// Which lines.
    pub filter: LogFilter,
    /// Whether to go on with new lines after the history.
    pub follow: bool,
}

/// A one-off command for several dynos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunOrder {
    /// In whose environments.
    pub dynos: Vec<DynoName>,
    /// The shell's command line.
    pub command: String,
    /// It is killed after this time.
    pub timeout: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleOrder {
    changes: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Scaled {
    formation: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartOrder {
    target: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MaintenanceMode {
    on: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    error: String,
}

/// What the control socket controls.
pub trait Controlled: Send + Sync + 'static {
    /// What else a client may want to know: addresses, folders.
    fn info(&self) -> serde_json::Value;

    /// All dynos.
    fn ps(&self) -> Vec<DynoInfo>;

    /// The log.
    fn hub(&self) -> &LogHub;

    /// The router's maintenance mode; nothing if there is no router.
    fn maintenance(&self) -> Option<&Maintenance>;

    /// Changes the formation; says the new one.
    fn scale(&self, changes: String) -> impl Future<Output = Result<String>> + Send;

    /// Restarts a dyno (`web.1`), a type (`web`) or all (empty); says which.
    fn restart(&self, target: String) -> impl Future<Output = Result<Vec<DynoName>>> + Send;

    /// Runs a command in several dynos. Dropping the future ends it.
    fn run(&self, order: RunOrder) -> impl Future<Output = Result<RunComparison>> + Send;
}

/// Dynos with their log: what `surgetank up` controls.
pub struct Staging {
    /// The dynos.
    pub dynos: Arc<Dynos>,
    /// Their log.
    pub hub: LogHub,
    /// Counts database requests for `run`.
    pub tally: Option<Tally>,
    /// The router's maintenance mode.
    pub maintenance: Option<Maintenance>,
    /// What [`Controlled::info`] says.
    pub info: serde_json::Value,
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let staging = &mut f.debug_struct("Staging");
        staging.field("dynos", &self.dynos).field("info", &self.info).finish_non_exhaustive()
    }
}

impl Controlled for Staging {
    fn info(&self) -> serde_json::Value {
        self.info.clone()
    }

    fn ps(&self) -> Vec<DynoInfo> {
        self.dynos.ps()
    }

    fn hub(&self) -> &LogHub {
        &self.hub
    }

    fn maintenance(&self) -> Option<&Maintenance> {
        self.maintenance.as_ref()
    }

    async fn scale(&self, changes: String) -> Result<String> {
        Ok(self.dynos.scale(&changes).await?.to_string())
    }

    async fn restart(&self, target: String) -> Result<Vec<DynoName>> {
        let fits = |dyno: &DynoName| {
            target.is_empty() || dyno.process_type() == target || dyno.to_string() == target
        };
        let all: Vec<DynoName> = self.dynos.ps().into_iter().map(|dyno| dyno.name).collect();
        let names: Vec<DynoName> = all.iter().filter(|name| fits(name)).cloned().collect();
        if names.is_empty() {
            let known: Vec<_> = all.iter().map(ToString::to_string).collect();
            return Err(Error::UnknownDyno { name: target, known: known.join(", ") });
        }
        // One after the other, so that of several web dynos most can always serve.
        for name in &names {
            self.dynos.restart(name).await?;
        }
        Ok(names)
    }

    async fn run(&self, order: RunOrder) -> Result<RunComparison> {
        let tally = self.tally.clone();
        let options = RunOptions { timeout: order.timeout, tally, ..RunOptions::default() };
        let results = run(&self.dynos, &order.dynos, &order.command, &options).await?;
        Ok(RunComparison::of(&order.command, results))
    }
}
