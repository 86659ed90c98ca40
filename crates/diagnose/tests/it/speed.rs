//! A long recording is diagnosed in about a second.

use std::time::Duration;

use recording::Recording;
use testkit::golden::{Story, ms};
use trace::Clock;

use crate::world::{BY_KEY, Dice, Job, REPORT, serve};

/// 300 000 requests, many of them failed. The limit is wide: it is for the quadratic pass that
/// somebody adds one day (hours), not for the machine that is slow today; a debug build takes
/// several times as long.
#[test]
fn three_hundred_thousand_requests() {
    let mut story = Story::new();
    let web = story.dyno("web.1");
    let (by_key, report) = (story.statement(BY_KEY), story.statement(REPORT));
    let mut dice = Dice(1);
    let mut jobs: Vec<Job> =
        (0..300_000).map(|i| Job::new(ms(i), web, by_key, ms(1 + dice.roll(12)))).collect();
    jobs.extend((0..200).map(|i| Job::new(ms(i * 1500), web, report, ms(1400))));
    serve(&mut story, 7, ms(100), jobs);
    let recording = Recording::from_events(story.events());
    let clock = Clock::start();
    let started = clock.now();
    let diagnosis = diagnose::diagnose(&recording);
    let took = clock.now().since(started).to_duration();
    assert!(diagnosis.totals.database_failures > 1000, "{:?}", diagnosis.totals);
    let limit =
        if cfg!(debug_assertions) { Duration::from_secs(20) } else { Duration::from_secs(2) };
    assert!(took < limit, "took {took:?}");
}
