use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use trace::{BackendPid, Blame, DynoId, Outcome, Request, SessionId, TransactionState};

use super::*;
use crate::mix::{Body, Mix};
use crate::schedule::{Ramp, Schedule};

const SERVICE: Micros = Micros::from_millis(20);

fn served(arrived: Micros, method: &str, path: &str) -> Event {
    Event::HttpServed(Box::new(HttpServed {
        at: arrived + SERVICE,
        dyno: DynoId(1),
        method: method.into(),
        path: path.into(),
        status: 200,
        code: "".into(),
        service: SERVICE,
        request_id: "".into(),
        trace: trace::TraceId::NONE,
    }))
}

fn asked(arrived: Micros, statement: u64, kind: RequestKind) -> Event {
    Event::Request(Request {
        session: SessionId(1),
        dyno: DynoId(1),
        kind,
        statement: Fingerprint(statement),
        backend: BackendPid(9),
        arrived,
        assigned: arrived,
        sent: arrived,
        first_byte: arrived,
        done: arrived,
        bytes_in: 0,
        bytes_out: 0,
        rows: 0,
        outcome: Outcome::Ok,
        blame: Blame::Nobody,
        transaction: TransactionState::Idle,
    })
}

fn http(events: &[Event]) -> Workload<HttpClass> {
    from_events(events, |_| None).unwrap().http.unwrap()
}

/// What a recording of `seconds` of this model would hold.
fn recorded(model: &Model, seed: u64, seconds: u64) -> Vec<Event> {
    let workload = model.http.as_ref().unwrap();
    let ramp = Ramp::constant(workload.rate, Duration::from_secs(seconds));
    let schedule = Schedule::new(ramp, seed).with_dispersion(workload.dispersion);
    let mix = Mix::http(model).unwrap();
    schedule
        .arrivals(&mix)
        .map(|arrival| match arrival.request.body {
            Body::Http { method, path } => {
                served(Micros::from_duration(arrival.offset), method.as_str(), &path)
            }
            Body::Sql { .. } => panic!("an HTTP mix drew a statement"),
        })
        .collect()
}

fn shop() -> Model {
    let classes = vec![
        HttpClass::numbered("GET", "/checkout?customer={}", 0.6, &[Range { from: 1, to: 20_000 }]),
        HttpClass::numbered("GET", "/product/{}", 0.25, &[Range { from: 1, to: 50 }]),
        HttpClass::fixed("GET", "/popular", 0.1),
        HttpClass::fixed("POST", "/popular", 0.05),
    ];
    Model::of_http(40.0, classes)
}

#[test]
fn the_model_of_a_recording_has_its_mix_and_rate() {
    let learnt = http(&recorded(&shop(), 11, 300));
    let share = |classes: &[HttpClass], class: &HttpClass| {
        let same = |other: &&HttpClass| {
            (&other.method, &other.template) == (&class.method, &class.template)
        };
        classes.iter().find(same).map_or(0.0, |class| class.share)
    };
    let truth = shop().http.unwrap();
    assert_eq!(learnt.classes.len(), truth.classes.len());
    let distance =
        truth.classes.iter().map(|class| (class.share - share(&learnt.classes, class)).abs());
    let total_variation = distance.sum::<f64>() / 2.0;
    assert!(total_variation < 0.02, "total variation {total_variation}");
    assert!((learnt.rate / 40.0 - 1.0).abs() < 0.05, "rate {}", learnt.rate);
    assert_eq!(learnt.dispersion, 1.0, "Poisson arrivals are learnt as such");
}

#[test]
fn a_learnt_model_can_be_learnt_again() {
    let once = from_events(&recorded(&shop(), 11, 300), |_| None).unwrap();
    let twice = http(&recorded(&once, 12, 300));
    let once = once.http.unwrap();
    for (a, b) in once.classes.iter().zip(&twice.classes) {
        assert_eq!((&a.method, &a.template), (&b.method, &b.template));
        assert!((a.share - b.share).abs() < 0.02, "{}: {} and {}", a.template, a.share, b.share);
    }
}

