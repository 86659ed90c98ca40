//! Failures that fit nothing are unknown, with what is known of them.

use diagnose::finding::Cause;
use testkit::golden::{Ask, Story, ms};
use trace::SqlState;

use crate::world::{BY_KEY, causes, diagnose};

/// Two dynos at work; nothing fails yet.
fn healthy() -> (Story, [trace::DynoId; 2]) {
    let mut story = Story::new();
    let dynos = [story.dyno("web.1"), story.dyno("web.2")];
    let by_key = story.statement(BY_KEY);
    for dyno in dynos {
        for connection in story.connections(3, dyno, ms(0), ms(20_000)) {
            story.every(ms(50), ms(10), ms(19_900), |story, at| {
                story.request(connection, Ask::at(at).of(by_key).server(ms(3)));
            });
        }
    }
    (story, dynos)
}

#[test]
fn a_wrong_password_on_one_dyno_is_told_but_not_guessed_at() {
    let (mut story, [one, _]) = healthy();
    story.every(ms(200), ms(1000), ms(19_000), |story, at| {
        story.failed_connect(one, Ask::at(at).error(SqlState::INVALID_PASSWORD));
    });
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::Unknown]);
    let told = format!("{:?}", diagnosis.findings[0].evidence_for);
    assert!(told.contains("web.1 28P01: 90"), "{told}");
    assert!(diagnosis.blame.is_empty());
}

#[test]
fn http_failures_while_the_database_is_idle_are_not_its_own() {
    let (mut story, [one, two]) = healthy();
    story.every(ms(300), ms(1000), ms(19_000), |story, at| {
        story.http(one, at, ms(40), "/", 500);
        story.http(two, at, ms(40), "/", 200);
    });
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::Unknown]);
    let told = format!("{:?}", diagnosis.findings[0].evidence_for);
    assert!(told.contains("not the database"), "{told}");
}

/// A statement somebody cancelled and a mistyped password: whatever ran then is not their cause.
#[test]
fn two_failures_accuse_nobody() {
    let (mut story, [one, two]) = healthy();
    let slow = story.statement("SELECT count(*) FROM orders");
    let connection = story.connection(one, ms(0), ms(20_000));
    let cancelled = Ask::at(ms(4000)).of(slow).server(ms(500)).error(SqlState::QUERY_CANCELED);
    story.request(connection, cancelled);
    story.failed_connect(two, Ask::at(ms(9000)).error(SqlState::INVALID_PASSWORD));
    assert_eq!(causes(&diagnose(story)), [Cause::Unknown]);
}
