//! How long transactions hold their connections here: the measure of what is long.

use trace::Micros;

/// How many transactions the means reach back, about.
const LAST: f64 = 256.0;

/// A statement is long once it executes for so many times what a transaction holds its connection.
const LONG: f64 = 20.0;
const LONG_MIN: Micros = Micros::from_millis(250);
const LONG_MAX: Micros = Micros::from_secs(10);

/// A queue stands once it has not been empty for so many times the pool's relaxation time, the
/// size-biased mean of that.
const STANDS: f64 = 20.0;
const STANDS_MIN: Micros = Micros::from_secs(1);

/// Decaying means of short transactions.
#[derive(Debug)]
pub(crate) struct Pulse {
    held: f64,
    squares: f64,
    count: f64,
    tau: Micros,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { held: 0.0, squares: 0.0, count: 0.0, tau: LONG_MIN }
    }
}

impl Pulse {
    /// A short transaction has held its connection for so many seconds.
    pub(crate) fn beat(&mut self, held: f64) {
        self.count = (self.count + 1.0).min(LAST);
        self.held += (held - self.held) / self.count;
        self.squares += (held * held - self.squares) / self.count;
        self.tau = micros(LONG * self.held).clamp(LONG_MIN, LONG_MAX);
    }

    /// From when on a statement is long.
    pub(crate) fn tau(&self) -> Micros {
        self.tau
    }

    /// From when on a queue stands.
    pub(crate) fn standing(&self) -> Micros {
        let relaxation = if self.held > 0.0 { self.squares / self.held } else { 0.0 };
        micros(STANDS * relaxation).max(STANDS_MIN)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "spans of less than a day; the cast saturates"
)]
fn micros(seconds: f64) -> Micros {
    Micros((seconds * 1e6) as u64)
}
