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
/// While lines are lost all the time.
const LOSS_TOLD_EVERY: Micros = Micros::from_secs(1);

/// A live view of the log. Dropping it ends it.
#[derive(Debug)]
pub struct Tail {
    clock: Clock,
    history: VecDeque<Arc<LogEntry>>,
    ring: Arc<Ring>,
    overflow: Overflow,
}

/// Whose buffer it is: how its loss is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// Of somebody who looks on (L11).
    Tail,
    /// Of a drain (L10).
    Output,
}

impl Tail {
    pub(super) fn new(
        clock: Clock,
        filter: LogFilter,
        history: Vec<Arc<LogEntry>>,
        overflow: Overflow,
    ) -> Self {
        let ring = Ring { filter, lines: Mutex::default(), changed: Notify::new() };
        Self { clock, history: history.into(), ring: Arc::new(ring), overflow }
    }

    pub(super) fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The next line; `None` once the hub is closed and all lines are read.
    ///
    /// Where lines were lost, the next one is the notice `Error L11 (Tail buffer overflow)`; while
    /// a flood goes on, one a second tells of all that were lost meanwhile.
    /// Cancellation safe: a line is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Arc<LogEntry>> {
        if let Some(entry) = self.history.pop_front() {
            return Some(entry);
        }
        loop {
            // Registered before looking, so that a line that comes in between is not slept over.
            let changed = self.ring.changed.notified();
            match self.ring.take(self.clock, self.overflow) {
                Taken::Line(entry) => return Some(entry),
                Taken::Closed => return None,
                Taken::Nothing => changed.await,
            }
        }
    }
}

impl Tail {
    /// The next line if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Arc<LogEntry>> {
        match self.ring.take(self.clock, self.overflow) {
            Taken::Line(entry) => Some(entry),
            Taken::Nothing | Taken::Closed => None,
        }
    }

    /// So many lines were taken and lost all the same; it is told with those that the ring loses.
    pub(crate) fn lost(&self, count: u64, since: Micros) {
        let mut lines = self.ring.lines.lock();
        let loss = lines.lost.get_or_insert(Loss { count: 0, since });
        loss.count += count;
        loss.since = loss.since.min(since);
        drop(lines);
        self.ring.changed.notify_one();
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
    /// When a loss was told last.
    told: Option<Micros>,
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

    fn take(&self, clock: Clock, overflow: Overflow) -> Taken {
        let mut lines = self.lines.lock();
        if let Some(notice) = lines.notice_due(clock, overflow) {
            return Taken::Line(Arc::new(notice));
        }
        match lines.queue.pop_front() {
            Some(entry) => Taken::Line(entry),
            None if lines.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }
}

impl Lines {
    /// What is to be told of losses now: not each of a flood, or every other line would be one.
    fn notice_due(&mut self, clock: Clock, overflow: Overflow) -> Option<LogEntry> {
        self.lost?;
        let now = clock.now();
        let lately = self.told.is_some_and(|told| now.since(told) < LOSS_TOLD_EVERY);
        if lately && !self.queue.is_empty() {
            return None;
        }
        self.told = Some(now);
        self.lost.take().map(|loss| loss.notice(now, overflow))
    }
}

impl Loss {
    /// Logplex's own sentences.
    fn notice(self, at: Micros, overflow: Overflow) -> LogEntry {
        let (count, since) = (self.count, Timestamp(self.since));
        let text = match overflow {
            Overflow::Tail => format!(
                "Error L11 (Tail buffer overflow) -> This tail session dropped {count} messages \
                 since {since}"
            ),
            Overflow::Output => format!(
                "Error L10 (output buffer overflow): {count} messages dropped since {since}."
            ),
        };
        let process = "logplex".into();
        LogEntry { at, source: Source::Heroku, process, text: text.into() }
    }
}
