//! A lookup without an index holds the pool.

use diagnose::finding::{Action, Cause, Resource};
use testkit::golden::{Ask, Story, ms};
use trace::SqlState;

use crate::world::{
    BY_KEY, Dice, Job, LOOKUP, causes, culprit_statement, diagnose, no_index, serve,
};

fn lookups(step: usize, with_plan: bool) -> Story {
    let mut story = Story::new();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    let (by_key, lookup) = (story.statement(BY_KEY), story.statement(LOOKUP));
    if with_plan {
        no_index(&mut story, lookup, ms(30_000));
    }
    let mut dice = Dice(5);
    let mut jobs = Vec::new();
    for at in (0..30_000).step_by(step) {
        let dyno = if dice.roll(2) == 0 { one } else { two };
        jobs.push(Job::new(ms(at), dyno, lookup, ms(60 + dice.roll(40))));
        jobs.push(Job::new(ms(at + 7), dyno, by_key, ms(1)));
    }
    serve(&mut story, 5, ms(400), jobs);
    story
}

#[test]
fn a_pool_busy_with_sequential_scans_asks_for_an_index() {
    let diagnosis = diagnose(lookups(12, true));
    assert!(diagnosis.totals.database_failures > 300);
    assert_eq!(causes(&diagnosis), [Cause::MissingIndex]);
    assert_eq!(culprit_statement(&diagnosis), Some(LOOKUP));
    let top = diagnosis.top().expect("found");
    assert_eq!(top.culprit.resource.as_deref(), Some("public.orders (customer_id)"));
    assert!(top.confidence > 0.9, "{}", top.confidence);
    let Action::CreateIndex { table, columns, .. } = &diagnosis.advice[0].action else {
        panic!("no index: {:#?}", diagnosis.advice);
    };
    assert_eq!((&**table, &**columns), ("public.orders", &["customer_id".to_owned()][..]));
}

/// Marginal: just above what the pool can do.
#[test]
fn a_slight_overload_says_the_same_with_less_confidence() {
    let diagnosis = diagnose(lookups(15, true));
    let failures = diagnosis.totals.database_failures;
    assert!((1..600).contains(&failures), "{failures}");
    assert_eq!(diagnosis.top().map(|top| top.cause), Some(Cause::MissingIndex));
}

#[test]
fn without_a_plan_it_is_unknown_and_the_gap_is_told() {
    let diagnosis = diagnose(lookups(12, false));
    assert_eq!(causes(&diagnosis), [Cause::Unknown]);
    assert!(diagnosis.gaps.iter().any(|gap| gap.starts_with("No plans")));
    assert!(diagnosis.advice.is_empty());
}

#[test]
fn a_statement_timeout_is_the_statement_s_own() {
    let mut story = Story::new();
    let web = story.dyno("web.1");
    let lookup = story.statement(LOOKUP);
    no_index(&mut story, lookup, ms(30_000));
    let held = story.connection(web, ms(0), ms(30_000));
    story.every(ms(1000), ms(100), ms(29_000), |story, at| {
        let ask = Ask::at(at).of(lookup).server(ms(500));
        let timed_out = at.0 % 3 == 0;
        story.request(held, if timed_out { ask.error(SqlState::QUERY_CANCELED) } else { ask });
    });
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::MissingIndex]);
    assert_eq!(diagnosis.blame.len(), 1);
    assert_eq!(diagnosis.blame[0].resource, Resource::Execution);
}
