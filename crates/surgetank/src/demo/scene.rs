//! A scene: one run of the shop under one schedule of customers, and what was measured in it.

use std::path::PathBuf;
use std::time::Duration;

use diagnose::compare::{Arm, Trials};
use load::{Model, Ramp, RunResult};
use platform::DynoName;
use proxy::Mode;
use trace::Micros;

/// What is played.
#[derive(Clone, Debug)]
pub(crate) struct Scene<'a> {
    /// Its name; also the name of its recording.
    pub(crate) name: String,
    pub(crate) mode: Mode,
    /// What customers do.
    pub(crate) model: &'a Model,
    /// How many come, and when.
    pub(crate) ramp: Ramp,
    /// Same seed, same arrivals.
    pub(crate) seed: u64,
    /// Dynos that are restarted, as a platform does daily.
    pub(crate) restarts: Vec<Restart>,
    /// When the command is compared on two dynos.
    pub(crate) compare: Option<Duration>,
}

impl<'a> Scene<'a> {
    /// An even rate with nothing changed, and one restart of web.1 after a third of the time.
    pub(crate) fn with_one_restart(name: String, model: &'a Model, ramp: Ramp, seed: u64) -> Self {
        let restarts = vec![Restart::web(1, ramp.span() / 3)];
        Self { name, mode: Mode::Observe, model, ramp, seed, restarts, compare: None }
    }
}

/// A dyno is restarted.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    /// From the start of the load.
    pub(crate) at: Duration,
    pub(crate) dyno: DynoName,
}

impl Restart {
    /// A restart of the `number`-th web dyno.
    pub(crate) fn web(number: u32, at: Duration) -> Self {
        Self { at, dyno: DynoName::new("web", number) }
    }
}

/// What was measured.
pub(crate) struct Take {
    pub(crate) name: String,
    /// As the customers saw it.
    pub(crate) load: RunResult,
    /// Each restart is a trial until the next one, or the end.
    pub(crate) trials: Trials,
    pub(crate) compare: Option<report::RunCompare>,
    pub(crate) recording: PathBuf,
}

impl Take {
    pub(crate) fn new(
        scene: &Scene<'_>,
        load: RunResult,
        compare: Option<report::RunCompare>,
        recording: PathBuf,
    ) -> Self {
        let trials = trials(&scene.restarts, scene.ramp.span(), |from, to| {
            let at = |offset| load.started + Micros::from_duration(offset);
            load.failed_between(at(from), at(to)) > 0
        });
        Self { name: scene.name.clone(), load, trials, compare, recording }
    }

    /// Requests without a good answer.
    pub(crate) fn failed(&self) -> u64 {
        self.load.failed + self.load.unfinished
    }

    /// As a point of the curve.
    pub(crate) fn point(&self, rate: f64) -> report::CurvePoint {
        report::CurvePoint { rate, requests: self.load.offered, failed: self.failed() }
    }

    /// As an arm of an experiment.
    pub(crate) fn arm(&self) -> Arm {
        Arm {
            name: self.name.clone(),
            requests: self.load.offered,
            failed: self.failed(),
            p50: self.load.latency.p50(),
            p99: self.load.latency.p99(),
            trials: self.trials,
        }
    }
}

/// Counts the restarts, and those in whose time requests failed.
fn trials(
    restarts: &[Restart],
    end: Duration,
    failed: impl Fn(Duration, Duration) -> bool,
) -> Trials {
    let mut trials = Trials::default();
    for (index, restart) in restarts.iter().enumerate() {
        let until = restarts.get(index + 1).map_or(end, |next| next.at);
        trials.total += 1;
        trials.failed += u32::from(failed(restart.at, until));
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_lasts_until_the_next_restart() {
        let second = Duration::from_secs;
        let restarts = [Restart::web(1, second(2)), Restart::web(2, second(5))];
        let failed_at = |at: u64| {
            trials(&restarts, second(9), |from, to| from <= second(at) && second(at) < to).failed
        };
        assert_eq!(failed_at(1), 0, "a failure before the first restart belongs to no trial");
        assert_eq!(failed_at(3), 1);
        assert_eq!(failed_at(8), 1);
        assert_eq!(trials(&restarts, second(9), |_, _| true), Trials { total: 2, failed: 2 });
    }
}
