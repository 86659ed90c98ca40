//! How dynos are run, as whoever starts them wants it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::container::ContainerOptions;
use crate::name::DynoName;

/// What a dyno's environment has besides the common part (`DATABASE_URL`, `PATH`); asked at each
/// start, and stronger than everything else.
pub type EnvFor = Arc<dyn Fn(&DynoName) -> Vec<(String, String)> + Send + Sync>;

/// Is told of each process that starts or has ended, so that somebody can note down its id.
/// Called on the supervisor's task: it must be quick.
pub type ChildPid = Arc<dyn Fn(&DynoName, ChildChange) + Send + Sync>;

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildChange {
    /// It was started; the id is also that of its process group.
    Started(i32),
    /// It and all of its group have ended.
    Ended(i32),
}

/// How dynos are run.
#[derive(Clone)]
pub struct DynoOptions {
    /// The app's folder: the working directory of every dyno.
    pub app_dir: PathBuf,
    /// The app's config vars, the same for all dynos, until another
    /// [`Deployed`](super::Deployed) is live.
    pub config_vars: Vec<(String, String)>,
    /// What is different from dyno to dyno.
    pub env_for: EnvFor,
    /// Who wants to know process ids.
    pub child_pid: ChildPid,
    /// How dynos are kept apart.
    pub isolation: Isolation,
    /// How long things may take.
    pub timing: Timing,
}

/// How dynos are kept apart from each other and from the machine.
#[derive(Clone, Debug, Default)]
pub enum Isolation {
    /// Not at all: plain processes, each dyno in a process group of its own.
    #[default]
    Process,
    /// Each in a container.
    Container(Arc<ContainerOptions>),
}

impl DynoOptions {
    /// No config vars, nothing added, plain processes, Heroku's timing.
    #[must_use]
    pub fn new(app_dir: PathBuf) -> Self {
        Self {
            app_dir,
            config_vars: Vec::new(),
            env_for: Arc::new(|_| Vec::new()),
            child_pid: Arc::new(|_, _| ()),
            isolation: Isolation::default(),
            timing: Timing::default(),
        }
    }
}

impl fmt::Debug for DynoOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Config vars hold secrets.
        let options = &mut f.debug_struct("DynoOptions");
        options.field("app_dir", &self.app_dir).field("isolation", &self.isolation);
        options.field("timing", &self.timing);
        options.finish_non_exhaustive()
    }
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From launch until a web dyno accepts connections on `$PORT` (R10). Heroku: 60 s.
    pub boot_timeout: Duration,
    /// From SIGTERM until all processes of a dyno have ended (R12). Heroku: 30 s.
    pub exit_timeout: Duration,
    /// Before SIGTERM, at most so long for the router's requests in flight to be answered. Zero is
    /// Heroku's way, which leaves it to the app to finish them after SIGTERM.
    pub drain: Duration,
    /// The first wait after the restart that follows a crash at once.
    pub backoff_base: Duration,
    /// The longest wait between a crash and the next start.
    pub backoff_cap: Duration,
    /// Between two samples of what a contained dyno uses, and between two R14. Heroku: about 20 s.
    pub sample: Duration,
    /// A dyno that was up for so long has earned a restart at once when it crashes.
    pub stable_after: Duration,
    /// A dyno that has been up for so long is restarted. Heroku: 24 h …
    pub cycle_after: Duration,
    /// … and a random part of this. Heroku: 216 min.
    pub cycle_spread: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            boot_timeout: Duration::from_secs(60),
            exit_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(600),
            sample: Duration::from_secs(20),
            stable_after: Duration::from_secs(300),
            cycle_after: Duration::from_secs(24 * 3600),
            cycle_spread: Duration::from_secs(216 * 60),
        }
    }
}
