//! How a release comes to be.

use std::sync::Arc;

use super::{
    ConfigChanges, ConfigVars, RELEASE_LIMIT, Release, ReleaseStatus, Releases, config_vars,
    dropped, slug,
};
use crate::dyno::Deployed;
use crate::error::{Error, Result};
use crate::procfile::Procfile;
use crate::run::RunOutcome;

/// What will be new.
struct Draft {
    description: String,
    slug: Option<String>,
    procfile: Option<String>,
    config_vars: ConfigVars,
}

impl Releases {
    /// `config:set` and `config:unset`: a release with other config vars. `None` if they are as
    /// wanted already.
    ///
    /// # Errors
    /// A name or value is wrong or belongs to what is attached; the `release` process failed; the
    /// file cannot be written; the platform is shutting down.
    pub async fn set_config(self: &Arc<Self>, changes: ConfigChanges) -> Result<Option<Release>> {
        self.in_turn(async move |releases| {
            let Some(draft) = releases.changed_config(&changes)? else { return Ok(None) };
            releases.make(draft).await.map(Some)
        })
        .await
    }

    /// `rollback`: a new release as an older one was, the one before the current one if none is
    /// named. The app's folder stays as it is.
    ///
    /// # Errors
    /// There is no such release, or it was never live with code; otherwise as
    /// [`Releases::set_config`].
    pub async fn rollback(self: &Arc<Self>, version: Option<u64>) -> Result<Release> {
        self.in_turn(async move |releases| {
            let target = {
                let ledger = releases.ledger.lock();
                match version {
                    Some(version) => ledger.find(version)?.clone(),
                    None => ledger.previous()?.clone(),
                }
            };
            if !target.is_eligible() {
                return Err(Error::NotEligible { version: target.version });
            }
            let draft = Draft {
                description: format!("Rollback to v{}", target.version),
                slug: target.slug,
                procfile: target.procfile,
                config_vars: target.config_vars,
            };
            releases.make(draft).await
        })
        .await
    }

    /// A release of the app's folder as it is now: its Procfile is read again.
    ///
    /// # Errors
    /// The Procfile is wrong; otherwise as [`Releases::set_config`].
    pub async fn deploy(self: &Arc<Self>) -> Result<Release> {
        self.in_turn(async |releases| releases.deploy_now().await).await
    }

    /// As [`Releases::deploy`], when the app starts: config vars given with the start are set
    /// before, and the first release of all is there.
    ///
    /// # Errors
    /// As [`Releases::set_config`] and [`Releases::deploy`].
    pub async fn start(self: &Arc<Self>, changes: ConfigChanges) -> Result<Release> {
        self.in_turn(async move |releases| {
            if releases.current().is_none() {
                let draft = Draft {
                    description: "Initial release".to_owned(),
                    slug: None,
                    procfile: None,
                    config_vars: ConfigVars::default(),
                };
                releases.make(draft).await?;
            }
            // There is nothing yet that could be restarted, and the deploy runs the `release`
            // process.
            if let Some(draft) = releases.changed_config(&changes)? {
                let pending = releases.write_pending(draft)?;
                releases.succeed(pending)?;
            }
            releases.deploy_now().await
        })
        .await
    }

    async fn deploy_now(&self) -> Result<Release> {
        let procfile = Procfile::read(&self.app.dir)?.to_string();
        let slug = slug::slug(&self.app.dir, &procfile).await;
        let current = self.current().map(|release| release.config_vars).unwrap_or_default();
        let draft = Draft {
            description: format!("Deploy {slug}"),
            slug: Some(slug),
            procfile: Some(procfile),
            config_vars: current,
        };
        self.make(draft).await
    }

    fn changed_config(&self, changes: &ConfigChanges) -> Result<Option<Draft>> {
        let attached = |name: &&String| self.app.attached.get(name).is_some();
        if let Some(name) = changes.keys().find(attached) {
            // Heroku's own sentence.
            return Err(Error::ConfigVar(format!("Cannot overwrite attachment values {name}.")));
        }
        let current = self.current();
        let before = current.as_ref().map(|now| now.config_vars.clone()).unwrap_or_default();
        let config_vars = before.changed_by(changes)?;
        if config_vars == before {
            return Ok(None);
        }
        let (slug, procfile) = current.map(|now| (now.slug, now.procfile)).unwrap_or_default();
        let description = config_vars::description(changes);
        Ok(Some(Draft { description, slug, procfile, config_vars }))
    }

    /// Runs a change in a task of its own, after those before it.
    async fn in_turn<T: Send + 'static, F: Future<Output = Result<T>> + Send>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T> {
        if self.tasks.is_closed() {
            return Err(Error::ShuttingDown);
        }
        let this = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let releases = Arc::clone(&this);
            let _turn = this.turn.lock().await;
            change(releases).await
        });
        task.await.map_err(dropped)?
    }

    /// Makes a release and brings it live.
    async fn make(&self, draft: Draft) -> Result<Release> {
        let pending = self.write_pending(draft)?;
        let Some(deployed) = deployed(&pending)? else { return self.succeed(pending) };
        if let Some(command) = deployed.procfile.command("release") {
            let user = &self.app.user;
            self.say(&format!("Running release v{} commands by user {user}", pending.version));
            let ended = self.one_offs.release(command, &deployed, RELEASE_LIMIT).await;
            match ended {
                Ok(RunOutcome::Exited(0)) => {}
                Ok(outcome) => return Err(self.fail(pending, &format!("it ended with {outcome}"))),
                Err(error) => return Err(self.fail(pending, &error.to_string())),
            }
        }
        let release = self.succeed(pending)?;
        self.dynos.deploy(deployed).await?;
        Ok(release)
    }

    fn write_pending(&self, draft: Draft) -> Result<Release> {
        let mut ledger = self.ledger.lock();
        let release = Release {
            version: ledger.next_version(),
            id: crate::random::uuid().map_err(Error::Random)?,
            description: draft.description,
            user: self.app.user.clone(),
            created_at: self.now().0,
            status: ReleaseStatus::Pending,
            slug: draft.slug,
            procfile: draft.procfile,
            config_vars: draft.config_vars,
        };
        ledger.put(&self.kept, release.clone())?;
        self.say(&format!("{} by user {}", release.description, release.user));
        Ok(release)
    }

    fn succeed(&self, pending: Release) -> Result<Release> {
        let release = Release { status: ReleaseStatus::Succeeded, ..pending };
        self.ledger.lock().put(&self.kept, release.clone())?;
        self.say(&format!("Release v{} created by user {}", release.version, release.user));
        Ok(release)
    }

    fn fail(&self, pending: Release, why: &str) -> Error {
        let version = pending.version;
        self.say(&format!("Release v{version} failed: its release command did not succeed"));
        let failed = Release { status: ReleaseStatus::Failed, ..pending };
        match self.ledger.lock().put(&self.kept, failed) {
            Ok(()) => Error::ReleaseFailed { version, why: why.to_owned() },
            Err(error) => error,
        }
    }
}

/// What dynos would be made of; nothing before there is code.
fn deployed(release: &Release) -> Result<Option<Deployed>> {
    let Some(procfile) = &release.procfile else { return Ok(None) };
    Ok(Some(Deployed {
        release: release.version,
        procfile: Procfile::parse(procfile)?,
        config_vars: release.config_vars.to_environment(),
    }))
}
