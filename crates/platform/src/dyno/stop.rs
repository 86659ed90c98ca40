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
            let seconds = timing.exit_timeout.as_secs();
            self.say(&format!(
                "Error R12 (Exit timeout) -> At least one process failed to exit within \
                 {seconds} seconds of SIGTERM"
            ));
            self.say("Stopping remaining processes with SIGKILL");
            running.process.group.signal(Signal::SIGKILL);
        }
        self.ended(running).await;
    }
}

async fn all_gone(group: &Group) {
    while group.is_alive() {
        sleep(LOOK).await;
    }
}
