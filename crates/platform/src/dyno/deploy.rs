//! What dynos are made of, and the change to something else: a release goes live.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;
use trace::Event;

use super::life::Order;
use super::{Dynos, Member, Shared, shell};
use crate::error::Result;
use crate::formation::Formation;
use crate::name::DynoName;
use crate::procfile::Procfile;
use crate::tracer::Tracer;

/// What the processes of an app are made of. Read at every start of a process, so that one that
/// crashes comes back as what is current by then.
#[derive(Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The number of its release, counted from 1; 0 where there are no releases.
    pub release: u64,
    /// The process types and their commands.
    pub procfile: Procfile,
    /// The config vars, the same for all dynos.
    pub config_vars: Vec<(String, String)>,
}

impl fmt::Debug for Deployed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Config vars hold secrets.
        f.debug_struct("Deployed").field("release", &self.release).finish_non_exhaustive()
    }
}

impl Deployed {
    /// That it is live is recorded, with the names of its config vars.
    pub(super) fn record(&self, tracer: &Tracer) {
        let (at, version) = (tracer.now(), self.release);
        let config = self.config_vars.iter().map(|(name, _)| name.as_str().into()).collect();
        tracer.record(Event::ReleaseDeployed { at, version, config });
    }

    /// The command of a dyno's type; empty if the Procfile does not have it (any more).
    pub(crate) fn command(&self, name: &DynoName) -> &str {
        self.procfile.command(name.process_type()).unwrap_or("")
    }
}

impl Dynos {
    /// What is live.
    #[must_use]
    pub fn deployed(&self) -> Arc<Deployed> {
        self.shared.deployed()
    }

    /// Makes this what dynos are made of, and restarts all of them, as Heroku does it: all at the
    /// same time. Types that the new Procfile does not have end for good; those that are new in it
    /// have no dynos yet. Returns when every dyno has its order, before they are up again.
    ///
    /// # Errors
    /// The platform is shutting down.
    pub async fn deploy(&self, deployed: Deployed) -> Result<()> {
        let mut crew = self.crew.lock().await;
        self.open()?;
        crew.formation = crew.formation.adapted_to(&deployed.procfile);
        *self.shared.sized.write() = crew.formation.clone();
        deployed.record(&self.shared.tracer);
        *self.shared.deployed.write() = Arc::new(deployed);
        let wanted = crew.formation.dynos();
        crew.dismiss_all_but(&wanted);
        crew.members.values().for_each(|member| self.restart_later(member));
        Ok(())
    }

    /// Nobody waits for it: the supervisor does it when it is free to.
    pub(super) fn restart_later(&self, member: &Member) {
        let (member, (done, _)) = (member.clone(), oneshot::channel());
        self.tasks.spawn(async move { member.orders.send(Order::Restart(done)).await });
    }
}

impl Shared {
    pub(super) fn deployed(&self) -> Arc<Deployed> {
        Arc::clone(&self.deployed.read())
    }

    /// Weakest first: inherited, config vars, the platform's own, the caller's.
    pub(super) fn environment(
        &self,
        deployed: &Deployed,
        name: &DynoName,
        port: Option<u16>,
    ) -> Vec<(String, String)> {
        let mut environment: BTreeMap<String, String> = shell::inherited().into_iter().collect();
        environment.extend(deployed.config_vars.iter().cloned());
        environment.insert("DYNO".to_owned(), name.to_string());
        environment.extend(port.map(|port| ("PORT".to_owned(), port.to_string())));
        environment.extend((self.options.env_for)(name));
        environment.into_iter().collect()
    }
}

impl Formation {
    /// The same quantities for the process types of another Procfile; what is new in it has none.
    fn adapted_to(&self, procfile: &Procfile) -> Self {
        Self::of(procfile, |process_type| self.quantity(process_type)).with_sizes_of(self)
    }
}
