//! Where events go.

use std::sync::Arc;

use crate::Event;

/// Takes events, never blocks, and says whether the event was kept.
///
/// What is not kept must be counted by the sink and reported as [`Event::EventsLost`]: a recording
/// that has holes says so.
pub trait Sink: Send + Sync {
    /// Takes one event; `false` if there was no room for it.
    fn record(&self, event: Event) -> bool;
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn record(&self, event: Event) -> bool {
        (**self).record(event)
    }
}

/// A sink for those who do not record.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSink;

impl Sink for NoSink {
    fn record(&self, _event: Event) -> bool {
        true
    }
}
