//! Act 2's comparison: the same command on two dynos, until it differs.

use std::time::Duration;

use platform::{DynoName, RunComparison, RunOptions, RunOutcome, RunResult};
use report::{DynoRun, RunCompare};
use trace::Micros;

use crate::staging::Staging;

/// A customer would not wait longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One command for some dynos of a running app.
pub(crate) struct Comparison<'a> {
    staging: &'a Staging,
    dynos: &'a [DynoName],
    command: &'a str,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(staging: &'a Staging, dynos: &'a [DynoName], command: &'a str) -> Self {
        Self { staging, dynos, command }
    }

    /// Runs the command on all dynos at once, again and again, at least three times and then until
    /// one try worked on some dynos and not on others; that try is the one that is shown.
    pub(crate) async fn until_different(&self, tries_max: u32) -> anyhow::Result<RunCompare> {
        let options = RunOptions {
            timeout: PATIENCE,
            tally: Some(self.staging.database_tally()),
            ..RunOptions::default()
        };
        let mut failed = vec![0_u32; self.dynos.len()];
        let mut tries = 0;
        let mut shown: Option<RunComparison> = None;
        while tries < tries_max && (tries < 3 || !shown.as_ref().is_some_and(differs)) {
            let dynos = self.staging.dynos();
            let results = platform::run(dynos, self.dynos, self.command, &options).await?;
            tries += 1;
            for (failed, result) in failed.iter_mut().zip(&results) {
                *failed += u32::from(!works(result));
            }
            let comparison = RunComparison::of(self.command, results);
            if !shown.as_ref().is_some_and(differs) {
                shown = Some(comparison);
            }
        }
        let shown = shown.unwrap_or_else(|| RunComparison::of(self.command, Vec::new()));
        Ok(told(&shown, tries, &failed))
    }
}

fn works(result: &RunResult) -> bool {
    result.outcome == RunOutcome::Exited(0) && http_status(result) == Some(200)
}

fn differs(comparison: &RunComparison) -> bool {
    let working = comparison.results.iter().filter(|result| works(result)).count();
    (1..comparison.results.len()).contains(&working)
}

/// What curl printed.
fn http_status(result: &RunResult) -> Option<i32> {
    result.stdout.trim().parse().ok()
}

fn told(comparison: &RunComparison, tries: u32, failed: &[u32]) -> RunCompare {
    let environment = |index: usize| {
        let differing = comparison.environment.iter();
        differing
            .map(|variable| {
                let value = variable.values.get(index).cloned().flatten();
                (variable.name.clone(), value.unwrap_or_default())
            })
            .collect()
    };
    let run = |(index, result): (usize, &RunResult)| {
        let database = result.database.unwrap_or_default();
        DynoRun {
            dyno: result.dyno.to_string(),
            status: http_status(result).unwrap_or(0),
            output: result.stdout.clone(),
            elapsed: Micros::from_duration(result.elapsed),
            database_requests: database.requests,
            database_failures: database.failures,
            environment: environment(index),
            tries,
            failed_tries: failed.get(index).copied().unwrap_or(0),
        }
    };
    RunCompare {
        command: comparison.command.clone(),
        runs: comparison.results.iter().enumerate().map(run).collect(),
    }
}
