//! The bounded way from a hot path to the writer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use trace::{Event, Sink};

/// One ring: senders push, the writer pops, and what found no room is counted.
pub(crate) struct Ring {
    queue: ArrayQueue<Event>,
    lost: AtomicU64,
    /// Shared by all rings of a recorder: it takes no more.
    closed: Arc<AtomicBool>,
}

impl Ring {
    pub(crate) fn new(capacity: usize, closed: Arc<AtomicBool>) -> Self {
        Self { queue: ArrayQueue::new(capacity.max(1)), lost: AtomicU64::new(0), closed }
    }

    pub(crate) fn pop(&self) -> Option<Event> {
        self.queue.pop()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.lost.load(Ordering::Relaxed) == 0
    }

    /// How many were lost since this was asked last.
    pub(crate) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Records into one ring of a [`Recorder`](crate::Recorder).
///
/// A clone shares its ring. Threads that record much each take a sink of their own, so that they do
/// not contend for one ring.
#[derive(Clone)]
pub struct RecorderSink {
    pub(crate) ring: Arc<Ring>,
}

impl Sink for RecorderSink {
    fn record(&self, event: Event) -> bool {
        let kept = !self.ring.closed.load(Ordering::Relaxed) && self.ring.queue.push(event).is_ok();
        if !kept {
            self.ring.lost.fetch_add(1, Ordering::Relaxed);
        }
        kept
    }
}

impl fmt::Debug for RecorderSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecorderSink").field("waiting", &self.ring.queue.len()).finish()
    }
}
