//! Counts per dyno, and whether one dyno fails more than its siblings.

use std::collections::BTreeMap;

use trace::DynoId;

use crate::failures;
use crate::finding::{DynoContrast, DynoTotals, Totals};
use crate::occupancy::Steps;
use crate::stats;
use crate::story::{Story, process_type};

/// Counts per dyno, in the order of their names, and over all.
pub(crate) fn count(
    story: &Story<'_>,
    occupancy: &BTreeMap<DynoId, Steps>,
) -> (Totals, Vec<DynoTotals>) {
    let mut all = Totals::default();
    let mut per_dyno: BTreeMap<DynoId, Totals> =
        story.names.keys().chain(occupancy.keys()).map(|dyno| (*dyno, Totals::default())).collect();
    for request in &story.requests {
        let failed = u64::from(failures::lack(request, story).is_some());
        for totals in [&mut all, per_dyno.entry(request.dyno).or_default()] {
            totals.database_requests += 1;
            totals.database_failures += failed;
        }
    }
    for served in &story.http {
        let failed = u64::from(failures::failed(served));
        for totals in [&mut all, per_dyno.entry(served.dyno).or_default()] {
            totals.http_requests += 1;
            totals.http_failures += failed;
        }
    }
    let told = |(dyno, totals): (DynoId, Totals)| {
        let steps = occupancy.get(&dyno);
        DynoTotals {
            dyno: story.dyno_name(dyno),
            totals,
            failure_rate: failure_rate(totals),
            held_mean: steps.map_or(0.0, |steps| steps.mean(story.from, story.to)),
            held_max: steps.map_or(0, Steps::max),
        }
    };
    let mut dynos: Vec<DynoTotals> = per_dyno.into_iter().map(told).collect();
    dynos.sort_by(|a, b| a.dyno.cmp(&b.dyno));
    (all, dynos)
}

/// Failed and all: of HTTP requests where there are any, else of database requests.
fn trials(totals: Totals) -> (u64, u64) {
    if totals.http_requests > 0 {
        (totals.http_failures, totals.http_requests)
    } else {
        (totals.database_failures, totals.database_requests)
    }
}

fn failure_rate(totals: Totals) -> [f64; 3] {
    let (failed, all) = trials(totals);
    stats::wilson(failed as f64, all as f64)
}

/// The worst dyno against its siblings, within the process type that fails most. `None` if nothing
/// failed or there is nobody to compare with.
pub(crate) fn of(dynos: &[DynoTotals]) -> Option<DynoContrast> {
    let mut types: BTreeMap<&str, Vec<&DynoTotals>> = BTreeMap::new();
    for dyno in dynos.iter().filter(|dyno| trials(dyno.totals).1 > 0) {
        types.entry(process_type(&dyno.dyno)).or_default().push(dyno);
    }
    let failed =
        |group: &Vec<&DynoTotals>| -> u64 { group.iter().map(|dyno| trials(dyno.totals).0).sum() };
    let comparable = types.values().filter(|group| group.len() > 1 && failed(group) > 0);
    let group = comparable.max_by_key(|group| failed(group))?;
    let worst = group.iter().max_by(|a, b| a.failure_rate[1].total_cmp(&b.failure_rate[1]))?;
    let ours = trials(worst.totals);
    let others =
        group.iter().filter(|dyno| dyno.dyno != worst.dyno).map(|dyno| trials(dyno.totals));
    let theirs = others.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Some(DynoContrast {
        dyno: worst.dyno.clone(),
        rate: worst.failure_rate[1],
        rate_of_others: stats::wilson(theirs.0 as f64, theirs.1 as f64)[1],
        p_value: stats::fisher(ours, theirs),
    })
}
