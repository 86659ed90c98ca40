//! Statements that time out behind one holder of a lock.

use diagnose::finding::{Cause, HolderState, Resource};
use testkit::golden::{Ask, Story, ms};
use trace::{Micros, SqlState};

use crate::world::{BY_KEY, causes, culprit_dyno, diagnose};

const HOT: &str = "UPDATE stock SET available = available - $1 WHERE product = $2";

/// Every `period`, web.2 updates the hot row and idles in its transaction for `hold`; web.1's
/// updates of the same row wait behind it, some behind one another, and give up after 500 ms.
fn hot_row(period: Micros, hold: Micros, waiters: usize) -> Story {
    let mut story = Story::new();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    let (hot, by_key) = (story.statement(HOT), story.statement(BY_KEY));
    let end = ms(40_000);
    let blocker = story.connection(two, ms(0), end);
    let pool = story.connections(waiters, one, ms(0), end);
    story.every(period, ms(1000), end - ms(3000), |story, at| {
        story.request(blocker, Ask::at(at).of(hot).server(ms(2)).leaves_open());
        story.request(blocker, Ask::at(at + hold).of(by_key).server(ms(1)));
        for (i, waiter) in pool.iter().enumerate() {
            let from = at + ms(10 + 20 * i as u64);
            let (until, failed) = match at + hold < from + ms(500) {
                true => (at + hold, false),
                false => (from + ms(500), true),
            };
            let ask = Ask::at(from).of(hot).server(until - from);
            story.request(*waiter, if failed { ask.error(SqlState::QUERY_CANCELED) } else { ask });
            // The first waits for the row, the others for the first.
            let blockers = if i == 0 { [blocker] } else { [pool[0]] };
            story.lock_wait(*waiter, &blockers, from..until, "public.stock");
        }
    });
    story
}

#[test]
fn the_root_of_the_queue_is_blamed_not_the_first_waiter() {
    let diagnosis = diagnose(hot_row(ms(3000), ms(900), 6));
    assert!(diagnosis.totals.database_failures > 50);
    let top = diagnosis.top().expect("found");
    assert_eq!(top.cause, Cause::LockPileUp, "{:#?}", diagnosis.findings);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.2"));
    assert_eq!(top.culprit.resource.as_deref(), Some("public.stock"));
    assert!(top.confidence > 0.7, "{}", top.confidence);
    let most = &diagnosis.blame[0];
    assert_eq!((most.resource, &*most.dyno), (Resource::Lock, "web.2"));
    assert_eq!(most.state, HolderState::IdleInTransaction);
    // Idling within the transaction is the second half of the same story.
    assert_eq!(causes(&diagnosis), [Cause::LockPileUp, Cause::IdleInTransaction]);
}

/// Marginal: only the first waiter is late.
#[test]
fn a_few_timeouts_name_the_lock_with_less_confidence() {
    let diagnosis = diagnose(hot_row(ms(6000), ms(515), 4));
    let failures = diagnosis.totals.database_failures;
    assert!((1..10).contains(&failures), "{failures}");
    assert_eq!(diagnosis.top().map(|top| top.cause), Some(Cause::LockPileUp));
    assert_eq!(culprit_dyno(&diagnosis), Some("web.2"));
    assert!(diagnosis.top().expect("found").confidence < 0.8);
}

#[test]
fn waiting_in_time_is_innocent() {
    assert_eq!(causes(&diagnose(hot_row(ms(3000), ms(300), 6))), []);
}

#[test]
fn a_deadlock_blames_the_other_side() {
    let mut story = Story::new();
    let (one, two) = (story.dyno("web.1"), story.dyno("worker.1"));
    let hot = story.statement(HOT);
    let (a, b) =
        (story.connection(one, ms(0), ms(40_000)), story.connection(two, ms(0), ms(40_000)));
    story.every(ms(2000), ms(1000), ms(38_000), |story, at| {
        story.request(a, Ask::at(at).of(hot).leaves_open());
        story.request(b, Ask::at(at).of(hot).leaves_open());
        let victim = Ask::at(at + ms(5)).of(hot).server(ms(1000));
        story.request(a, victim.error(SqlState::DEADLOCK_DETECTED));
        story.request(b, Ask::at(at + ms(5)).of(hot).server(ms(1001)));
        story.lock_wait(a, &[b], at + ms(5)..at + ms(1005), "transactionid");
        story.lock_wait(b, &[a], at + ms(5)..at + ms(1005), "transactionid");
    });
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::LockPileUp]);
    assert_eq!(diagnosis.blame[0].dyno, "worker.1");
}
