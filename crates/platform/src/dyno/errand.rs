//! Processes beside the formation: a one-off dyno has its place on the board, the environment of
//! the app, and a process; who waits for it and what it is told is its owner's business.

use std::sync::Arc;

use tokio::time::Instant;
use trace::{DynoState, Event};

use super::fleet::{Phase, Start};
use super::reach::Reach;
use super::spawner::{Contained, Ends, Launch, NotStarted, Process};
use super::{ChildChange, Deployed, Dynos, Shared};
use crate::container::Container;
use crate::error::Result;
use crate::logs::DynoOutput;
use crate::name::DynoName;

/// A dyno that is on the board and has no process yet. Dropping it takes it off the board.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) name: DynoName,
    command: String,
    environment: Vec<(String, String)>,
    shared: Arc<Shared>,
}

/// Its process. Dropping it kills what is left of it.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) process: Process,
    pub(crate) launched: Instant,
    pid: i32,
    container: Option<Arc<Container>>,
    errand: Errand,
}

impl Dynos {
    /// Puts a one-off dyno on the board, as `starting`. `extra` goes before the config vars.
    ///
    /// # Errors
    /// The platform is shutting down.
    pub(crate) fn errand(
        &self,
        name: DynoName,
        command: &str,
        deployed: &Deployed,
        extra: &[(String, String)],
    ) -> Result<Errand> {
        self.open()?;
        let shared = Arc::clone(&self.shared);
        let mut deployed = deployed.clone();
        deployed.config_vars.extend_from_slice(extra);
        let environment = shared.environment(&deployed, &name, None);
        let command = command.to_owned();
        let start = Start {
            port: None,
            command: command.clone(),
            release: deployed.release,
            size: shared.size(&name),
            environment: environment.clone(),
            reach: Reach::Shared,
        };
        shared.fleet.starting(&name, start);
        Ok(Errand { name, command, environment, shared })
    }
}

impl Errand {
    /// Starts the process.
    ///
    /// # Errors
    /// The system refuses, or the platform is shutting down.
    pub(crate) async fn launch(self, ends: Ends) -> Result<Launched> {
        let failed = |why: NotStarted| why.of(&self.name, &self.command);
        let container = self.shared.container(&self.name).await;
        let container = container.map_err(|source| failed(NotStarted::Refused(source)))?;
        let launch = Launch {
            command: self.command.clone(),
            dir: self.shared.options.app_dir.clone(),
            env: self.environment.clone(),
            ends,
            contained: container.clone().map(Contained::First),
        };
        let process = self.shared.spawner.spawn(launch).await.map_err(failed)?;
        let pid = process.group.id();
        (self.shared.options.child_pid)(&self.name, ChildChange::Started(pid));
        self.shared.fleet.started(&self.name, pid, container.as_ref());
        self.shared.fleet.set(&self.name, Phase::Up);
        self.record(DynoState::Up);
        Ok(Launched { process, launched: Instant::now(), pid, container, errand: self })
    }

    /// Its command.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Takes what it writes to the log.
    pub(crate) fn output(&self) -> DynoOutput {
        DynoOutput::new(self.shared.hub.clone(), &self.name, self.shared.tracer.clone())
    }

    fn record(&self, state: DynoState) {
        let tracer = &self.shared.tracer;
        let dyno = tracer.dyno(&self.name.to_string());
        tracer.record(Event::DynoStateChanged { at: tracer.now(), dyno, state });
    }
}

impl Launched {
    pub(crate) fn errand(&self) -> &Errand {
        &self.errand
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.errand.record(DynoState::Down);
        (self.errand.shared.options.child_pid)(&self.errand.name, ChildChange::Ended(self.pid));
        if let Some(container) = self.container.take() {
            // It waits for the kernel; if there is no thread to be had, it is done here.
            let remove = std::thread::Builder::new().name("dyno-remove".to_owned());
            let _removing = remove.spawn(move || drop(container));
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.shared.fleet.remove(&self.name);
    }
}
