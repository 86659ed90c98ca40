//! The recording in some hundred bins of a round width.

use std::collections::BTreeMap;

use trace::{BackendSample, DynoId, DynoState, Micros, Outcome, Request, RequestKind};

use crate::failures;
use crate::finding::{Bin, Timeline};
use crate::occupancy::Steps;
use crate::stats;
use crate::story::Story;

/// Most bins: as many as a plot can show and all-shift tests can use.
const BINS_MOST: u64 = 200;

/// The number of the bin that holds this time.
pub(crate) fn bin_of(timeline: &Timeline, from: Micros, at: Micros) -> usize {
    let number = at.since(from).0 / timeline.width.0.max(1);
    usize::try_from(number).unwrap_or(usize::MAX).min(timeline.bins.len().saturating_sub(1))
}

/// Cuts the recording into bins.
pub(crate) fn of(story: &Story<'_>, occupancy: &BTreeMap<DynoId, Steps>) -> Timeline {
    let span = story.to.since(story.from);
    let width = round_width(span);
    let count = usize::try_from(span.0 / width.0 + 1).unwrap_or(1);
    let bin = |i| Bin { at: story.from + Micros(width.0 * i as u64), ..Bin::default() };
    let bins = (0..count).map(bin).collect();
    let mut timeline = Timeline { width, bins, dynos: Vec::new(), marks: marks(story) };
    count_requests(story, &mut timeline);
    percentiles(story, &mut timeline);
    executing(story, &mut timeline);
    held(story, occupancy, &mut timeline);
    timeline
}

/// 1, 2 or 5 times a power of ten of milliseconds up to a minute, then whole minutes doubling.
fn round_width(span: Micros) -> Micros {
    let decades = (0..5).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
    let minutes = (0..).map(|power| 60_000_u64.saturating_mul(1 << power.min(40)));
    let mut widths = decades.chain(minutes).map(Micros::from_millis);
    widths.find(|width| span.0 / width.0 < BINS_MOST).unwrap_or(span)
}

fn count_requests(story: &Story<'_>, timeline: &mut Timeline) {
    let mut count = |at, failed| {
        let number = bin_of(timeline, story.from, at);
        if let Some(bin) = timeline.bins.get_mut(number) {
            bin.requests += 1;
            bin.failures += u32::from(failed);
        }
    };
    if story.http.is_empty() {
        let requests = story.requests.iter();
        requests.for_each(|r| count(r.done, failures::lack(r, story).is_some()));
    } else {
        story.http.iter().for_each(|served| count(served.at, failures::failed(served)));
    }
}

fn percentiles(story: &Story<'_>, timeline: &mut Timeline) {
    let mut waits = vec![Vec::new(); timeline.bins.len()];
    let mut queries = vec![Vec::new(); timeline.bins.len()];
    for request in &story.requests {
        let number = bin_of(timeline, story.from, request.done);
        waits[number].push(wait(request));
        if is_query(request) {
            queries[number].push(request.server());
        }
    }
    for (bin, (waits, queries)) in timeline.bins.iter_mut().zip(waits.iter_mut().zip(&mut queries))
    {
        bin.wait_p95 = stats::percentile(waits, 95).unwrap_or_default();
        bin.query_p95 = stats::percentile(queries, 95).unwrap_or_default();
    }
}

/// The time to connect, or to get a lease.
fn wait(request: &Request) -> Micros {
    if request.kind == RequestKind::Connect { request.total() } else { request.queue() }
}

/// Whether the request's time tells how fast PostgreSQL is.
pub(crate) fn is_query(request: &Request) -> bool {
    request.kind != RequestKind::Connect && request.outcome == Outcome::Ok
}

fn executing(story: &Story<'_>, timeline: &mut Timeline) {
    let executes = |backend: &&BackendSample| {
        // Our own look at the activity is always executing.
        &*backend.state == "active" && !is_observer(&backend.application)
    };
    for sample in &story.activity {
        let number = bin_of(timeline, story.from, sample.at);
        let count = sample.backends.iter().filter(executes).count();
        if let Some(bin) = timeline.bins.get_mut(number) {
            bin.executing = bin.executing.max(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }
}

/// Whether an `application_name` is our observer's. (The proxy's connections have those of the
/// clients they serve.)
pub(crate) fn is_observer(application: &str) -> bool {
    application == "surgetank-observer"
}

fn held(story: &Story<'_>, occupancy: &BTreeMap<DynoId, Steps>, timeline: &mut Timeline) {
    let mut named: Vec<(String, &Steps)> =
        occupancy.iter().map(|(dyno, steps)| (story.dyno_name(*dyno), steps)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, steps) in named {
        let most = steps.max_per_bin(story.from, timeline.width, timeline.bins.len());
        timeline.bins.iter_mut().zip(most).for_each(|(bin, most)| bin.held.push(most));
        timeline.dynos.push(name);
    }
}

/// What somebody marked, and what the platform did to dynos.
fn marks(story: &Story<'_>) -> Vec<(Micros, String)> {
    let mut marks: Vec<(Micros, String)> =
        story.marks.iter().map(|(at, text)| (*at, (*text).to_owned())).collect();
    for (dyno, states) in &story.states {
        let name = story.dyno_name(*dyno);
        for (i, (at, state)) in states.iter().enumerate() {
            match state {
                DynoState::Starting if i > 0 => marks.push((*at, format!("{name} restarted"))),
                DynoState::Crashed => marks.push((*at, format!("{name} crashed"))),
                DynoState::Starting | DynoState::Up | DynoState::Stopping | DynoState::Down => {}
            }
        }
    }
    marks.sort();
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_round_and_bins_are_few() {
        for (span_s, width_ms) in [(0, 1), (10, 100), (60, 500), (100, 1000), (600, 5000)] {
            assert_eq!(round_width(Micros::from_secs(span_s)), Micros::from_millis(width_ms));
        }
        let day = Micros::from_secs(86_400);
        assert!(day.0 / round_width(day).0 < BINS_MOST);
    }
}
