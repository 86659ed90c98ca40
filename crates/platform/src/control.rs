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
//! | `GET /config` | – | the config vars |
//! | `POST /config` | `{"changes": {"FOO": "bar", "OLD": null}}` | `{"version": 4}`, or `null` |
//! | `GET /releases` | – | a list of [`ReleaseInfo`](crate::ReleaseInfo), newest first |
//! | `GET /releases/4` | – | a [`Release`](crate::Release) with its config vars |
//! | `POST /rollback` | `{"version": 2}`, or `null` | `{"version": 5}` |
//! | `POST /release` | – | `{"version": 6}`: the app's folder as it is now |
//! | `POST /detached` | [`OneOff`](crate::OneOff) | `{"dyno": "run.1234"}` |
//! | `GET /drains` | – | a list of [`Drain`](crate::Drain) |
//! | `POST /drains` | `{"url": "syslog://…"}` | the [`Drain`](crate::Drain) |
//! | `POST /drains/remove` | `{"url": …}`, or a token | the [`Drain`](crate::Drain) |
//! | `POST /attach` | [`OneOff`](crate::OneOff) | 101, then [frames](crate::one_off::frames) |
//!
//! An error is `{"error": "…"}` with a status of 400 or more. Whoever may open the socket may do
//! all of this, so the socket is for its owner only (mode 0600).

mod asks;
mod client;
mod orders;
mod server;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use asks::{Attached, Keyboard, Screen};
pub use client::{Client, LogLines};
pub use server::Server;
pub(crate) use server::{Reply, maintain};
pub use socket::{candidates, runtime_dir};

use crate::dyno::DynoInfo;
use crate::error::{Error, Result};
use crate::logs::{LogFilter, LogHub};
use crate::name::DynoName;
use crate::platform::Platform;
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

    /// All that the app has.
    fn platform(&self) -> &Platform;

    /// Changes the formation; says the new one.
    fn scale(&self, changes: String) -> impl Future<Output = Result<String>> + Send;

    /// Restarts a dyno (`web.1`), a type (`web`) or all (empty); says which.
    fn restart(&self, target: String) -> impl Future<Output = Result<Vec<DynoName>>> + Send;

    /// Runs a command in several dynos. Dropping the future ends it.
    fn run(&self, order: RunOrder) -> impl Future<Output = Result<RunComparison>> + Send;
}

/// An app with what is known of its surroundings: what `surgetank up` controls.
pub struct Staging {
    /// All that the app has.
    pub platform: Arc<Platform>,
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
        staging.field("platform", &self.platform).field("info", &self.info).finish_non_exhaustive()
    }
}

impl Controlled for Staging {
    fn info(&self) -> serde_json::Value {
        self.info.clone()
    }

    fn ps(&self) -> Vec<DynoInfo> {
        self.platform.dynos.ps_with_usage()
    }

    fn hub(&self) -> &LogHub {
        &self.platform.hub
    }

    fn platform(&self) -> &Platform {
        &self.platform
    }

    fn maintenance(&self) -> Option<&Maintenance> {
        self.maintenance.as_ref()
    }

    async fn scale(&self, changes: String) -> Result<String> {
        Ok(self.platform.dynos.scale(&changes).await?.to_string())
    }

    async fn restart(&self, target: String) -> Result<Vec<DynoName>> {
        let fits = |dyno: &DynoName| {
            target.is_empty() || dyno.process_type() == target || dyno.to_string() == target
        };
        let Platform { dynos, one_offs, .. } = &*self.platform;
        let all = dynos.ps().into_iter().map(|dyno| dyno.name);
        // A one-off dyno does not come back, so a restart leaves it alone.
        let all: Vec<DynoName> = all.filter(|name| !one_offs.has(name)).collect();
        let names: Vec<DynoName> = all.iter().filter(|name| fits(name)).cloned().collect();
        if names.is_empty() {
            let known: Vec<_> = all.iter().map(ToString::to_string).collect();
            return Err(Error::UnknownDyno { name: target, known: known.join(", ") });
        }
        // One after the other, so that of several web dynos most can always serve.
        for name in &names {
            dynos.restart(name).await?;
        }
        Ok(names)
    }

    async fn run(&self, order: RunOrder) -> Result<RunComparison> {
        let tally = self.tally.clone();
        let options = RunOptions { timeout: order.timeout, tally, ..RunOptions::default() };
        let results = run(&self.platform.dynos, &order.dynos, &order.command, &options).await?;
        Ok(RunComparison::of(&order.command, results))
    }
}
