//! Log drains: the app's log, sent on to where somebody keeps it, in Logplex' framing.
//!
//! ```text
//!   LogHub ──▶ ring of 1024 lines (oldest lost, L10) ──▶ one task per drain ──▶ syslog://
//!                                                         retries, backs off    syslog+tls://
//!                                                                               https://
//! ```
//!
//! A drain that is slow or away holds nobody up: its ring loses the oldest lines, and the next
//! thing it is told is how many (L10). Drains are kept in `.surgetank/drains.json`, for the app's
//! owner only: URLs may hold credentials.

mod connect;
mod frame;
mod http;
mod syslog;
mod target;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::doubling::doubled;
use crate::error::{Error, Result};
use crate::logs::LogHub;
use crate::private::Kept;
use connect::Connector;
use target::{Target, Way};

const FILE: &str = "drains.json";
/// Most drains of an app, as on Heroku.
const DRAINS_MAX: usize = 5;

/// Where the log goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// A UUID.
    pub id: String,
    /// What the receiver knows the app by: `d.` and a UUID.
    pub token: String,
    /// `syslog://host:port`, `syslog+tls://host:port`, `https://host/path`.
    pub url: String,
}

impl Drain {
    fn is_named(&self, named: &str) -> bool {
        [&self.url, &self.token, &self.id].iter().any(|name| *name == named)
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold credentials.
        f.debug_struct("Drain").field("token", &self.token).finish_non_exhaustive()
    }
}

/// How drains are served.
#[derive(Clone, Debug)]
pub struct DrainOptions {
    /// A file with certificates to trust beside those of the system.
    pub authorities: Option<PathBuf>,
    /// The first wait after a failure; it doubles …
    pub backoff_base: Duration,
    /// … up to this.
    pub backoff_cap: Duration,
    /// A connection must be there within this.
    pub connect: Duration,
    /// An answer, or the taking of what is sent, must be there within this.
    pub answer: Duration,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            authorities: None,
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(5),
        }
    }
}

impl DrainOptions {
    /// How long to wait after so many failures in a row.
    fn backoff(&self, failures: u32) -> Duration {
        doubled(self.backoff_base, failures.saturating_sub(1), self.backoff_cap)
    }
}

/// The drains of an app.
#[derive(Debug)]
pub struct Drains {
    kept: Arc<Kept>,
    hub: LogHub,
    options: DrainOptions,
    running: Mutex<Vec<Running>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A drain that is served until this is dropped.
#[derive(Debug)]
struct Running {
    drain: Drain,
    _ends: DropGuard,
}

impl Drains {
    /// Those that the app has, from now on served. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub(crate) fn open(kept: Arc<Kept>, hub: LogHub, options: DrainOptions) -> Result<Self> {
        let known: Vec<Drain> = kept.read(FILE)?.unwrap_or_default();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let drains = Self { kept, hub, options, running: Mutex::default(), tasks, closing };
        for drain in known {
            let running = drains.serve(drain)?;
            drains.running.lock().push(running);
        }
        Ok(drains)
    }

    /// All of them, in the order in which they were added.
    #[must_use]
    pub fn list(&self) -> Vec<Drain> {
        self.running.lock().iter().map(|running| running.drain.clone()).collect()
    }

    /// Adds a drain.
    ///
    /// # Errors
    /// The URL cannot be used, is there already, or there are enough; the file cannot be written.
    pub fn add(&self, url: &str) -> Result<Drain> {
        let mut running = self.running.lock();
        if running.iter().any(|other| other.drain.url == url) {
            return Err(Error::Drain("Url has already been taken".to_owned()));
        }
        if running.len() >= DRAINS_MAX {
            return Err(Error::Drain(format!("at most {DRAINS_MAX} drains")));
        }
        let id = crate::random::uuid().map_err(Error::Random)?;
        let token = format!("d.{}", crate::random::uuid().map_err(Error::Random)?);
        let drain = Drain { id, token, url: url.to_owned() };
        let served = self.serve(drain.clone())?;
        let all = running.iter().map(|other| other.drain.clone()).chain([drain.clone()]);
        self.kept.write(FILE, &all.collect::<Vec<_>>())?;
        running.push(served);
        Ok(drain)
    }

    /// Removes a drain, named by its URL, token or id.
    ///
    /// # Errors
    /// There is no such one; the file cannot be written.
    pub fn remove(&self, named: &str) -> Result<Drain> {
        let mut running = self.running.lock();
        let at = running.iter().position(|running| running.drain.is_named(named));
        let at = at.ok_or(Error::UnknownDrain)?;
        let left = running.iter().map(|running| &running.drain);
        let left: Vec<&Drain> = left.filter(|drain| !drain.is_named(named)).collect();
        self.kept.write(FILE, &left)?;
        Ok(running.remove(at).drain)
    }

    /// A drain, named by its URL, token or id.
    ///
    /// # Errors
    /// There is no such one.
    pub fn find(&self, named: &str) -> Result<Drain> {
        let running = self.running.lock();
        let found = running.iter().find(|running| running.drain.is_named(named));
        found.map(|running| running.drain.clone()).ok_or(Error::UnknownDrain)
    }

    /// Sends what is left for a moment, then ends. Returns when all tasks have ended.
    pub async fn shutdown(&self, grace: Duration) {
        // The hub is closed by then, so that drains end after their last line.
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            self.closing.cancel();
            self.tasks.wait().await;
        }
    }

    fn serve(&self, drain: Drain) -> Result<Running> {
        let target = Target::parse(&drain.url).map_err(Error::Drain)?;
        let removed = self.closing.child_token();
        let connector = Connector::new(&target, &self.options, self.hub.clone())?;
        let (tail, options) = (self.hub.drain(), self.options.clone());
        let (token, ended) = (drain.token.clone(), removed.clone());
        self.tasks.spawn(async move {
            let sending = async {
                match target.way {
                    Way::Syslog => syslog::send(tail, connector, &token, &options).await,
                    Way::Http => http::send(tail, connector, &target, &token, &options).await,
                }
            };
            tokio::select! {
                () = sending => {}
                () = ended.cancelled() => {}
            }
        });
        Ok(Running { drain, _ends: removed.drop_guard() })
    }
}

impl Drop for Drains {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}
