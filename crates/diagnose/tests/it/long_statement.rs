//! `regulate` mode: a report holds the pool that others wait for.

use diagnose::finding::{Cause, Resource};
use testkit::golden::{Ask, Story, ms};
use trace::Micros;

use crate::world::{
    BY_KEY, Dice, Job, REPORT, causes, culprit_dyno, culprit_statement, diagnose, serve,
};

/// Quick lookups all the time, and reports of some seconds, several at once.
fn reports(limit: i32, at_once: u64, patience: Micros) -> Story {
    let mut story = Story::new();
    let (web, worker) = (story.dyno("web.1"), story.dyno("worker.1"));
    let (by_key, report) = (story.statement(BY_KEY), story.statement(REPORT));
    let mut dice = Dice(3);
    let mut jobs = Vec::new();
    for at in (0..30_000).step_by(20) {
        jobs.push(Job::new(ms(at), web, by_key, ms(2 + dice.roll(6))));
    }
    for at in (2000..28_000).step_by(7000) {
        for i in 0..at_once {
            jobs.push(Job::new(ms(at + i * 3), worker, report, ms(2000 + dice.roll(500))));
        }
    }
    serve(&mut story, limit, patience, jobs);
    story
}

#[test]
fn reports_that_hold_the_whole_pool_are_blamed() {
    let diagnosis = diagnose(reports(4, 4, ms(500)));
    assert!(diagnosis.totals.database_failures > 100);
    assert_eq!(causes(&diagnosis), [Cause::LongStatement]);
    assert_eq!(culprit_dyno(&diagnosis), Some("worker.1"));
    assert_eq!(culprit_statement(&diagnosis), Some(REPORT));
    assert!(diagnosis.top().expect("found").confidence > 0.9);
    assert_eq!(diagnosis.blame[0].resource, Resource::Pool);
    assert!(diagnosis.blame[0].share > 0.95, "{:#?}", diagnosis.blame);
}

/// Marginal: most requests come through in time.
#[test]
fn a_few_timeouts_are_enough_to_name_it_but_not_to_be_sure() {
    let diagnosis = diagnose(reports(4, 4, ms(2000)));
    let failures = diagnosis.totals.database_failures;
    assert!((1..60).contains(&failures), "{failures}");
    assert_eq!(culprit_statement(&diagnosis), Some(REPORT));
    assert!(diagnosis.top().expect("found").confidence < 0.95);
}

#[test]
fn reports_that_leave_room_for_others_are_innocent() {
    let diagnosis = diagnose(reports(4, 2, ms(500)));
    assert_eq!(diagnosis.totals.database_failures, 0);
    assert_eq!(causes(&diagnosis), []);
}

/// The dyno's own pool: two connections, both busy with the report while its requests fail.
fn own_pool(busy: bool) -> Story {
    let mut story = Story::new();
    let web = story.dyno("web.1");
    let (by_key, report) = (story.statement(BY_KEY), story.statement(REPORT));
    for connection in story.connections(2, web, ms(0), ms(40_000)) {
        story.every(ms(8000), ms(1000), ms(39_000), |story, at| {
            story.every(ms(100), at, at + ms(4500), |story, at| {
                story.request(connection, Ask::at(at).of(by_key).server(ms(2)));
            });
            let server = if busy { ms(3000) } else { ms(3) };
            story.request(connection, Ask::at(at + ms(4700)).of(report).server(server));
        });
    }
    story.every(ms(8000), ms(7000), ms(39_000), |story, at| {
        (0..5).for_each(|i| story.http(web, at + ms(50 * i), ms(1000), "/", 503));
    });
    story
}

#[test]
fn a_report_in_the_dyno_s_own_pool_is_blamed_for_its_http_failures() {
    let diagnosis = diagnose(own_pool(true));
    assert_eq!(diagnosis.totals.database_failures, 0);
    assert_eq!(causes(&diagnosis), [Cause::LongStatement]);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.1"));
    assert_eq!(diagnosis.blame.len(), 1);
    assert_eq!(diagnosis.blame[0].resource, Resource::DynoPool);
    assert_eq!(diagnosis.blame[0].waited, ms(20_000));
}

#[test]
fn the_same_http_failures_with_an_idle_pool_are_not_its_doing() {
    assert_eq!(causes(&diagnose(own_pool(false))), [Cause::Unknown]);
}
