//! What a run measured. Plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use trace::{Micros, SqlState};

use crate::Schedule;

/// A schedule lag above this makes the generator itself a suspect.
const LAG_LIMIT: Micros = Micros::from_millis(5);

/// What a run measured.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// When the schedule began.
    pub started: Micros,
    /// When the last request had ended, or the run was cancelled.
    pub ended: Micros,
    /// Requests that became due. The sum of the next three.
    pub offered: u64,
    /// Of these, answered, and not with a failure.
    pub completed: u64,
    /// Of these, failed; see [`RunResult::failures_by_kind`].
    pub failed: u64,
    /// Of these, still without an answer when the run was cancelled. Zero in a run that went to
    /// its end.
    pub unfinished: u64,
    /// Of the failed: never sent, because too many were in flight already.
    pub abandoned: u64,
    /// From the intended start to the end of the answer, of the completed requests.
    pub latency: Latency,
    /// From the intended start to the failure, of the failed requests that were sent.
    pub latency_failed: Latency,
    /// From the intended start to the real one.
    pub lag: Latency,
    /// The run in seconds, by intended start, without gaps.
    pub seconds: Vec<Second>,
    /// Per class of the model, in its order.
    pub classes: Vec<ClassResult>,
    /// Failures in counts.
    pub failures_by_kind: BTreeMap<FailureKind, u64>,
    /// Failures one by one, in the order in which they happened.
    pub failures: Vec<Failure>,
    /// Failures that found no room in that list.
    pub failures_unlisted: u64,
    pub(crate) schedule: Schedule,
}

impl RunResult {
    /// Whether the generator fell behind its schedule (99th percentile of the lag above 5 ms):
    /// then its latencies say more about itself than about the target.
    #[must_use]
    pub fn lagging(&self) -> bool {
        self.lag.quantile(0.99) > LAG_LIMIT
    }

    /// Share of the offered requests that failed; zero if none were offered.
    #[must_use]
    pub fn failed_share(&self) -> f64 {
        share(self.failed, self.offered)
    }

    /// Failed requests among those intended at or after `from` and before `to`. Exact as long as
    /// [`RunResult::failures_unlisted`] is zero, else a lower bound.
    #[must_use]
    pub fn failed_between(&self, from: Micros, to: Micros) -> u64 {
        let inside = |failure: &&Failure| (from..to).contains(&failure.intended);
        count(self.failures.iter().filter(inside))
    }

    /// Requests intended at or after `from` and before `to`.
    ///
    /// The schedule is drawn again for the answer, which a seed makes exact.
    #[must_use]
    pub fn offered_between(&self, from: Micros, to: Micros) -> u64 {
        let due =
            self.schedule.offsets().map(|offset| self.started + Micros::from_duration(offset));
        let offered = usize::try_from(self.offered).unwrap_or(usize::MAX);
        count(due.take(offered).filter(|at| (from..to).contains(at)))
    }
}

fn count(items: impl Iterator) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One second of a run: the requests intended in it, whenever they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Its start.
    pub at: Micros,
    /// Requests that became due.
    pub offered: u64,
    /// Of these, completed.
    pub completed: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Median latency of the completed; zero if none.
    pub p50: Micros,
    /// 99th percentile of the completed; zero if none.
    pub p99: Micros,
}

/// One class of the model.
#[derive(Clone, Debug)]
pub struct ClassResult {
    /// Method and template, or the statement.
    pub name: String,
    /// Requests that became due.
    pub offered: u64,
    /// Of these, completed.
    pub completed: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Latency of the completed.
    pub latency: Latency,
}

/// One request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it was due.
    pub intended: Micros,
    /// How long after that it failed; zero if it was never sent.
    pub after: Micros,
    /// How.
    pub kind: FailureKind,
    /// Its class, by its place in the model.
    pub class: usize,
}

/// How a request failed. Only an answer of 500 and above is a failure: a 404 or a 409 is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// An HTTP status of 500 and above.
    Status(u16),
    /// An error of PostgreSQL.
    Sql(SqlState),
    /// Nobody listened.
    Refused,
    /// The connection broke, or ended before the answer was complete.
    Disconnected,
    /// No whole answer in time.
    Timeout,
    /// The answer was none of the protocol's.
    Protocol,
    /// Never sent, because too many were in flight already.
    Abandoned,
    /// Never sent, because this machine had no file descriptor or port left for it.
    Starved,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Sql(state) => write!(f, "SQLSTATE {state}"),
            Self::Refused => f.write_str("connection refused"),
            Self::Disconnected => f.write_str("connection broken"),
            Self::Timeout => f.write_str("timed out"),
            Self::Protocol => f.write_str("answer not understood"),
            Self::Abandoned => f.write_str("abandoned: too many in flight"),
            Self::Starved => f.write_str("not sent: no file descriptor or port left here"),
        }
    }
}

/// A distribution of times, 1 µs to 10 minutes, three significant digits.
#[derive(Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 600_000_000, 3).expect("constant bounds in order"))
    }

    pub(crate) fn record(&mut self, time: Micros) {
        self.0.saturating_record(time.0);
    }

    /// The time that this share of the requests (0 to 1) did not exceed; zero if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Micros {
        Micros(self.0.value_at_quantile(share))
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Micros {
        self.quantile(0.5)
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Micros {
        self.quantile(0.99)
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Micros {
        Micros(self.0.max())
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Micros {
        Micros::from_duration(Duration::from_secs_f64(self.0.mean() / 1e6))
    }

    /// How many times were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency")
            .field("count", &self.count())
            .field("p50", &self.p50())
            .field("p99", &self.p99())
            .field("max", &self.max())
            .finish()
    }
}
