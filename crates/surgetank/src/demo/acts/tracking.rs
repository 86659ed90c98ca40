//! Act 4. The recording shows what the logs do not: delays that come with the failures, spikes of
//! query time, and who held the server's connections.

use anyhow::Context;
use diagnose::finding::{Bin, Diagnosis};
use recording::Recording;
use trace::Micros;

use super::super::{Shown, Tale};

pub(crate) fn play(tale: &mut Tale) -> anyhow::Result<Shown> {
    let take = tale.incident.as_ref().context("act 1 was not played")?;
    let recording = Recording::read(&take.recording).context("the incident's recording")?;
    let diagnosis = diagnose::diagnose(&recording);
    let shown = tell(&diagnosis);
    tale.diagnosis = Some(diagnosis);
    Ok(shown)
}

/// A bin's query time is a spike from so many times the median on.
const SPIKE: f64 = 2.0;

fn tell(diagnosis: &Diagnosis) -> Shown {
    let totals = diagnosis.totals;
    let bins = &diagnosis.timeline.bins;
    let held = |bins: &[&Bin]| mean(bins.iter().map(|bin| bin.held.iter().sum::<u32>()));
    let (failing, healthy): (Vec<&Bin>, Vec<&Bin>) = bins.iter().partition(|b| b.failures > 0);
    let (held_failing, held_healthy) = (held(&failing), held(&healthy));
    let query_times = || bins.iter().map(|bin| bin.query_p95).filter(|time| *time > Micros::ZERO);
    let usual = median(query_times());
    let highest = query_times().max().unwrap_or_default();
    let spikes = highest.as_secs_f64() >= SPIKE * usual.as_secs_f64();
    Shown {
        ok: totals.database_failures > 0 && spikes && held_failing > held_healthy,
        sentence: format!(
            "{} of {} database requests failed, while {held_failing:.1} connections were \
             held (else {held_healthy:.1}); query time spikes to {:.0} ms (median {:.0} ms)",
            totals.database_failures,
            totals.database_requests,
            highest.as_millis_f64(),
            usual.as_millis_f64()
        ),
        details: details(diagnosis),
    }
}

fn mean(values: impl Iterator<Item = u32>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, n), value| (sum + f64::from(value), n + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

fn median<T: Ord + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort();
    let middle = values.len() / 2;
    values.into_iter().nth(middle).unwrap_or_default()
}

fn details(diagnosis: &Diagnosis) -> Vec<String> {
    let coincidence = diagnosis.coincidence.iter().map(|found| {
        format!(
            "query time is {:.0} ms when requests fail and {:.0} ms when not (p = {:.2})",
            found.query_time_failing.as_millis_f64(),
            found.query_time_healthy.as_millis_f64(),
            found.p_value
        )
    });
    let holders = diagnosis.dynos.iter().filter(|dyno| dyno.held_max > 0).map(|dyno| {
        format!(
            "{} held {:.1} server connections on average, {} at most",
            dyno.dyno, dyno.held_mean, dyno.held_max
        )
    });
    coincidence.chain(holders).collect()
}
