//! Where a web dyno has to listen, and when it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::port::{Port, Ports};
use super::reach::Reach;
use crate::container::{Network, OWN_PORT};

/// Readiness is asked for this often at first …
const PROBE_FIRST: Duration = Duration::from_millis(5);
/// … and this often at last.
const PROBE_LAST: Duration = Duration::from_millis(100);

/// A port, and the way to it.
#[derive(Debug)]
pub(super) struct Door {
    number: u16,
    reach: Reach,
    /// Kept for it, where dynos share a network.
    _port: Option<Port>,
}

impl Ports {
    /// The door of a dyno: in a network of its own nobody else is there, so all dynos may listen on
    /// the same port. `None` if the system has no port left.
    pub(super) fn door(&self, network: Option<&Arc<Network>>) -> Option<Door> {
        if let Some(network) = network {
            let reach = Reach::Own(Arc::clone(network));
            return Some(Door { number: OWN_PORT, reach, _port: None });
        }
        let port = self.take()?;
        Some(Door { number: port.number(), reach: Reach::Shared, _port: Some(port) })
    }
}

impl Door {
    /// `$PORT`.
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// How it is reached.
    pub(super) fn way(&self) -> (Reach, u16) {
        (self.reach.clone(), self.number)
    }

    /// Returns when somebody accepts connections there. Asking is the only way to know.
    pub(super) async fn opened(way: Option<(Reach, u16)>) {
        let Some((reach, port)) = way else { return };
        let mut wait = PROBE_FIRST;
        while reach.connect(port).await.is_err() {
            sleep(wait).await;
            wait = (wait * 2).min(PROBE_LAST);
        }
    }
}
