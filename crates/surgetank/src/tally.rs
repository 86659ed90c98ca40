//! Counts database requests per dyno on their way to the recorder.
//!
//! `run --dyno A,B` wants to know how many database requests a command caused, at once and without
//! reading the recording; this sink counts them as they pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use trace::{DynoId, Event, Sink};

/// Requests of one dyno so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Requests to the database, connects included.
    pub(crate) requests: u64,
    /// Of these, not answered well.
    pub(crate) failures: u64,
}

/// A sink that counts and passes on.
pub(crate) struct TallySink<S> {
    next: S,
    tally: Arc<Tally>,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ids: HashMap<Box<str>, DynoId>,
    counts: HashMap<DynoId, Count>,
}

impl<S> TallySink<S> {
    pub(crate) fn new(next: S, tally: Arc<Tally>) -> Self {
        Self { next, tally }
    }
}

impl<S: Sink> Sink for TallySink<S> {
    fn record(&self, event: Event) -> bool {
        self.tally.count(&event);
        self.next.record(event)
    }
}

impl Tally {
    fn count(&self, event: &Event) {
        match event {
            Event::Request(request) => {
                let mut state = self.lock();
                let count = state.counts.entry(request.dyno).or_default();
                count.requests += 1;
                count.failures += u64::from(!request.outcome.is_ok());
            }
            Event::DynoNamed { dyno, name, .. } => {
                self.lock().ids.insert(name.clone(), *dyno);
            }
            _ => {}
        }
    }

    /// What `dyno` asked of the database so far.
    pub(crate) fn of(&self, dyno: &str) -> Count {
        let state = self.lock();
        let id = state.ids.get(dyno);
        id.and_then(|id| state.counts.get(id)).copied().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use trace::{Clock, DynoNames, NoSink};

    use super::*;

    #[test]
    fn an_unknown_dyno_has_asked_nothing() {
        let tally = Arc::new(Tally::default());
        let sink = TallySink::new(NoSink, Arc::clone(&tally));
        DynoNames::new(Clock::start()).id("web.1", &sink);
        assert_eq!(tally.of("web.1"), Count::default());
        assert_eq!(tally.of("web.2"), Count::default());
    }
}
