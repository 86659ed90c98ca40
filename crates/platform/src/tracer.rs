//! How this room speaks downwards: the clock, the dynos' identities and the sink, in one value.

use std::fmt;
use std::sync::Arc;

use trace::{Clock, DynoId, DynoNames, Event, Micros, Sink};

/// Records facts, with the time and the dyno identities that the other rooms use too.
#[derive(Clone)]
pub struct Tracer {
    clock: Clock,
    names: Arc<DynoNames>,
    sink: Arc<dyn Sink>,
}

impl Tracer {
    /// A tracer over the one clock, the one table of names and the sink of this run.
    #[must_use]
    pub fn new(clock: Clock, names: Arc<DynoNames>, sink: Arc<dyn Sink>) -> Self {
        Self { clock, names, sink }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }

    /// The identity of a dyno. Takes a lock: once per process or request, not once per line.
    pub(crate) fn dyno(&self, name: &str) -> DynoId {
        self.names.id(name, &*self.sink)
    }

    /// Loss is counted by the sink, so nobody here asks whether the event was kept.
    pub(crate) fn record(&self, event: Event) {
        self.sink.record(event);
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("clock", &self.clock).finish_non_exhaustive()
    }
}
