//! One reader of the log: a bounded ring of its own that loses its oldest lines, and says so.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use trace::{Clock, Micros};

use super::entry::{LogEntry, Source, Timestamp};
use super::filter::LogFilter;

/// Lines a slow reader may be behind; Logplex displaces the oldest of 1024.
const TAIL_LINES: usize = 1024;

/// A live view of the log. Dropping it ends it.
#[derive(Debug)]
pub struct Tail {
    clock: Clock,
    history: VecDeque<Arc<LogEntry>>,
    ring: Arc<Ring>,
}

impl Tail {
    pub(super) fn new(clock: Clock, filter: LogFilter, history: Vec<Arc<LogEntry>>) -> Self {
        let ring = Ring { filter, lines: Mutex::default(), changed: Notify::new() };
        Self { clock, history: history.into(), ring: Arc::new(ring) }
    }

    pub(super) fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The next line; `None` once the hub is closed and all lines are read.
    ///
    /// Where lines were lost, the next one is the notice `Error L11 (Tail buffer overflow)`.
    /// Cancellation safe: a line is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Arc<LogEntry>> {
        if let Some(entry) = self.history.pop_front() {
            return Some(entry);
        }
        loop {
            // Registered before looking, so that a line that comes in between is not slept over.
            let changed = self.ring.changed.notified();
            match self.ring.take(self.clock) {
                Taken::Line(entry) => return Some(entry),
                Taken::Closed => return None,
                Taken::Nothing => changed.await,
            }
        }
    }
}

enum Taken {
    Line(Arc<LogEntry>),
    Nothing,
    Closed,
}

/// The bounded queue between the hub and one reader.
#[derive(Debug)]
pub(super) struct Ring {
    filter: LogFilter,
    lines: Mutex<Lines>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    queue: VecDeque<Arc<LogEntry>>,
    lost: Option<Loss>,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Loss {
    count: u64,
    since: Micros,
}

impl Ring {
    pub(super) fn push(&self, entry: &Arc<LogEntry>) {
        if !self.filter.passes(entry) {
            return;
        }
        let mut lines = self.lines.lock();
        if lines.queue.len() == TAIL_LINES {
            lines.queue.pop_front();
            let loss = lines.lost.get_or_insert(Loss { count: 0, since: entry.at });
            loss.count += 1;
        }
        lines.queue.push_back(Arc::clone(entry));
        drop(lines);
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.lines.lock().closed = true;
        self.changed.notify_one();
    }

    fn take(&self, clock: Clock) -> Taken {
        let mut lines = self.lines.lock();
        if let Some(loss) = lines.lost.take() {
            return Taken::Line(Arc::new(loss.notice(clock.now())));
        }
        match lines.queue.pop_front() {
            Some(entry) => Taken::Line(entry),
            None if lines.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }
}

impl Loss {
    /// Logplex's own sentence.
    fn notice(self, at: Micros) -> LogEntry {
        let (count, since) = (self.count, Timestamp(self.since));
        let text = format!(
            "Error L11 (Tail buffer overflow) -> This tail session dropped {count} messages \
             since {since}"
        );
        let process = "logplex".into();
        LogEntry { at, source: Source::Heroku, process, text: text.into() }
    }
}
