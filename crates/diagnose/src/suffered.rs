//! Which HTTP requests suffered from what is found: some of them by name, so that one can look
//! them up in the router's log or with `surgetank record requests --id`.

use std::collections::BTreeSet;

use trace::{Event, Micros, Request, SessionId};

use crate::failures::{Failures, Lack, failed};
use crate::finding::{Cause, Evidence};
use crate::journeys::{Journey, ToldBy, journeys};
use crate::story::Story;
use crate::words;

/// So many are named.
const NAMED: usize = 3;

/// Of the failed HTTP requests, those whose own database requests lacked what the cause takes
/// away; nothing if none can be joined with its database requests.
pub(crate) fn evidence(
    events: &[Event],
    story: &Story<'_>,
    failures: &Failures<'_>,
    cause: Cause,
) -> Option<Evidence> {
    if !story.http.iter().any(|served| failed(served)) {
        return None;
    }
    let lacking = lacking(failures, cause);
    let of_it = |request: &&&Request| lacking.contains(&key(request));
    let all = journeys(events);
    let mut suffered: Vec<(&Journey<'_>, usize)> = all
        .iter()
        .filter(|journey| failed(journey.http))
        .map(|journey| (journey, journey.database.iter().filter(of_it).count()))
        .filter(|(_, lacked)| *lacked > 0)
        .collect();
    if suffered.is_empty() {
        return None;
    }
    // Those that a trace tells first, then those that lost most; of equals the earliest.
    suffered.sort_by_key(|(journey, lacked)| {
        let by_time = journey.told_by != ToldBy::Trace;
        (by_time, std::cmp::Reverse(*lacked), journey.http.at)
    });
    let named = suffered.iter().take(NAMED).map(|(journey, lacked)| name(story, journey, *lacked));
    let named: Vec<String> = named.collect();
    let failed_in_all = all.iter().filter(|journey| failed(journey.http)).count();
    let measured = format!("{}: {}", words::of(suffered.len(), failed_in_all), named.join("; "));
    let traced = suffered.iter().filter(|(journey, _)| journey.told_by == ToldBy::Trace).count();
    let source = format!(
        "HTTP requests joined with their database requests, {} by trace, the others by time",
        words::of(traced, suffered.len())
    );
    let claim = "users were answered with errors because their own database requests failed";
    Some(words::evidence(claim, measured, source))
}

/// `GET /checkout 500 H12 (web.1, request_id=…, 2 of 3 database requests failed)`
fn name(story: &Story<'_>, journey: &Journey<'_>, lacked: usize) -> String {
    let http = journey.http;
    let dyno = story.names.get(&http.dyno).copied().unwrap_or_default();
    let code = if http.code.is_empty() { String::new() } else { format!(" {}", http.code) };
    let id = match &*http.request_id {
        "" => String::new(),
        id => format!(", request_id={id}"),
    };
    let of = words::of(lacked, journey.database.len());
    let (method, path, status) = (&http.method, &http.path, http.status);
    format!("{method} {path} {status}{code} ({dyno}{id}, {of} database requests failed)")
}

/// What tells a request from all others.
fn key(request: &Request) -> (SessionId, Micros, Micros) {
    (request.session, request.arrived, request.done)
}

/// The failed database requests that lacked what this cause takes away.
fn lacking(failures: &Failures<'_>, cause: Cause) -> BTreeSet<(SessionId, Micros, Micros)> {
    let of_it = failures.list.iter().filter(|failure| takes_away(cause, failure.lack));
    of_it.filter_map(|failure| failure.request).map(key).collect()
}

fn takes_away(cause: Cause, lack: Lack) -> bool {
    match cause {
        Cause::SlotExhaustion => matches!(lack, Lack::Slot | Lack::Lease),
        Cause::LongStatement | Cause::MissingIndex => {
            matches!(lack, Lack::Slot | Lack::Lease | Lack::Time | Lack::Lock)
        }
        Cause::LockPileUp => {
            matches!(lack, Lack::Lock | Lack::Time | Lack::Slot | Lack::Lease)
        }
        Cause::IdleInTransaction => {
            matches!(lack, Lack::Activity | Lack::Lock | Lack::Slot | Lack::Lease)
        }
        Cause::ServerDown => lack == Lack::Server,
        Cause::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use recording::Recording;
    use testkit::golden::{Story, ms};

    use crate::diagnose;

    #[test]
    fn requests_that_suffered_are_named() {
        let mut story = Story::new();
        story.setting("max_connections", "13");
        story.setting("superuser_reserved_connections", "3");
        let (hog, other) = (story.dyno("web.1"), story.dyno("web.2"));
        for _ in 0..10 {
            story.connection(hog, ms(0), ms(60_000));
        }
        for second in 1..40 {
            story.refused_connect(other, ms(second * 1000));
            story.http(other, ms(second * 1000 + 20), ms(30), "/checkout", 500);
        }
        // Nothing failed behind this one: it is not named.
        story.http(other, ms(50_500), ms(10), "/broken", 500);
        let diagnosis = diagnose(&Recording::from_events(story.events()));
        let top = diagnosis.top().expect("a finding");
        let named = top.evidence_for.iter().find(|it| it.measured.contains("/checkout"));
        let named = named.unwrap_or_else(|| panic!("{top:#?}"));
        assert!(
            named.measured.starts_with("39 of 40: GET /checkout 500 H13 (web.2, "),
            "{named:?}"
        );
        assert!(named.measured.contains("1 of 1 database requests failed"), "{named:?}");
        assert!(!named.measured.contains("/broken"), "{named:?}");
        assert_eq!(named.measured.matches("/checkout").count(), super::NAMED);
        assert!(named.source.contains("0 of 39 by trace"), "{named:?}");
    }
}
