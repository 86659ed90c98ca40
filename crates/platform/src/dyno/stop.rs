//! The end of a dyno that was asked for: drain, SIGTERM, patience, SIGKILL.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use super::group::Group;
use super::life::{Life, Running};

/// How often a group without its leader is looked at; it tells nobody when it ends.
const LOOK: Duration = Duration::from_millis(20);

impl Life {
    /// Ends a process and its whole group. The dyno must already be in a phase in which the router
    /// gives it nothing new.
    pub(super) async fn stop(&mut self, mut running: Running) {
        let timing = self.shared.options.timing.clone();
        tokio::select! {
            // After the drain time SIGTERM comes all the same, and the app may still finish.
            _ = timeout(timing.drain, running.busy.idle()) => {}
            _ = running.process.child.wait() => {}
        }
        self.say("Stopping all processes with SIGTERM");
        running.process.group.signal(Signal::SIGTERM);
        let process = &mut running.process;
        let gone = async {
            // The status stays with the child and is told later.
            let _status = process.child.wait().await;
            all_gone(&process.group).await;
        };
        if timeout(timing.exit_timeout, gone).await.is_err() {
            too_late(timing.exit_timeout).iter().for_each(|line| self.say(line));
            running.process.group.signal(Signal::SIGKILL);
        }
        self.ended(running).await;
    }
}

/// What is said of a dyno whose processes did not end in time, before they are killed.
pub(crate) fn too_late(limit: Duration) -> [String; 2] {
    let seconds = limit.as_secs();
    let error = format!(
        "Error R12 (Exit timeout) -> At least one process failed to exit within {seconds} seconds \
         of SIGTERM"
    );
    [error, "Stopping remaining processes with SIGKILL".to_owned()]
}

async fn all_gone(group: &Group) {
    while group.is_alive() {
        sleep(LOOK).await;
    }
}
