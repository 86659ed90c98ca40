//! The run itself: sends what is due, when it is due, whatever became of what was sent before.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use trace::{Clock, Micros};

use crate::mix::Request;
use crate::result::{RunResult, Second};
use crate::schedule::{Arrivals, Schedule};
use crate::tally::{Ended, Tally};
use crate::target::Target;
use crate::{Error, Model};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

/// How a run is made.
#[derive(Debug)]
pub struct Options {
    /// The recording's clock, so that failures and events can be laid side by side.
    pub clock: Clock,
    /// Most requests in flight. One more that becomes due counts as failed, `abandoned`. Each takes
    /// a file descriptor and some kilobytes.
    pub max_in_flight: usize,
    /// Told where the run stands, five times a second and at its end.
    pub progress: Option<watch::Sender<Snapshot>>,
}

impl Options {
    /// At most 1 000 in flight, nobody told.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, max_in_flight: 1_000, progress: None }
    }
}

/// Where a run stands. All sums are from its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Since the start.
    pub elapsed: Duration,
    /// Of the whole schedule.
    pub span: Duration,
    /// Requests per second that the schedule asks for now.
    pub rate: f64,
    /// Requests that became due.
    pub offered: u64,
    /// Of these, completed.
    pub completed: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of the failed, never sent.
    pub abandoned: u64,
    /// Median latency of the completed.
    pub p50: Micros,
    /// 99th percentile of the latency of the completed.
    pub p99: Micros,
    /// The latest second all of whose requests have ended.
    pub last_second: Option<Second>,
}

/// Sends the requests of `model` to `target` when `schedule` says, and returns when the last of
/// them has ended. `cancel` ends the run at once; what is in flight then is `unfinished`.
///
/// # Errors
/// As [`Mix::http`](crate::Mix::http) and [`Mix::sql`](crate::Mix::sql), and [`Error::Connect`] if
/// a database target cannot be reached at the start. What befalls single requests is in the result.
pub async fn run(
    schedule: &Schedule,
    model: &Model,
    target: &Target,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<RunResult, Error> {
    let mix = target.prepare(model).await?;
    let start = Instant::now();
    let started = options.clock.at(start.into_std());
    let mut driver = Driver {
        arrivals: schedule.arrivals(&mix),
        target,
        start,
        in_flight: JoinSet::new(),
        max_in_flight: options.max_in_flight,
        tally: Tally::new(started, schedule.clone(), mix.names()),
    };
    driver.drive(options.progress.as_ref(), cancel).await;
    driver.in_flight.shutdown().await;
    let elapsed = start.elapsed();
    if let Some(progress) = &options.progress {
        progress.send_replace(driver.tally.snapshot(elapsed));
    }
    Ok(driver.tally.finish(elapsed))
}

struct Driver<'a> {
    arrivals: Arrivals<'a>,
    target: &'a Target,
    start: Instant,
    in_flight: JoinSet<Ended>,
    max_in_flight: usize,
    tally: Tally,
}

impl Driver<'_> {
    async fn drive(
        &mut self,
        progress: Option<&watch::Sender<Snapshot>>,
        cancel: &CancellationToken,
    ) {
        let mut tick = tokio::time::interval(PROGRESS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next = self.arrivals.next();
        while next.is_some() || !self.in_flight.is_empty() {
            let due = next.as_ref().map(|arrival| self.start + arrival.offset);
            tokio::select! {
                // Sending comes first: an answer can wait to be counted, a due request cannot.
                biased;
                () = cancel.cancelled() => return,
                () = sleep_until(due), if due.is_some() => {
                    let now = self.start.elapsed();
                    while let Some(arrival) = next.take_if(|arrival| arrival.offset <= now) {
                        self.send(arrival.offset, arrival.request);
                        next = self.arrivals.next();
                    }
                }
                Some(ended) = self.in_flight.join_next() => self.tally.end(&finished(ended)),
                _ = tick.tick() => {
                    let elapsed = self.start.elapsed();
                    // A request of a second that is over may be due and not yet sent.
                    self.tally.seal(next.as_ref().map_or(elapsed, |next| next.offset.min(elapsed)));
                    if let Some(progress) = progress {
                        progress.send_replace(self.tally.snapshot(elapsed));
                    }
                }
            }
        }
    }

    fn send(&mut self, intended: Duration, request: Request) {
        let class = request.class;
        self.tally.offer(class, intended);
        if self.in_flight.len() >= self.max_in_flight {
            self.tally.abandon(class, intended);
            return;
        }
        let (target, start) = (self.target.clone(), self.start);
        self.in_flight.spawn(async move {
            let sent = start.elapsed();
            let outcome = target.send(request).await;
            Ended { class, intended, sent, done: start.elapsed(), outcome }
        });
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A request's task is never aborted while the run goes on, so it can only have panicked: that is
/// a bug of ours, and goes on here.
fn finished(ended: Result<Ended, JoinError>) -> Ended {
    match ended {
        Ok(ended) => ended,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
