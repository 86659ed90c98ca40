//! A sink that keeps what it is told, and an observer that tells it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use observe::{ObserveConfig, Observer};
use tokio::time::Instant;
use trace::{Clock, Event, Sink};

/// Keeps all events.
#[derive(Debug, Default)]
pub(crate) struct Collected(Mutex<Vec<Event>>);

impl Sink for Collected {
    fn record(&self, event: Event) -> bool {
        self.0.lock().expect("no test panics while it holds this").push(event);
        true
    }
}

impl Collected {
    /// What `pick` makes of the events so far.
    pub(crate) fn all<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        let events = self.0.lock().expect("no test panics while it holds this");
        events.iter().filter_map(pick).collect()
    }

    pub(crate) fn has(&self, is: impl Fn(&Event) -> bool) -> bool {
        !self.all(|event| is(event).then_some(())).is_empty()
    }
}

/// Starts an observer of the database behind `url`.
pub(crate) async fn observe(url: &str, create_extension: bool) -> (Observer, Arc<Collected>) {
    let collected = Arc::new(Collected::default());
    let postgres = url.parse().expect("testkit makes good URLs");
    let config = ObserveConfig { create_extension, ..ObserveConfig::new(postgres) };
    let sink: Arc<dyn Sink> = Arc::clone(&collected) as _;
    let observer =
        Observer::start(config, Clock::start(), sink).await.expect("PostgreSQL lets us in");
    (observer, collected)
}

/// Returns when `condition`, which may ask the database, holds.
///
/// # Panics
/// If it does not within two minutes: the test hangs.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
