//! Refused connects: who held the slots?

use diagnose::finding::Cause;
use testkit::golden::{Ask, Story, ms};
use trace::{BackendPid, BackendSample, Fingerprint, Micros};

use crate::world::{BY_KEY, causes, culprit_dyno, culprit_statement, diagnose};

fn shop() -> Story {
    let mut story = Story::new();
    story.setting("max_connections", "20");
    story.setting("superuser_reserved_connections", "3");
    story
}

fn busy(story: &mut Story, dyno: trace::DynoId, count: usize, until: Micros) {
    let by_key = story.statement(BY_KEY);
    for connection in story.connections(count, dyno, ms(0), until) {
        story.every(ms(50), ms(10), until - ms(50), |story, at| {
            story.request(connection, Ask::at(at).of(by_key).server(ms(5)));
        });
    }
}

#[test]
fn idle_connections_take_slots_as_well() {
    let mut story = shop();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    busy(&mut story, one, 2, ms(20_000));
    story.connections(15, two, ms(0), ms(20_000));
    story.every(ms(100), ms(1000), ms(19_000), |story, at| story.refused_connect(one, at));
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::SlotExhaustion]);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.2"));
    assert_eq!(culprit_statement(&diagnosis), None);
}

#[test]
fn a_worker_can_be_starved_by_the_only_web_dyno() {
    let mut story = shop();
    let (web, worker) = (story.dyno("web.1"), story.dyno("worker.1"));
    busy(&mut story, web, 17, ms(20_000));
    story.every(ms(500), ms(1000), ms(19_000), |story, at| story.refused_connect(worker, at));
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::SlotExhaustion]);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.1"));
    assert_eq!(culprit_statement(&diagnosis), Some(BY_KEY));
}

/// Marginal: three refusals say the right thing, but not with certainty.
#[test]
fn few_refusals_give_little_confidence() {
    let mut story = shop();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    busy(&mut story, one, 2, ms(20_000));
    busy(&mut story, two, 15, ms(20_000));
    for at in [5000, 9000, 12_000] {
        story.refused_connect(one, ms(at));
    }
    let diagnosis = diagnose(story);
    assert_eq!(culprit_dyno(&diagnosis), Some("web.2"));
    let confidence = diagnosis.top().expect("found").confidence;
    assert!((0.3..0.6).contains(&confidence), "{confidence}");
}

#[test]
fn where_all_hold_their_share_no_dyno_is_named() {
    let mut story = shop();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    busy(&mut story, one, 8, ms(20_000));
    busy(&mut story, two, 8, ms(20_000));
    story.every(ms(200), ms(1000), ms(19_000), |story, at| {
        story.refused_connect(one, at);
        story.refused_connect(two, at + ms(90));
    });
    let diagnosis = diagnose(story);
    assert_eq!(causes(&diagnosis), [Cause::SlotExhaustion]);
    assert_eq!(culprit_dyno(&diagnosis), None);
}

#[test]
fn refusals_with_free_slots_are_doubted() {
    let mut story = shop();
    let (one, two) = (story.dyno("web.1"), story.dyno("web.2"));
    busy(&mut story, one, 1, ms(20_000));
    busy(&mut story, two, 4, ms(20_000));
    story.every(ms(200), ms(1000), ms(19_000), |story, at| story.refused_connect(one, at));
    let diagnosis = diagnose(story);
    let top = diagnosis.top().expect("found");
    assert_eq!(culprit_dyno(&diagnosis), None);
    assert!(top.confidence < 0.4, "{}", top.confidence);
    assert!(top.evidence_against.iter().any(|e| e.claim.contains("slots were free")));
}

#[test]
fn clients_outside_surgetank_are_seen_and_no_dyno_is_accused() {
    let mut story = shop();
    let one = story.dyno("web.1");
    busy(&mut story, one, 3, ms(20_000));
    story.every(ms(200), ms(1000), ms(19_000), |story, at| story.refused_connect(one, at));
    let events = story.events();
    let foreign = (1..=14).map(|pid| BackendSample {
        pid: BackendPid(pid),
        state: "idle".into(),
        wait: "Client:ClientRead".into(),
        transaction_age: Micros::ZERO,
        statement: Fingerprint::NONE,
        application: "metabase".into(),
    });
    let foreign: Vec<BackendSample> = foreign.collect();
    let events = events.into_iter().map(|event| match event {
        trace::Event::ActivitySampled(mut sample) => {
            sample.backends.extend(foreign.iter().cloned());
            trace::Event::ActivitySampled(sample)
        }
        other => other,
    });
    let diagnosis = diagnose::diagnose(&recording::Recording::from_events(events.collect()));
    assert_eq!(culprit_dyno(&diagnosis), None);
    assert_eq!(diagnosis.blame[0].dyno, "a client outside (metabase)");
    let top = diagnosis.top().expect("found");
    assert!(top.evidence_against.iter().any(|e| e.claim.contains("metabase")), "{top:#?}");
}
