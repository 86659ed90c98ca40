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

/// A transaction keeps its place between two statements for so many times what a statement executes
/// here: whoever is let in instead stays for about as long. At least for a client's round trip, and
/// never for as long as a client thinks.
const PAUSE: f64 = 2.0;
const PAUSE_MIN: Micros = Micros::from_millis(2);
const PAUSE_MAX: Micros = Micros::from_millis(20);

/// Decaying means of short transactions.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// Seconds for which a short statement executes.
    statement: f64,
    statements: f64,
    held: f64,
    squares: f64,
    count: f64,
    tau: Micros,
}

impl Default for Pulse {
    fn default() -> Self {
        let [statement, statements, held, squares, count] = [0.0; 5];
        Self { statement, statements, held, squares, count, tau: LONG_MIN }
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

    /// A short statement has executed for so many seconds.
    pub(crate) fn executed(&mut self, seconds: f64) {
        self.statements = (self.statements + 1.0).min(LAST);
        self.statement += (seconds - self.statement) / self.statements;
    }

    /// For how long a transaction keeps its place while nothing of it executes.
    pub(crate) fn pause(&self) -> Micros {
        micros(PAUSE * self.statement).clamp(PAUSE_MIN, PAUSE_MAX)
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
