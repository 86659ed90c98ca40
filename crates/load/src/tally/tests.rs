use super::*;
use crate::schedule::Ramp;

const STARTED: Micros = Micros(1_000_000_000);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn tally() -> Tally {
    let schedule = Schedule::new(Ramp::constant(1.0, Duration::from_secs(10)), 1);
    Tally::new(STARTED, schedule, vec!["GET /".into()])
}

/// A request due, sent and done at these milliseconds.
fn send(tally: &mut Tally, [intended, sent, done]: [u64; 3], outcome: Result<(), FailureKind>) {
    let [intended, sent, done] = [intended, sent, done].map(millis);
    tally.offer(0, intended);
    tally.end(&Ended { class: 0, intended, sent, done, outcome });
}

#[test]
fn latency_runs_from_the_intended_start() {
    let mut tally = tally();
    // Sent 40 ms late and answered in 5 ms: a customer waited 45 ms.
    send(&mut tally, [100, 140, 145], Ok(()));
    let result = tally.finish(millis(200));
    assert_eq!(result.latency.max().0 / 1_000, 45);
    assert_eq!(result.lag.max().0 / 1_000, 40);
    assert!(result.lagging());
}

#[test]
fn a_generator_that_keeps_its_schedule_does_not_lag() {
    let mut tally = tally();
    for intended in 0..100 {
        send(&mut tally, [intended, intended + 1, intended + 300], Ok(()));
    }
    assert!(!tally.finish(millis(500)).lagging());
}

#[test]
fn what_was_offered_is_completed_failed_or_unfinished() {
    let mut tally = tally();
    send(&mut tally, [0, 0, 10], Ok(()));
    send(&mut tally, [1, 1, 11], Err(FailureKind::Status(503)));
    send(&mut tally, [2, 2, 12], Err(FailureKind::Timeout));
    tally.offer(0, millis(3));
    tally.abandon(0, millis(3));
    tally.offer(0, millis(4));
    let result = tally.finish(millis(20));
    let counts = (result.offered, result.completed, result.failed, result.unfinished);
    assert_eq!(counts, (5, 1, 3, 1));
    assert_eq!(result.abandoned, 1);
    assert_eq!(result.latency.count(), 1);
    assert_eq!(result.latency_failed.count(), 2, "what was not sent has no latency");
    let kinds: Vec<(FailureKind, u64)> = result.failures_by_kind.clone().into_iter().collect();
    let expected =
        [(FailureKind::Status(503), 1), (FailureKind::Timeout, 1), (FailureKind::Abandoned, 1)];
    assert_eq!(kinds, expected);
    assert!((result.failed_share() - 0.6).abs() < 1e-12);
}

#[test]
fn a_request_belongs_to_the_second_it_was_due_in() {
    let mut tally = tally();
    send(&mut tally, [900, 900, 2_500], Ok(()));
    send(&mut tally, [3_100, 3_100, 3_110], Err(FailureKind::Refused));
    let seconds = tally.finish(millis(4_000)).seconds;
    let counts: Vec<_> = seconds.iter().map(|s| (s.at, s.offered, s.completed, s.failed)).collect();
    let at = |second| STARTED + Micros::from_secs(second);
    assert_eq!(counts, [(at(0), 1, 1, 0), (at(1), 0, 0, 0), (at(2), 0, 0, 0), (at(3), 1, 0, 1)]);
    assert_eq!(seconds[0].p50, Micros::from_millis(1_600));
}

#[test]
fn a_second_is_sealed_when_all_its_requests_have_ended() {
    let mut tally = tally();
    tally.offer(0, millis(500));
    send(&mut tally, [1_500, 1_500, 1_510], Ok(()));
    tally.seal(millis(2_100));
    assert_eq!(tally.snapshot(millis(2_100)).last_second, None, "one of second 0 is in flight");
    let [intended, sent, done] = [500, 500, 2_200].map(millis);
    tally.end(&Ended { class: 0, intended, sent, done, outcome: Ok(()) });
    tally.seal(millis(2_200));
    let last = tally.snapshot(millis(2_200)).last_second.unwrap();
    assert_eq!((last.at, last.completed), (STARTED + Micros::from_secs(1), 1));
    // Second 2 has begun: what is due in it finds its place behind the sealed ones.
    send(&mut tally, [2_900, 2_900, 2_950], Ok(()));
    assert_eq!(tally.finish(millis(3_000)).seconds.len(), 3);
}

#[test]
fn failures_are_found_by_when_they_were_due() {
    let mut tally = tally();
    send(&mut tally, [1_000, 1_000, 9_000], Err(FailureKind::Timeout));
    let result = tally.finish(millis(10_000));
    let window = |from: u64, to: u64| {
        result
            .failed_between(STARTED + Micros::from_millis(from), STARTED + Micros::from_millis(to))
    };
    assert_eq!(window(1_000, 1_001), 1, "the window holds its start");
    assert_eq!(window(0, 1_000), 0, "and not its end");
    assert_eq!(window(2_000, 10_000), 0, "when it failed does not matter");
}

#[test]
fn offered_requests_are_counted_from_the_schedule() {
    let schedule = Schedule::new(Ramp::constant(100.0, Duration::from_secs(10)), 5);
    let mut tally = Tally::new(STARTED, schedule.clone(), vec!["GET /".into()]);
    // Cancelled after 300 requests.
    for offset in schedule.offsets().take(300) {
        tally.offer(0, offset);
    }
    let result = tally.finish(Duration::from_secs(3));
    let half = STARTED + Micros::from_secs(1);
    let end = STARTED + Micros::from_secs(10);
    let early = result.offered_between(STARTED, half);
    assert!((60..140).contains(&early), "{early}");
    assert_eq!(early + result.offered_between(half, end), 300);
}

#[test]
fn ranks_are_the_nearest() {
    let times = |count| (1..=count).map(Micros).collect::<Vec<_>>();
    assert_eq!(nearest_rank(&[], 50), Micros::ZERO);
    assert_eq!(nearest_rank(&times(1), 99), Micros(1));
    assert_eq!(nearest_rank(&times(100), 50), Micros(50));
    assert_eq!(nearest_rank(&times(101), 99), Micros(100));
}
