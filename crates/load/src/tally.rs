//! Adds up a run while it runs: one owner, no locks, memory bounded by what is in flight.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use trace::Micros;

use crate::result::{ClassResult, Failure, FailureKind, Latency, RunResult, Second};
use crate::run::Snapshot;
use crate::schedule::Schedule;

/// Failures kept one by one; 32 bytes each.
const LISTED: usize = 500_000;

/// How one sent request went. All times are from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) class: usize,
    pub(crate) intended: Duration,
    pub(crate) sent: Duration,
    pub(crate) done: Duration,
    pub(crate) outcome: Result<(), FailureKind>,
}

/// The sums so far.
#[derive(Debug)]
pub(crate) struct Tally {
    result: RunResult,
    /// Seconds some of whose requests have not ended, or which are not over; the first of them
    /// follows the last of `result.seconds`.
    open: VecDeque<OpenSecond>,
}

#[derive(Debug)]
struct OpenSecond {
    sums: Second,
    latencies: Vec<Micros>,
}

impl Tally {
    pub(crate) fn new(started: Micros, schedule: Schedule, names: Vec<String>) -> Self {
        let class = |name| ClassResult {
            name,
            offered: 0,
            completed: 0,
            failed: 0,
            latency: Latency::new(),
        };
        let result = RunResult {
            started,
            ended: started,
            offered: 0,
            completed: 0,
            failed: 0,
            unfinished: 0,
            abandoned: 0,
            latency: Latency::new(),
            latency_failed: Latency::new(),
            lag: Latency::new(),
            seconds: Vec::new(),
            classes: names.into_iter().map(class).collect(),
            failures_by_kind: BTreeMap::new(),
            failures: Vec::new(),
            failures_unlisted: 0,
            schedule,
        };
        Self { result, open: VecDeque::new() }
    }

    /// A request became due.
    pub(crate) fn offer(&mut self, class: usize, intended: Duration) {
        self.result.offered += 1;
        self.result.classes[class].offered += 1;
        self.second(intended).sums.offered += 1;
    }

    /// A due request was not sent.
    pub(crate) fn abandon(&mut self, class: usize, intended: Duration) {
        self.result.abandoned += 1;
        self.fail(class, intended, Duration::ZERO, FailureKind::Abandoned);
    }

    /// A sent request ended.
    pub(crate) fn end(&mut self, ended: &Ended) {
        let Ended { class, intended, sent, done, outcome } = *ended;
        let after = done.saturating_sub(intended);
        let latency = Micros::from_duration(after);
        self.result.lag.record(Micros::from_duration(sent.saturating_sub(intended)));
        match outcome {
            Ok(()) => {
                self.result.completed += 1;
                self.result.latency.record(latency);
                self.result.classes[class].completed += 1;
                self.result.classes[class].latency.record(latency);
                let second = self.second(intended);
                second.sums.completed += 1;
                second.latencies.push(latency);
            }
            Err(kind) => {
                self.result.latency_failed.record(latency);
                self.fail(class, intended, after, kind);
            }
        }
    }

    fn fail(&mut self, class: usize, intended: Duration, after: Duration, kind: FailureKind) {
        self.result.failed += 1;
        self.result.classes[class].failed += 1;
        *self.result.failures_by_kind.entry(kind).or_default() += 1;
        self.second(intended).sums.failed += 1;
        if self.result.failures.len() == LISTED {
            self.result.failures_unlisted += 1;
            return;
        }
        let intended = self.result.started + Micros::from_duration(intended);
        let after = Micros::from_duration(after);
        self.result.failures.push(Failure { intended, after, kind, class });
    }

    /// The second in which a request was due. It is open: it is sealed only when it is over and all
    /// its requests have ended.
    fn second(&mut self, intended: Duration) -> &mut OpenSecond {
        let sealed = self.result.seconds.len();
        let place = usize::try_from(intended.as_secs()).unwrap_or(usize::MAX) - sealed;
        while self.open.len() <= place {
            let number = u64::try_from(sealed + self.open.len()).unwrap_or(u64::MAX);
            let at = self.result.started + Micros::from_secs(number);
            let sums = Second { at, ..Second::default() };
            self.open.push_back(OpenSecond { sums, latencies: Vec::new() });
        }
        &mut self.open[place]
    }

    /// Seals the seconds before `horizon` whose requests have all ended. No request that becomes
    /// due later may be intended before it.
    pub(crate) fn seal(&mut self, horizon: Duration) {
        while let Some(first) = self.open.front() {
            let number = u64::try_from(self.result.seconds.len()).unwrap_or(u64::MAX);
            let ended = first.sums.completed + first.sums.failed;
            if horizon.as_secs() <= number || ended < first.sums.offered {
                return;
            }
            self.seal_first();
        }
    }

    fn seal_first(&mut self) {
        let Some(OpenSecond { mut sums, mut latencies }) = self.open.pop_front() else { return };
        latencies.sort_unstable();
        sums.p50 = nearest_rank(&latencies, 50);
        sums.p99 = nearest_rank(&latencies, 99);
        self.result.seconds.push(sums);
    }

    /// Where the run stands.
    pub(crate) fn snapshot(&self, elapsed: Duration) -> Snapshot {
        let result = &self.result;
        Snapshot {
            elapsed,
            span: result.schedule.ramp().span(),
            rate: result.schedule.ramp().rate_at(elapsed),
            offered: result.offered,
            completed: result.completed,
            failed: result.failed,
            abandoned: result.abandoned,
            p50: result.latency.p50(),
            p99: result.latency.p99(),
            last_second: result.seconds.last().copied(),
        }
    }

    /// The result of a run that is over.
    pub(crate) fn finish(mut self, elapsed: Duration) -> RunResult {
        while !self.open.is_empty() {
            self.seal_first();
        }
        let mut result = self.result;
        result.ended = result.started + Micros::from_duration(elapsed);
        result.unfinished = result.offered - result.completed - result.failed;
        result
    }
}

/// The smallest value that at least `percent` of all do not exceed; zero if there are none.
fn nearest_rank(sorted: &[Micros], percent: usize) -> Micros {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
