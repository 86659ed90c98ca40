//! The queue as a table: what happens, and who has a lease then.

use super::*;

const WEB: DynoId = DynoId(1);
const WORKER: DynoId = DynoId(2);

fn granted(verdict: Verdict) -> Ticket {
    match verdict {
        Verdict::Granted(ticket) => ticket,
        Verdict::Queued(ticket) => panic!("{ticket:?} was queued"),
    }
}

fn queued(verdict: Verdict) -> Ticket {
    match verdict {
        Verdict::Queued(ticket) => ticket,
        Verdict::Granted(ticket) => panic!("{ticket:?} was granted"),
    }
}

#[test]
fn the_queue_is_first_come_first_served() {
    let mut admission = Admission::new(2);
    granted(admission.request(WEB));
    granted(admission.request(WORKER));
    let third = queued(admission.request(WEB));
    let fourth = queued(admission.request(WORKER));
    assert_eq!((admission.leased(), admission.waiting()), (2, 2));

    assert_eq!(admission.release(WORKER), Some(third));
    assert_eq!(admission.holders(), [(WEB, 2)]);
    assert_eq!(admission.release(WEB), Some(fourth));
    assert_eq!(admission.release(WEB), None);
    assert_eq!(admission.release(WORKER), None);
    assert_eq!((admission.leased(), admission.waiting()), (0, 0));
    assert_eq!(admission.holders(), []);
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let mut admission = Admission::new(1);
    granted(admission.request(WEB));
    let second = queued(admission.request(WEB));
    assert_eq!(admission.release(WEB), Some(second));
    queued(admission.request(WORKER));
}

#[test]
fn who_waits_no_longer_leaves_no_gap() {
    let mut admission = Admission::new(1);
    granted(admission.request(WEB));
    let second = queued(admission.request(WEB));
    let third = queued(admission.request(WORKER));
    assert!(admission.withdraw(second));
    assert_eq!(admission.release(WEB), Some(third));
    assert!(!admission.withdraw(third), "it was granted: the lease must be released");
    assert_eq!(admission.release(WORKER), None);
}

#[test]
fn holders_are_named_most_first() {
    let mut admission = Admission::new(6);
    for dyno in [3, 1, 3, 3, 1, 3] {
        granted(admission.request(DynoId(dyno)));
    }
    assert_eq!(admission.holders(), [(DynoId(3), 4), (DynoId(1), 2)]);
}

#[test]
fn a_refusal_by_postgresql_is_not_an_outage() {
    let mut admission = Admission::new(4);
    let start = Micros::from_secs(1);
    let tickets: Vec<Ticket> = (0..4).map(|_| granted(admission.request(WEB))).collect();
    let late = queued(admission.request(WORKER));

    let until = start + Micros::from_millis(250);
    // Two are open; PostgreSQL has no slot for the third and the fourth.
    assert_eq!(admission.refused((tickets[2], WEB), 2, until, Rise::Steadily), None);
    assert_eq!(admission.refused((tickets[3], WEB), 2, until, Rise::Steadily), None);
    assert_eq!((admission.leased(), admission.waiting()), (2, 3));

    // Those refused keep their places before the late one.
    assert_eq!(admission.release(WEB), Some(tickets[2]));
    // Nothing rises before its time; then one at a time.
    assert_eq!(admission.tick(start + Micros::from_millis(100)), None);
    assert_eq!(admission.tick(start + Micros::from_millis(250)), Some(tickets[3]));
    assert_eq!(admission.tick(start + Micros::from_millis(300)), None);
    assert_eq!(admission.tick(start + Micros::from_millis(350)), Some(late));
    assert_eq!(admission.leased(), 4);
    // The limit is reached: the ceiling is forgotten.
    assert_eq!(admission.ceiling, None);
}

#[test]
fn with_no_connection_open_at_all_the_first_in_the_queue_tries_again() {
    let mut admission = Admission::new(4);
    let start = Micros::from_secs(1);
    let first = granted(admission.request(WEB));
    assert_eq!(admission.refused((first, WEB), 0, start, Rise::Steadily), None);
    assert_eq!(admission.leased(), 0);
    queued(admission.request(WORKER));
    assert_eq!(admission.tick(start + Micros::from_secs(1)), Some(first));
}

#[test]
fn an_outage_lets_one_try_and_its_end_lets_all_in() {
    let mut admission = Admission::new(3);
    let until = Micros::from_secs(1);
    let tickets: Vec<Ticket> = (0..3).map(|_| granted(admission.request(WEB))).collect();
    for ticket in &tickets {
        assert_eq!(admission.refused((*ticket, WEB), 0, until, Rise::Once), None);
    }
    let late = queued(admission.request(WORKER));
    assert_eq!(admission.tick(until), Some(tickets[0]));
    // However long the trial takes, nobody else tries.
    assert_eq!(admission.tick(until + Micros::from_secs(60)), None);
    assert_eq!(admission.lift(), tickets[1..]);
    assert_eq!(admission.release(WEB), Some(late));
}
