//! The log hub: one stream of all lines of an app, as Heroku's Logplex has it.
//!
//! ```text
//!   dyno pipes ──▶ DynoOutput ─┐              ┌──▶ history: the last 1500 lines
//!   supervisor, router ────────┴──▶ LogHub ───┴──▶ Tail, Tail, …  (each a ring of its own)
//! ```
//!
//! A writer never waits: who reads too slowly loses the oldest lines, and is told how many (L11).

mod entry;
mod filter;
mod follow;
mod output;
mod tail;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use trace::{Clock, Micros};

pub(crate) use entry::Timestamp;
pub use entry::{LogEntry, Source};
pub use filter::LogFilter;
pub(crate) use output::DynoOutput;
use tail::Overflow;
pub use tail::Tail;

/// Lines of history, as Logplex keeps them.
const HISTORY_LINES: usize = 1500;

/// Where all lines come together. Cheap to clone; all clones are one hub.
#[derive(Clone, Debug)]
pub struct LogHub {
    clock: Clock,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    history: VecDeque<Arc<LogEntry>>,
    tails: Vec<Weak<tail::Ring>>,
    closed: bool,
}

impl LogHub {
    /// An empty hub.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, shared: Arc::default() }
    }

    /// Adds a line. `process` is what stands in the brackets: `web.1`, `router`.
    ///
    /// Never waits for a reader.
    pub fn write(&self, source: Source, process: &str, text: &str) {
        let entry =
            LogEntry { at: self.clock.now(), source, process: process.into(), text: text.into() };
        self.shared.lock().add(&Arc::new(entry));
    }

    /// Adds lines that belong together: nobody else's come between them.
    pub(crate) fn write_together(&self, source: Source, process: &str, texts: &[&str]) {
        let at = self.clock.now();
        let entry = |text: &&str| {
            Arc::new(LogEntry { at, source, process: process.into(), text: (*text).into() })
        };
        let entries: Vec<Arc<LogEntry>> = texts.iter().map(entry).collect();
        let mut shared = self.shared.lock();
        for entry in entries {
            shared.add(&entry);
        }
    }

    /// The present time of the log.
    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }

    /// A line of the platform itself: `heroku[web.1]: State changed …`.
    pub(crate) fn heroku(&self, process: &str, text: &str) {
        self.write(Source::Heroku, process, text);
    }

    /// The newest lines of the history that pass the filter, oldest first; at most
    /// [`LogFilter::lines`].
    #[must_use]
    pub fn history(&self, filter: &LogFilter) -> Vec<Arc<LogEntry>> {
        self.shared.lock().newest(filter)
    }

    /// First the history as [`LogHub::history`] gives it, then every new line that passes the
    /// filter, with none lost or doubled between the two; ends when the hub is closed.
    #[must_use]
    pub fn tail(&self, filter: LogFilter) -> Tail {
        self.follow(filter, Overflow::Tail)
    }

    /// Every new line, for a drain: what it loses is told in a drain's words (L10).
    pub(crate) fn drain(&self) -> Tail {
        self.follow(LogFilter::default().last(0), Overflow::Output)
    }

    fn follow(&self, filter: LogFilter, overflow: Overflow) -> Tail {
        let mut shared = self.shared.lock();
        let history = shared.newest(&filter);
        let tail = Tail::new(self.clock, filter, history, overflow);
        if shared.closed {
            tail.ring().close();
        } else {
            shared.tails.push(Arc::downgrade(tail.ring()));
        }
        tail
    }

    /// Ends all tails after the lines they still hold. Lines written later are only kept as
    /// history.
    pub fn close(&self) {
        let mut shared = self.shared.lock();
        shared.closed = true;
        for ring in shared.tails.drain(..).filter_map(|tail| tail.upgrade()) {
            ring.close();
        }
    }
}

impl Shared {
    fn add(&mut self, entry: &Arc<LogEntry>) {
        if self.history.len() == HISTORY_LINES {
            self.history.pop_front();
        }
        self.history.push_back(Arc::clone(entry));
        self.tails.retain(|tail| match tail.upgrade() {
            Some(ring) => {
                ring.push(entry);
                true
            }
            None => false,
        });
    }

    fn newest(&self, filter: &LogFilter) -> Vec<Arc<LogEntry>> {
        let passing = self.history.iter().rev().filter(|entry| filter.passes(entry));
        let mut entries: Vec<_> = passing.take(filter.lines).map(Arc::clone).collect();
        entries.reverse();
        entries
    }
}

#[cfg(test)]
mod tests;
