//! Releases: every change of an app's config vars and every deploy makes one; a rollback makes a
//! new one too.
//!
//! ```text
//!   config:set ─┐
//!   release ────┼─▶ pending ─▶ `release` process ─▶ live: written, told, all dynos restarted
//!   rollback ───┘                     └─ fails ─▶ failed: what was live stays live
//! ```
//!
//! The code is the app's folder as it is: a release holds the Procfile and the config vars, and
//! names the commit (or the Procfile's hash where there is none). All of it is kept in
//! `.surgetank/releases.json`, for its owner only: config vars hold secrets.

mod change;
mod config_vars;
mod ledger;
mod slug;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use trace::{Clock, Micros};

pub use config_vars::{ConfigChanges, ConfigVars};
use ledger::Ledger;

use crate::dyno::Dynos;
use crate::error::{Error, Result};
use crate::logs::LogHub;
use crate::one_off::OneOffs;
use crate::private::Kept;

/// A `release` process may take so long (Dev Center, "Release phase").
const RELEASE_LIMIT: Duration = Duration::from_secs(3600);

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseStatus {
    /// Its `release` process runs.
    Pending,
    /// It is live, or was.
    Succeeded,
    /// Its `release` process failed; it was never live.
    Failed,
}

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Counted from 1: `v1`.
    pub version: u64,
    /// A UUID.
    pub id: String,
    /// What was done: `Set FOO config vars`.
    pub description: String,
    /// Who did it.
    pub user: String,
    /// When, in microseconds since the Unix epoch.
    pub created_at: u64,
    /// Where it stands.
    pub status: ReleaseStatus,
    /// What the code was: the first digits of its commit. Nothing before the first deploy.
    pub slug: Option<String>,
    /// Its Procfile, as text.
    pub procfile: Option<String>,
    /// Its config vars.
    pub config_vars: ConfigVars,
}

impl Release {
    fn is_good(&self) -> bool {
        self.status == ReleaseStatus::Succeeded
    }

    /// Whether one can roll back to it: it was live, with code.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.is_good() && self.slug.is_some()
    }
}

/// What is told of a release without its config vars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Counted from 1: `v1`.
    pub version: u64,
    /// What was done: `Set FOO config vars`.
    pub description: String,
    /// Who did it.
    pub user: String,
    /// When, in microseconds since the Unix epoch.
    pub created_at: u64,
    /// Where it stands.
    pub status: ReleaseStatus,
    /// Whether it is the one that is live.
    pub current: bool,
}

/// The app whose releases these are.
#[derive(Debug)]
pub struct App {
    /// Its folder.
    pub dir: PathBuf,
    /// Who works on it, as the log names it.
    pub user: String,
    /// What the platform attaches to it (`DATABASE_URL`): in `config`, not in a release.
    pub attached: ConfigVars,
}

/// The releases of an app that runs.
#[derive(Debug)]
pub struct Releases {
    app: App,
    kept: Arc<Kept>,
    dynos: Arc<Dynos>,
    one_offs: Arc<OneOffs>,
    hub: LogHub,
    clock: Clock,
    ledger: Mutex<Ledger>,
    /// One change after the other.
    turn: tokio::sync::Mutex<()>,
    /// Changes go on when whoever asked has gone.
    tasks: TaskTracker,
}

impl Releases {
    /// Reads those that the app has. Nothing is live by that.
    ///
    /// # Errors
    /// The file cannot be read, or cannot be written.
    pub(crate) fn open(
        app: App,
        kept: Arc<Kept>,
        one_offs: Arc<OneOffs>,
        hub: LogHub,
        clock: Clock,
    ) -> Result<Self> {
        let mut ledger = Ledger::read(&kept)?;
        // What was pending when we were killed has never been live.
        let pending = |release: &&Release| release.status == ReleaseStatus::Pending;
        if let Some(interrupted) = ledger.all().iter().rfind(pending).cloned() {
            ledger.put(&kept, Release { status: ReleaseStatus::Failed, ..interrupted })?;
        }
        Ok(Self {
            app,
            kept,
            dynos: Arc::clone(one_offs.dynos()),
            one_offs,
            hub,
            clock,
            ledger: Mutex::new(ledger),
            turn: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Config vars as an app sees them: those of the current release and what is attached.
    #[must_use]
    pub fn config_vars(&self) -> ConfigVars {
        let ledger = self.ledger.lock();
        let own = ledger.current().map(|release| release.config_vars.clone()).unwrap_or_default();
        self.with_attached(own)
    }

    fn with_attached(&self, own: ConfigVars) -> ConfigVars {
        let attached = self.app.attached.iter();
        attached.fold(own, |vars, (name, value)| vars.with(name, value))
    }

    /// All releases, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Release> {
        self.ledger.lock().all().iter().rev().cloned().collect()
    }

    /// All releases without their config vars, newest first.
    #[must_use]
    pub fn infos(&self) -> Vec<ReleaseInfo> {
        let ledger = self.ledger.lock();
        let current = ledger.current_version();
        let info = |release: &Release| ReleaseInfo {
            version: release.version,
            description: release.description.clone(),
            user: release.user.clone(),
            created_at: release.created_at,
            status: release.status,
            current: current == Some(release.version),
        };
        ledger.all().iter().rev().map(info).collect()
    }

    /// The release that is live, if there was one.
    #[must_use]
    pub fn current(&self) -> Option<Release> {
        self.ledger.lock().current().cloned()
    }

    /// The number of the release that is live, if there was one.
    #[must_use]
    pub fn current_version(&self) -> Option<u64> {
        self.ledger.lock().current_version()
    }

    /// The id of the release of this number, if there is one.
    #[must_use]
    pub fn id(&self, version: u64) -> Option<String> {
        self.ledger.lock().find(version).ok().map(|release| release.id.clone())
    }

    /// The number of the release of this id, if there is one.
    #[must_use]
    pub fn version(&self, id: &str) -> Option<u64> {
        let ledger = self.ledger.lock();
        ledger.all().iter().find(|release| release.id == id).map(|release| release.version)
    }

    /// When the oldest and the newest release were made, in microseconds since the Unix epoch.
    #[must_use]
    pub fn span(&self) -> Option<(u64, u64)> {
        let ledger = self.ledger.lock();
        Some((ledger.all().first()?.created_at, ledger.all().last()?.created_at))
    }

    /// One release, with what is attached in its config vars.
    ///
    /// # Errors
    /// There is no such one.
    pub fn release(&self, version: u64) -> Result<Release> {
        let release = self.ledger.lock().find(version)?.clone();
        let config_vars = self.with_attached(release.config_vars.clone());
        Ok(Release { config_vars, ..release })
    }

    /// The app.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Waits for changes that are under way.
    pub async fn shutdown(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn say(&self, text: &str) {
        self.hub.write(crate::logs::Source::App, "api", text);
    }

    fn now(&self) -> Micros {
        self.clock.now()
    }
}

/// Who works on this machine, as the log names users: `ann@laptop`.
#[must_use]
pub fn local_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten();
    let user = user.map_or_else(|| "user".to_owned(), |user| user.name);
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    format!("{user}@{}", host.as_deref().unwrap_or("localhost"))
}

/// What has ended without an answer: its task was dropped.
fn dropped<T>(_: T) -> Error {
    Error::ShuttingDown
}
