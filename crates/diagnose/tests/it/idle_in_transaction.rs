//! Transactions that idle hold the pool.

use diagnose::finding::{Cause, HolderState};
use testkit::golden::{Ask, Story, ms};
use trace::{Micros, SqlState};

use crate::world::{BY_KEY, Dice, Job, causes, culprit_dyno, diagnose, serve};

const RESERVE: &str = "UPDATE stock SET reserved = reserved + $1 WHERE product = $2";

/// web.1 pays in the middle of its transaction; web.2 only looks.
fn payments(pause: Micros, every: usize) -> Story {
    let mut story = Story::new();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    let (by_key, reserve) = (story.statement(BY_KEY), story.statement(RESERVE));
    let mut dice = Dice(9);
    let mut jobs = Vec::new();
    for at in (0..30_000).step_by(25) {
        jobs.push(Job::new(ms(at), two, by_key, ms(1 + dice.roll(4))));
    }
    for at in (100..30_000).step_by(every) {
        let idle = pause + ms(dice.roll(100));
        jobs.push(Job { idle, ..Job::new(ms(at), one, reserve, ms(3)) });
    }
    serve(&mut story, 5, ms(300), jobs);
    story
}

#[test]
fn payments_within_the_transaction_are_blamed() {
    let diagnosis = diagnose(payments(ms(900), 150));
    assert!(diagnosis.totals.database_failures > 100);
    assert_eq!(causes(&diagnosis), [Cause::IdleInTransaction]);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.1"));
    let statement = diagnosis.top().and_then(|top| top.culprit.statement.clone());
    assert_eq!(statement.map(|s| s.text), Some(RESERVE.to_owned()));
    assert_eq!(diagnosis.blame[0].state, HolderState::IdleInTransaction);
    assert!(diagnosis.top().expect("found").confidence > 0.9);
}

/// Marginal: the pool is exhausted only when several payments fall together.
#[test]
fn rare_collisions_of_payments_are_blamed_with_less_confidence() {
    let diagnosis = diagnose(payments(ms(900), 194));
    let failures = diagnosis.totals.database_failures;
    assert!((1..300).contains(&failures), "{failures}");
    assert_eq!(causes(&diagnosis), [Cause::IdleInTransaction]);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.1"));
}

#[test]
fn pauses_without_a_queue_are_innocent() {
    assert_eq!(causes(&diagnose(payments(ms(50), 150))), []);
}

#[test]
fn the_server_s_own_timeout_names_the_idle_session() {
    let mut story = Story::new();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    let reserve = story.statement(RESERVE);
    let other = story.connection(two, ms(0), ms(30_000));
    for i in 0..20 {
        let at = ms(1000 * i);
        let held = story.connection(one, at, at + ms(900));
        story.request(held, Ask::at(at + ms(5)).of(reserve).leaves_open());
        let ask = Ask::at(at + ms(850)).of(reserve);
        story.request(held, ask.error(SqlState::IDLE_IN_TRANSACTION_TIMEOUT));
        story.request(other, Ask::at(at + ms(20)).of(reserve));
    }
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::IdleInTransaction]);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.1"));
}
