//! Fewer connections than the cap, because PostgreSQL said so.
//!
//! When PostgreSQL refuses to open another connection (53300: its slots are used by others), that
//! is no outage: the *ceiling* drops to what is open, the refused one keeps its place in the queue,
//! and the ceiling rises by one at a time until PostgreSQL refuses again or the cap is reached.
//! When PostgreSQL cannot be reached at all, the ceiling drops likewise and rises by one only:
//! whoever gets that place finds out whether it is back, and then the ceiling is lifted.

use trace::Micros;

/// How long the ceiling stays after it rose.
const RISE_EVERY: Micros = Micros::from_millis(100);

/// How the ceiling rises again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rise {
    /// By one, and by one again: there may be room for more.
    Steadily,
    /// By one for a trial; all the rest depends on its result.
    Once,
}

/// Fewer than the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceiling {
    pub(crate) held: u32,
    pub(crate) until: Micros,
    pub(crate) rise: Rise,
}

impl Ceiling {
    /// Time has passed: it may rise.
    pub(crate) fn rise(&mut self, now: Micros) {
        if self.until > now {
            return;
        }
        self.held += 1;
        self.until = match self.rise {
            Rise::Steadily => now + RISE_EVERY,
            Rise::Once => Micros(u64::MAX),
        };
    }
}
