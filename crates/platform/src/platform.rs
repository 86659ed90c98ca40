//! All that an app has while it runs: dynos, log, one-off dynos, releases.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trace::Clock;

use crate::drains::{DrainOptions, Drains};
use crate::dyno::Dynos;
use crate::error::Result;
use crate::logs::LogHub;
use crate::one_off::{OneOffTiming, OneOffs};
use crate::private::Kept;
use crate::release::{App, Releases};

/// What drains have not sent by then is lost.
const DRAINS_GRACE: Duration = Duration::from_secs(2);

/// What the control socket and the Platform API work on.
pub struct Platform {
    /// The dynos of the formation.
    pub dynos: Arc<Dynos>,
    /// The log.
    pub hub: LogHub,
    /// The one-off dynos.
    pub one_offs: Arc<OneOffs>,
    /// The releases.
    pub releases: Arc<Releases>,
    /// Where the log is sent on to.
    pub drains: Drains,
    /// What the app keeps from one run to the next.
    pub(crate) kept: Arc<Kept>,
}

impl Platform {
    /// Opens what the app keeps in its folder. Nothing of it is live before
    /// [`Releases::start`].
    ///
    /// # Errors
    /// Its files cannot be read or written, or another run has them.
    pub fn open(
        app: App,
        dynos: Arc<Dynos>,
        hub: LogHub,
        clock: Clock,
        timing: OneOffTiming,
        drains: DrainOptions,
    ) -> Result<Self> {
        let kept = Arc::new(Kept::open(&app.dir)?);
        let drains = Drains::open(Arc::clone(&kept), hub.clone(), drains)?;
        let one_offs = Arc::new(OneOffs::new(Arc::clone(&dynos), hub.clone(), timing));
        let releases =
            Releases::open(app, Arc::clone(&kept), Arc::clone(&one_offs), hub.clone(), clock)?;
        let releases = Arc::new(releases);
        Ok(Self { dynos, hub, one_offs, releases, drains, kept })
    }

    /// Ends one-off dynos and changes that are under way, then the dynos; closes the log, and
    /// gives drains a moment for what they still have.
    pub async fn shutdown(&self) {
        self.one_offs.shutdown().await;
        self.releases.shutdown().await;
        self.dynos.shutdown().await;
        self.hub.close();
        self.drains.shutdown(DRAINS_GRACE).await;
    }
}

/// What an app is called: as its folder, in the letters that names of apps have on Heroku.
#[must_use]
pub fn app_name(app_dir: &Path) -> String {
    let folder = app_dir.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = folder.unwrap_or_default().chars().map(letter).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("dynos", &self.dynos).finish_non_exhaustive()
    }
}
