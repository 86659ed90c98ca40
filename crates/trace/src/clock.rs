//! One clock for everything that is recorded.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds: a point in time since the Unix epoch, or a span between two such points.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000)
    }

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    /// A span from a standard duration; saturates after 584 000 years.
    #[must_use]
    pub fn from_duration(span: Duration) -> Self {
        Self(span.as_secs().saturating_mul(1_000_000).saturating_add(span.subsec_micros().into()))
    }

    /// The span as a standard duration.
    #[must_use]
    pub const fn to_duration(self) -> Duration {
        Duration::from_micros(self.0)
    }

    /// Seconds, for arithmetic and display; exact below 285 years.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "53 bits of microseconds are 285 years")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Milliseconds, for arithmetic and display.
    #[must_use]
    pub fn as_millis_f64(self) -> f64 {
        self.as_secs_f64() * 1e3
    }

    /// The span from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Micros {
    type Output = Self;

    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Micros {
    type Output = Self;

    fn sub(self, span: Self) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}µs", self.0)
    }
}

/// Wall-clock time that never steps: the wall clock is read once, then a monotonic clock runs on
/// from there, so that two events of one process are always in order.
///
/// The only place in Surgetank that reads the time for the recording.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Instant,
    anchor_wall: Micros,
}

impl Clock {
    /// Starts the clock at the present wall-clock time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one wall-clock anchor")]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor: Instant::now(), anchor_wall: Micros::from_duration(wall) }
    }

    /// The present time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one reading of the monotonic clock")]
    pub fn now(&self) -> Micros {
        self.at(Instant::now())
    }

    /// The time of a monotonic instant taken elsewhere (for example by tokio's clock).
    #[must_use]
    pub fn at(&self, instant: Instant) -> Micros {
        self.anchor_wall + Micros::from_duration(instant.saturating_duration_since(self.anchor))
    }
}
