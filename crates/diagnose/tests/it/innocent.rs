//! Days on which nothing is wrong: no finding, whatever else is remarkable.

use diagnose::Diagnosis;
use testkit::golden::{Ask, Story, ms};
use trace::{DynoId, DynoState, Micros, SqlState};

use crate::world::{BY_KEY, LOOKUP, REPORT, diagnose, no_index};

const END: Micros = ms(30_000);

fn shop() -> (Story, [DynoId; 2]) {
    let mut story = Story::new();
    story.setting("max_connections", "20");
    story.setting("superuser_reserved_connections", "3");
    let dynos = [story.dyno("web.1"), story.dyno("web.2")];
    (story, dynos)
}

/// A pool at work, and its HTTP requests.
fn work(story: &mut Story, dyno: DynoId, count: usize, from: Micros, to: Micros, pause: u64) {
    let by_key = story.statement(BY_KEY);
    for connection in story.connections(count, dyno, from, to) {
        story.every(ms(pause), from + ms(10), to - ms(30), |story, at| {
            story.request(connection, Ask::at(at).of(by_key).server(ms(4)));
        });
    }
    story.every(ms(pause), from + ms(16), to - ms(1), |story, at| {
        story.http(dyno, at, ms(12), "/", 200)
    });
}

#[track_caller]
fn innocent(story: Story) -> Diagnosis {
    let diagnosis = diagnose(story);
    assert_eq!(diagnosis.findings, []);
    assert_eq!(diagnosis.blame, []);
    diagnosis
}

#[test]
fn a_healthy_day() {
    let (mut story, dynos) = shop();
    dynos.iter().for_each(|dyno| work(&mut story, *dyno, 5, ms(0), END, 50));
    let diagnosis = innocent(story);
    assert_eq!((diagnosis.contrast, diagnosis.coincidence), (None, None));
    assert_eq!(diagnosis.advice, []);
    assert_eq!(diagnosis.totals.http_failures, 0);
    assert!(diagnosis.totals.http_requests > 1000);
}

#[test]
fn half_as_much_load_again() {
    let (mut story, dynos) = shop();
    for dyno in dynos {
        work(&mut story, dyno, 5, ms(0), ms(15_000), 60);
        work(&mut story, dyno, 8, ms(15_000), END, 40);
    }
    story.mark(ms(15_000), "rate +50 %");
    innocent(story);
}

#[test]
fn a_restart_that_hurts_nobody() {
    let (mut story, [one, two]) = shop();
    work(&mut story, one, 5, ms(0), ms(10_000), 50);
    work(&mut story, one, 5, ms(13_000), END, 50);
    work(&mut story, two, 8, ms(0), END, 50);
    for (at, state) in [
        (10_000, DynoState::Stopping),
        (10_300, DynoState::Down),
        (10_500, DynoState::Starting),
        (12_500, DynoState::Up),
    ] {
        story.dyno_state(one, ms(at), state);
    }
    // The router answers for a dyno that is being restarted: that is no failure of the database.
    story.http(one, ms(10_400), ms(1), "/", 503);
    let diagnosis = innocent(story);
    assert_eq!(diagnosis.totals.http_failures, 1);
    assert!(
        diagnosis.gaps.iter().any(|gap| gap.contains("no dyno was up")),
        "{:?}",
        diagnosis.gaps
    );
    assert!(diagnosis.timeline.marks.iter().any(|(_, text)| text == "web.1 restarted"));
}

#[test]
fn a_report_that_hurts_nobody() {
    let (mut story, dynos) = shop();
    dynos.iter().for_each(|dyno| work(&mut story, *dyno, 5, ms(0), END, 50));
    let worker = story.dyno("worker.1");
    let report = story.statement(REPORT);
    let connection = story.connection(worker, ms(0), END);
    story.every(ms(8000), ms(1000), ms(26_000), |story, at| {
        story.request(connection, Ask::at(at).of(report).server(ms(2000)));
    });
    innocent(story);
}

#[test]
fn the_app_s_own_errors() {
    let (mut story, dynos) = shop();
    dynos.iter().for_each(|dyno| work(&mut story, *dyno, 5, ms(0), END, 50));
    let insert = story.statement("INSERT INTO accounts (email) VALUES ($1)");
    let connection = story.connection(dynos[0], ms(0), END);
    story.every(ms(500), ms(1000), ms(29_000), |story, at| {
        let taken = SqlState(*b"23505");
        story.request(connection, Ask::at(at).of(insert).error(taken));
        story.http(dynos[0], at + ms(3), ms(6), "/register", 500);
    });
    let diagnosis = innocent(story);
    assert_eq!(diagnosis.totals.database_failures, 0);
    assert!(diagnosis.gaps.iter().any(|gap| gap.contains("app's own")), "{:?}", diagnosis.gaps);
}

/// Nothing fails, so there is no cause to find; but the advice stands on its own evidence.
#[test]
fn a_missing_index_that_hurts_nobody_yet() {
    let (mut story, dynos) = shop();
    dynos.iter().for_each(|dyno| work(&mut story, *dyno, 5, ms(0), END, 50));
    let lookup = story.statement(LOOKUP);
    no_index(&mut story, lookup, END);
    let connection = story.connection(dynos[0], ms(0), END);
    story.request(connection, Ask::at(ms(5000)).of(lookup).server(ms(60)));
    assert_eq!(innocent(story).advice.len(), 1);
}

#[test]
fn an_empty_recording() {
    let diagnosis = innocent(Story::new());
    assert_eq!(diagnosis.totals.database_requests, 0);
}
