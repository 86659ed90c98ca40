//! The server goes away: for all, or for one only.

use diagnose::finding::Cause;
use testkit::golden::{Ask, Story, ms};
use trace::{Micros, Outcome, SqlState};

use crate::world::{BY_KEY, causes, diagnose};

fn two_dynos(story: &mut Story, gone: std::ops::Range<Micros>, both: bool) {
    let by_key = story.statement(BY_KEY);
    for (name, affected) in [("web.1", true), ("web.2", both)] {
        let dyno = story.dyno(name);
        let until = if affected { gone.start } else { ms(30_000) };
        let before = story.connection(dyno, ms(0), until);
        story.every(ms(50), ms(10), until - ms(20), |story, at| {
            story.request(before, Ask::at(at).of(by_key).server(ms(2)));
        });
        if !affected {
            continue;
        }
        story.request(before, Ask::at(gone.start - ms(1)).of(by_key).outcome(Outcome::ServerGone));
        story.every(ms(100), gone.start, gone.end, |story, at| {
            story.failed_connect(dyno, Ask::at(at).error(SqlState::CANNOT_CONNECT_NOW));
        });
        let after = story.connection(dyno, gone.end, ms(30_000));
        story.every(ms(50), gone.end + ms(10), ms(29_900), |story, at| {
            story.request(after, Ask::at(at).of(by_key).server(ms(2)));
        });
    }
}

#[test]
fn a_restart_of_postgresql_is_its_own() {
    let mut story = Story::new();
    two_dynos(&mut story, ms(10_000)..ms(15_000), true);
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::ServerDown]);
    assert!(diagnosis.top().expect("found").confidence > 0.9);
}

/// Marginal: a handful of requests meet a short failover.
#[test]
fn a_short_failover_is_named_with_less_confidence() {
    let mut story = Story::new();
    two_dynos(&mut story, ms(10_000)..ms(10_200), true);
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::ServerDown]);
    assert!(diagnosis.top().expect("found").confidence < 0.8);
}

#[test]
fn a_server_that_serves_the_other_dyno_meanwhile_is_not_down() {
    let mut story = Story::new();
    two_dynos(&mut story, ms(10_000)..ms(15_000), false);
    assert_eq!(causes(&diagnose(story)), [Cause::Unknown]);
}
