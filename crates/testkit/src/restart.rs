//! Stopping a test's PostgreSQL and starting it again, at the same address.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use platform::postgres::RunFolder;
use tokio::process::Command;

use crate::TestPostgres;

/// How a server is stopped (manual, "Shutting Down the Server").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions are ended with a FATAL.
    Fast,
    /// All processes are ended at once; the next start recovers from the log.
    Immediate,
}

/// The switch of a server of one's own. Whoever switches the [shared](crate::postgres) one off
/// breaks the tests that run beside.
///
/// What it starts is stopped when it is dropped, before the cluster and its data go: keep it no
/// longer than the cluster.
#[derive(Debug)]
pub struct Switch {
    pg_ctl: PathBuf,
    pub(crate) data: PathBuf,
    sockets: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) port: u16,
    /// Whose processes its server's are to be known as.
    pub(crate) run_folder: Option<PathBuf>,
    /// The server's user and group.
    owner: (u32, u32),
    started: bool,
}

impl TestPostgres {
    /// The switch to stop and start it with.
    ///
    /// # Panics
    /// If its data are not where they were made.
    #[must_use]
    pub fn switch(&self) -> Switch {
        let cluster = self.cluster();
        let folder = cluster.log_path().parent().expect("the log lies in the cluster's folder");
        let data = folder.join("data");
        let owner = std::fs::metadata(&data).expect("a cluster has data");
        Switch {
            pg_ctl: cluster.bin("pg_ctl"),
            sockets: cluster.socket_dir().to_owned(),
            // Another one: the first belongs to who started the cluster.
            log: data.join("restarts.log"),
            port: cluster.port(),
            owner: (owner.uid(), owner.gid()),
            started: false,
            run_folder: None,
            data,
        }
    }
}

impl Switch {
    /// Stops the server and waits until it is gone.
    ///
    /// # Panics
    /// If it does not stop.
    pub async fn stop(&mut self, shutdown: Shutdown) {
        let mode = match shutdown {
            Shutdown::Fast => "fast",
            Shutdown::Immediate => "immediate",
        };
        self.run(&["stop", "-w", "-m", mode]).await;
        self.started = false;
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(&mut self) {
        self.try_start().await.unwrap_or_else(|said| panic!("{said}"));
    }

    pub(crate) async fn try_start(&mut self) -> Result<(), String> {
        let options = format!("-p {} -k {}", self.port, self.sockets.display());
        let log = self.log.display().to_string();
        self.try_run(&["start", "-w", "-l", &log, "-o", &options]).await?;
        self.started = true;
        Ok(())
    }

    pub(crate) async fn run(&self, arguments: &[&str]) {
        self.try_run(arguments).await.unwrap_or_else(|said| panic!("{said}"));
    }

    async fn try_run(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new(&self.pg_ctl);
        // A server that inherits our pipes keeps them open for as long as it lives.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.arg("-D").arg(&self.data).args(arguments).stdin(Stdio::null());
        // Many tests start one at the same time, on whatever machine.
        command.env("PGCTLTIMEOUT", "600");
        command.envs(self.run_folder.iter().map(|folder| (RunFolder::VARIABLE, folder)));
        self.become_owner(command.as_std_mut());
        let status = command.status().await.expect("pg_ctl runs");
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        match status.success() {
            true => Ok(()),
            false => Err(format!("pg_ctl {arguments:?}: {status}\n{log}")),
        }
    }

    /// PostgreSQL refuses to run as root.
    pub(crate) fn become_owner(&self, command: &mut std::process::Command) {
        use std::os::unix::process::CommandExt;
        command.uid(self.owner.0).gid(self.owner.1).current_dir(Path::new("/"));
    }

    fn end(&self) -> std::io::Result<Output> {
        let mut command = std::process::Command::new(&self.pg_ctl);
        command.arg("-D").arg(&self.data).args(["stop", "-w", "-m", "immediate"]);
        self.become_owner(&mut command);
        command.output()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if self.started {
            // If it is stopped already, so much the better.
            let _ = self.end();
        }
    }
}
