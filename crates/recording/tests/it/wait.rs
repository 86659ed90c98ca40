//! Waiting for a condition instead of for a time.

use std::time::Duration;

use trace::{Clock, Micros};

/// Returns when `condition` holds.
///
/// # Panics
/// If it does not within two minutes: the test hangs.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::start();
    let start = clock.now();
    while !condition() {
        assert!(clock.now().since(start) < Micros::from_secs(120), "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
