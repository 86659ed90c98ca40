//! What a running service is told to do, other than by the signals that end it: SIGHUP, and the
//! orders of admins.

use std::time::Duration;

use proxy::{Ending, Order, Proxy};
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::Service;
use crate::exit::one_line;

impl Service {
    /// Takes orders for ever.
    pub(super) async fn take_orders(
        &self,
        again: &mut Signal,
        proxy: &Proxy,
        reload: impl AsyncFn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (shutdown, ordered) = watch::channel(None);
        let take = async {
            let mut orders = proxy.orders();
            loop {
                tokio::select! {
                    // What came of it is told where it is done.
                    _ = again.recv() => drop(self.reload(&reload).await),
                    Some(order) = orders.recv() => match order {
                        Order::Shutdown(ending) => drop(shutdown.send_replace(Some(ending))),
                        Order::Reload(answer) => {
                            let done = self.reload(&reload).await;
                            // The admin may have left.
                            let _ = answer.send(done.map_err(|error| one_line(&error)));
                        }
                    },
                }
            }
        };
        tokio::select! {
            never = take => never,
            never = self.shut_down(ordered, proxy) => never,
        }
    }

    async fn reload(&self, reload: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
        if self.is_succeeded() {
            // Another process speaks for the service.
            return reload().await;
        }
        self.notifier.reloading("reading the configuration");
        let done = reload().await;
        self.notifier.ready(&self.status());
        done
    }

    /// Ends as an admin wants it, and lets nobody in from then on, as `PgBouncer` does; who asks
    /// again does not want to wait.
    async fn shut_down(
        &self,
        mut ordered: watch::Receiver<Option<Ending>>,
        proxy: &Proxy,
    ) -> anyhow::Result<()> {
        loop {
            // The sender lives as long as this.
            ordered.changed().await?;
            let ending = *ordered.borrow_and_update();
            proxy.unlisten_all()?;
            let waited = async {
                let control = proxy.control();
                match ending {
                    None | Some(Ending::Now) => {}
                    Some(Ending::WaitForServers) => control.drain().await,
                    Some(Ending::WaitForClients) => control.clients_left().await,
                }
            };
            tokio::select! {
                () = waited => {}
                _ = ordered.changed() => {}
            }
            self.end(Duration::ZERO, proxy)?;
        }
    }
}