#[test]
fn values_that_hardly_repeat_become_a_range_and_others_keep_their_popularity() {
    let learnt = http(&recorded(&shop(), 11, 300));
    let values = |template: &str| {
        &learnt.classes.iter().find(|class| class.template == template).unwrap().values
    };
    let Values::Ranges(ranges) = values("/checkout?customer={}") else { panic!("not a range") };
    assert!(ranges[0].from < 20 && ranges[0].to > 19_980, "{ranges:?}");
    let Values::Observed(paths) = values("/product/{}") else { panic!("not observed") };
    assert_eq!(paths.len(), 50);
    assert!(paths.is_sorted_by(|a, b| a.count >= b.count));
    assert_eq!(values("/popular"), &Values::Fixed);
}

#[test]
fn words_are_kept_as_observed_even_when_they_never_repeat() {
    let events: Vec<Event> = (0..1_500)
        .map(|n| served(Micros::from_millis(n), "GET", &format!("/search?q=word{n}")))
        .collect();
    let Values::Observed(paths) = &http(&events).classes[0].values else { panic!("not observed") };
    assert_eq!(paths.len(), PATHS, "bounded");
}

#[test]
fn bursts_are_learnt_as_dispersion() {
    let mut model = shop();
    model.http.as_mut().unwrap().dispersion = 6.0;
    let learnt = http(&recorded(&model, 5, 600));
    assert!((3.5..8.5).contains(&learnt.dispersion), "{}", learnt.dispersion);
}

#[test]
fn a_slow_change_of_rate_is_no_burst() {
    let ramp = Ramp::linear(5.0, 80.0, Duration::from_secs(600));
    let events: Vec<Event> = Schedule::new(ramp, 2)
        .offsets()
        .map(|offset| served(Micros::from_duration(offset), "GET", "/"))
        .collect();
    assert_eq!(http(&events).dispersion, 1.0);
}

#[test]
fn statements_are_learnt_without_their_values() {
    let text = |fingerprint: Fingerprint| match fingerprint.0 {
        1 => Some("SELECT name FROM customers WHERE id = $1"),
        2 => Some("UPDATE products SET stock = stock - $2 WHERE id = $1"),
        3 => Some("BEGIN"),
        _ => None,
    };
    let mut events = Vec::new();
    for second in 0..100 {
        let at = Micros::from_secs(second);
        events.push(asked(at, 3, RequestKind::Simple));
        events.extend((0..3).map(|_| asked(at, 1, RequestKind::Extended)));
        events.push(asked(at, 2, RequestKind::Extended));
        events.push(asked(at, 0, RequestKind::Connect));
        events.push(asked(at, 99, RequestKind::Simple));
    }
    let model = from_events(&events, text).unwrap();
    assert_eq!(model.http, None);
    let sql = model.sql.clone().unwrap();
    let classes: Vec<_> =
        sql.classes.iter().map(|class| (class.share, class.parameters.len())).collect();
    assert_eq!(classes, [(0.75, 1), (0.25, 2)], "transactions and unknown texts are left out");
    let told = Mix::sql(&model).unwrap_err().to_string();
    assert!(told.starts_with("no range for parameter $1 of `SELECT name"), "{told}");
    // Filled in by a person, it can be sent.
    let mut filled = model;
    for class in &mut filled.sql.as_mut().unwrap().classes {
        class.parameters.fill(Some(Range { from: 1, to: 10 }));
    }
    let request = Mix::sql(&filled).unwrap().draw(&mut ChaCha8Rng::seed_from_u64(1));
    assert!(matches!(request.body, Body::Sql { .. }));
}

#[test]
fn a_recording_without_requests_teaches_nothing() {
    let events = [Event::Marked { at: Micros(1), text: "start".into() }];
    assert!(matches!(from_events(&events, |_| None), Err(Error::NothingToLearn)));
}

#[test]
fn one_request_is_a_model_too() {
    let learnt = http(&[served(Micros(5), "GET", "/")]);
    assert_eq!((learnt.rate, learnt.dispersion), (1.0, 1.0));
}
