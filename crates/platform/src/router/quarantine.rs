//! Dynos that refused a connection are left alone for a moment: another one may do better, and the
//! refusing one is not hammered.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::name::DynoName;

/// Which dynos this router leaves alone, and until when.
///
/// The port is part of the key because it changes with each start: a restarted dyno is not blamed
/// for what its predecessor did.
#[derive(Debug)]
pub(super) struct Quarantine {
    span: Duration,
    until: Mutex<HashMap<(DynoName, u16), Instant>>,
}

impl Quarantine {
    pub(super) fn new(span: Duration) -> Self {
        Self { span, until: Mutex::default() }
    }

    pub(super) fn put(&self, name: DynoName, port: u16) {
        let now = Instant::now();
        let mut until = self.until.lock();
        until.retain(|_, end| *end > now);
        until.insert((name, port), now + self.span);
    }

    pub(super) fn holds(&self, name: &DynoName, port: u16) -> bool {
        let until = self.until.lock();
        until.get(&(name.clone(), port)).is_some_and(|end| *end > Instant::now())
    }

    /// When the next dyno is let out, if any is in.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let now = Instant::now();
        self.until.lock().values().filter(|end| **end > now).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dyno_is_let_out_in_time_and_its_successor_is_free() {
        let quarantine = Quarantine::new(Duration::from_millis(200));
        let name = DynoName::new("web", 1);
        quarantine.put(name.clone(), 20_001);
        assert!(quarantine.holds(&name, 20_001));
        assert!(!quarantine.holds(&name, 20_002));
        let end = quarantine.next_end().unwrap();
        tokio::time::sleep_until(end).await;
        assert!(!quarantine.holds(&name, 20_001));
        assert_eq!(quarantine.next_end(), None);
    }
}
