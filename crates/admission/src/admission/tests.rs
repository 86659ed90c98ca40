//! The queue as a table: what happens, and who may begin then. Random programs are in
//! `tests/programs.rs`.

use super::*;

const WEB: DynoId = DynoId(1);
const WORKER: DynoId = DynoId(2);
const REPORT: Fingerprint = Fingerprint(7);

/// A law that never moves.
#[derive(Debug)]
struct Fixed(Decision);

impl Governor for Fixed {
    fn decision(&self) -> Decision {
        self.0
    }

    fn slot_ended(&mut self, _: &crate::Window) -> Decision {
        self.0
    }

    fn refused(&mut self, _: Micros) -> Decision {
        self.0
    }

    fn restarted(&mut self, _: Micros) -> Decision {
        self.0
    }
}

fn adaptive(cap: u32, limit: u32, long: u32) -> Admission {
    Admission::new(cap, Some(fixed(limit, long)))
}

fn fixed(limit: u32, long: u32) -> Box<Fixed> {
    let (slot, settle) = (Micros::from_millis(40), Micros::ZERO);
    Box::new(Fixed(Decision { limit, long, slot, settle }))
}

fn at(millis: u64) -> Micros {
    Micros::from_millis(1000 + millis)
}

fn ask(dyno: DynoId, now: Micros) -> Ask {
    Ask { dyno, statement: Fingerprint::NONE, arrived: now, until: now + Micros::from_secs(5) }
}

fn request(admission: &mut Admission, dyno: DynoId, now: Micros) -> Verdict {
    admission.request(ask(dyno, now), now)
}

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

fn all_next(admission: &mut Admission, now: Micros) -> Vec<Ticket> {
    std::iter::from_fn(|| admission.next(now)).collect()
}

fn end(admission: &mut Admission, ticket: Ticket, now: Micros) -> Vec<Ticket> {
    admission.end(ticket, Some(Fingerprint::NONE), now);
    all_next(admission, now)
}

/// Ends without anything learnt: costs stay equal.
fn lose(admission: &mut Admission, ticket: Ticket, now: Micros) -> Vec<Ticket> {
    admission.end(ticket, None, now);
    all_next(admission, now)
}

#[test]
fn one_dyno_is_served_first_come_first_served() {
    let mut admission = Admission::new(2, None);
    let first = granted(request(&mut admission, WEB, at(0)));
    let second = granted(request(&mut admission, WEB, at(0)));
    let third = queued(request(&mut admission, WEB, at(1)));
    let fourth = queued(request(&mut admission, WEB, at(2)));
    assert_eq!((admission.held(), admission.waiting()), (2, 2));

    assert_eq!(end(&mut admission, second, at(3)), [third]);
    assert_eq!(admission.holders(), [(WEB, 2)]);
    assert_eq!(end(&mut admission, third, at(4)), [fourth]);
    assert_eq!(end(&mut admission, first, at(5)), []);
    assert_eq!(end(&mut admission, fourth, at(6)), []);
    assert_eq!((admission.held(), admission.waiting()), (0, 0));
    assert_eq!(admission.holders(), []);
}

#[test]
fn a_dyno_with_few_requests_does_not_wait_behind_one_with_many() {
    let mut admission = Admission::new(1, None);
    let mut running = granted(request(&mut admission, WEB, at(0)));
    for _ in 0..10 {
        queued(request(&mut admission, WEB, at(0)));
    }
    let other = queued(request(&mut admission, WORKER, at(1)));
    let mut place = 0;
    while running != other {
        running = end(&mut admission, running, at(10 + place))[0];
        place += 1;
    }
    assert!(place <= 2, "it was number {place}");
}

/// Which of two dynos that always wait are served, one transaction at a time.
fn served(transactions: usize, took: Micros) -> Vec<DynoId> {
    let mut admission = Admission::new(1, None);
    let mut now = at(0);
    let mut running = granted(request(&mut admission, WEB, now));
    for dyno in [WEB, WORKER, WORKER] {
        queued(request(&mut admission, dyno, now));
    }
    let mut served = Vec::new();
    for _ in 0..transactions {
        now = now + took;
        let (dyno, _) = admission.holders()[0];
        served.push(dyno);
        running = end(&mut admission, running, now)[0];
        queued(request(&mut admission, dyno, now));
    }
    served
}

#[test]
fn a_dyno_goes_on_for_a_short_turn_and_gains_nothing_by_it() {
    let short = served(300, Micros(300));
    let changes = short.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((10..100).contains(&changes), "{changes} changes from one to the other");
    let mut ahead = 0_i32;
    for dyno in short {
        ahead += if dyno == WEB { 1 } else { -1 };
        assert!(ahead.abs() <= 10, "{dyno:?} is {ahead} ahead");
    }
    // What takes longer than a turn is served in turns of one.
    let long = served(40, Micros::from_millis(10));
    assert!(long[4..].windows(2).all(|pair| pair[0] != pair[1]), "{long:?}");
}

#[test]
fn what_a_jam_took_shuts_no_dyno_out() {
    let mut admission = adaptive(100, 16, 2);
    let jam: Vec<Ticket> = (0..15).map(|_| granted(request(&mut admission, WEB, at(0)))).collect();
    let other = granted(request(&mut admission, WORKER, at(0)));
    let _ = end(&mut admission, other, at(1));
    // Fifteen waited for each other, nearly four seconds in all.
    jam.into_iter().for_each(|one| assert_eq!(end(&mut admission, one, at(240)), []));
    admission.set_law(Some(fixed(1, 2)));
    let mut running = granted(request(&mut admission, WORKER, at(240)));
    let first = queued(request(&mut admission, WEB, at(240)));
    let mut now = 240;
    while running != first {
        now += 1;
        queued(request(&mut admission, WORKER, at(now)));
        admission.tick(at(now));
        running = end(&mut admission, running, at(now))[0];
    }
    assert!((1240..1500).contains(&now), "{now} ms");
}

#[test]
fn who_waits_no_longer_leaves_no_gap() {
    let mut admission = Admission::new(1, None);
    let first = granted(request(&mut admission, WEB, at(0)));
    let second = queued(request(&mut admission, WEB, at(0)));
    let third = queued(request(&mut admission, WEB, at(0)));
    assert!(admission.withdraw(second, at(1)));
    assert!(!admission.withdraw(second, at(1)), "it is gone");
    assert_eq!(end(&mut admission, first, at(2)), [third]);
    assert!(!admission.withdraw(third, at(3)), "it was granted: its place must be ended");
    assert_eq!(end(&mut admission, third, at(4)), []);
    // A ticket that was used again for another transaction is not the old one.
    let fourth = granted(request(&mut admission, WEB, at(5)));
    admission.end(third, None, at(6));
    assert_eq!(admission.held(), 1);
    assert_eq!(end(&mut admission, fourth, at(7)), []);
}

#[test]
fn holders_are_named_most_first() {
    let mut admission = Admission::new(6, None);
    for dyno in [3, 1, 3, 3, 1, 3] {
        granted(request(&mut admission, DynoId(dyno), at(0)));
    }
    assert_eq!(admission.holders(), [(DynoId(3), 4), (DynoId(1), 2)]);
}

#[test]
fn what_idles_in_a_transaction_does_not_count_as_executing() {
    let mut admission = adaptive(3, 1, 2);
    let first = granted(request(&mut admission, WEB, at(0)));
    let second = queued(request(&mut admission, WEB, at(1)));
    admission.rests(first, Fingerprint::NONE, at(2));
    // For longer than a pause, that is.
    admission.tick(at(6));
    assert_eq!(all_next(&mut admission, at(6)), [second]);
    admission.rests(second, Fingerprint::NONE, at(7));
    let third = granted(request(&mut admission, WEB, at(10)));
    // The cap on connections holds for idle ones too.
    admission.rests(third, Fingerprint::NONE, at(11));
    let fourth = queued(request(&mut admission, WEB, at(15)));
    // Statements of open transactions wait for nobody, whatever the limit.
    for ticket in [first, second, third] {
        admission.works(ticket, at(16));
    }
    assert_eq!(admission.levels().counts, Counts { executing: 3, long: 0, idle: 0, pausing: 0 });
    assert_eq!(end(&mut admission, first, at(17)), [], "two execute where one may");
    assert_eq!(end(&mut admission, second, at(18)), []);
    assert_eq!(end(&mut admission, third, at(19)), [fourth]);
}

#[test]
fn a_transaction_keeps_its_place_through_a_short_pause() {
    let mut admission = adaptive(9, 2, 2);
    let [one, other] = [0; 2].map(|time| granted(request(&mut admission, WEB, at(time))));
    let third = queued(request(&mut admission, WEB, at(1)));
    assert_eq!(admission.place_freed(), None, "both execute");
    // Statements take 4 ms here: a pause lasts 8.
    admission.rests(one, Fingerprint::NONE, at(4));
    assert_eq!(all_next(&mut admission, at(4)), []);
    assert_eq!(admission.place_freed(), Some(at(12)));
    admission.works(one, at(11));
    assert_eq!(admission.place_freed(), None);
    admission.rests(one, Fingerprint::NONE, at(15));
    assert_eq!(admission.levels().counts, Counts { executing: 1, long: 0, idle: 1, pausing: 1 });
    admission.tick(at(22));
    assert_eq!(all_next(&mut admission, at(22)), []);
    admission.tick(at(23));
    assert_eq!(all_next(&mut admission, at(23)), [third]);
    assert_eq!(admission.place_freed(), None, "nobody waits");
    // Back from a long pause it executes beside those who may.
    admission.works(one, at(24));
    assert_eq!(admission.levels().counts, Counts { executing: 3, long: 0, idle: 0, pausing: 0 });
    admission.rests(other, Fingerprint::NONE, at(25));
    assert_eq!(end(&mut admission, other, at(26)), []);
    assert_eq!(admission.levels().counts, Counts { executing: 2, long: 0, idle: 0, pausing: 0 });
}

#[test]
fn a_statement_that_turns_out_to_be_long_makes_room() {
    let mut admission = adaptive(9, 1, 2);
    let report = granted(request(&mut admission, WORKER, at(0)));
    let second = queued(request(&mut admission, WEB, at(0)));
    admission.tick(at(249));
    assert_eq!(all_next(&mut admission, at(249)), []);
    admission.tick(at(250));
    assert_eq!(all_next(&mut admission, at(250)), [second]);
    assert_eq!(admission.levels().counts, Counts { executing: 1, long: 1, idle: 0, pausing: 0 });
    assert_eq!(end(&mut admission, report, at(900)), []);
    assert_eq!(admission.levels().counts, Counts { executing: 0, long: 1, idle: 0, pausing: 0 });
}

#[test]
fn long_ones_above_their_limit_count_as_short() {
    let mut admission = adaptive(9, 2, 1);
    for _ in 0..2 {
        granted(request(&mut admission, WORKER, at(0)));
    }
    let waiting: Vec<Ticket> =
        (0..3).map(|_| queued(request(&mut admission, WEB, at(1)))).collect();
    admission.tick(at(300));
    // Two are long: one of them in the lane, the other in a place of a short one.
    assert_eq!(all_next(&mut admission, at(300)), waiting[..1]);
}

#[test]
fn a_statement_known_to_be_long_waits_for_its_own_lane_only() {
    let mut admission = adaptive(9, 4, 1);
    let report = |now| Ask { statement: REPORT, ..ask(WORKER, now) };
    // It is known once it was seen.
    let first = granted(admission.request(report(at(0)), at(0)));
    admission.end(first, Some(REPORT), at(3000));
    let running = granted(admission.request(report(at(3001)), at(3001)));
    assert_eq!(admission.levels().counts, Counts { executing: 0, long: 1, idle: 0, pausing: 0 });
    let waiting = queued(admission.request(report(at(3002)), at(3002)));
    // The short ones pass, and it gets its turn nevertheless.
    for _ in 0..4 {
        granted(request(&mut admission, WEB, at(3003)));
    }
    queued(request(&mut admission, WEB, at(3004)));
    admission.end(running, Some(REPORT), at(3010));
    assert_eq!(all_next(&mut admission, at(3010)), [waiting]);
}

#[test]
fn opening_a_connection_is_no_statement() {
    let mut admission = adaptive(9, 4, 1);
    let first = granted(request(&mut admission, WEB, at(0)));
    admission.tick(at(400));
    assert_eq!(admission.levels().counts, Counts { executing: 0, long: 1, idle: 0, pausing: 0 });
    admission.connected(first, at(500));
    assert_eq!(admission.levels().counts, Counts { executing: 1, long: 0, idle: 0, pausing: 0 });
    // One that is known to be long stays in its lane.
    admission.end(first, Some(REPORT), at(3500));
    let report = Ask { statement: REPORT, ..ask(WEB, at(3500)) };
    let second = granted(admission.request(report, at(3500)));
    admission.connected(second, at(3600));
    assert_eq!(admission.levels().counts, Counts { executing: 0, long: 1, idle: 0, pausing: 0 });
}

#[test]
fn a_refusal_by_postgresql_is_not_an_outage() {
    let mut admission = Admission::new(4, None);
    let tickets: Vec<Ticket> =
        (0..4).map(|_| granted(request(&mut admission, WEB, at(0)))).collect();
    let late = queued(request(&mut admission, WEB, at(0)));

    // Two are open; PostgreSQL has no slot for the third and the fourth.
    for ticket in [tickets[3], tickets[2]] {
        admission.refused(ticket, (2, at(250), Rise::Steadily), at(0));
        assert_eq!(all_next(&mut admission, at(0)), []);
    }
    assert_eq!((admission.held(), admission.waiting()), (2, 3));

    // Those refused keep their places before the late one.
    assert_eq!(lose(&mut admission, tickets[0], at(10)), [tickets[2]]);
    // Nothing rises before its time; then one at a time.
    let next_at = |admission: &mut Admission, millis| {
        admission.tick(at(millis));
        all_next(admission, at(millis))
    };
    assert_eq!(next_at(&mut admission, 100), []);
    assert_eq!(next_at(&mut admission, 250), [tickets[3]]);
    assert_eq!(next_at(&mut admission, 300), []);
    assert_eq!(next_at(&mut admission, 350), [late]);
    assert_eq!(admission.held(), 4);
    // The cap is reached: the ceiling is forgotten.
    assert_eq!(admission.ceiling, None);
}

#[test]
fn an_outage_lets_one_try_and_its_end_lets_all_in() {
    let mut admission = Admission::new(3, None);
    let tickets: Vec<Ticket> =
        (0..3).map(|_| granted(request(&mut admission, WEB, at(0)))).collect();
    for ticket in &tickets {
        admission.refused(*ticket, (0, at(50), Rise::Once), at(0));
        assert_eq!(all_next(&mut admission, at(0)), []);
    }
    let late = queued(request(&mut admission, WEB, at(0)));
    admission.tick(at(50));
    assert_eq!(all_next(&mut admission, at(50)), [tickets[0]]);
    // However long the trial takes, nobody else tries.
    admission.tick(at(60_000));
    assert_eq!(all_next(&mut admission, at(60_000)), []);
    admission.lift(at(60_001));
    assert_eq!(all_next(&mut admission, at(60_001)), tickets[1..]);
    assert_eq!(lose(&mut admission, tickets[0], at(60_002)), [late]);
}

#[test]
fn only_where_clients_give_up_the_newest_come_first_and_old_ones_are_refused() {
    for is_impatient in [false, true] {
        let mut admission = Admission::new(1, None);
        admission.introduce(WEB, Manner { is_impatient, ..Manner::default() });
        let running = granted(request(&mut admission, WEB, at(0)));
        let old = queued(request(&mut admission, WEB, at(0)));
        let new = queued(request(&mut admission, WEB, at(1100)));
        assert_eq!(admission.late(at(900)), [], "the queue does not stand yet");
        let (next, late) = if is_impatient { (new, vec![old]) } else { (old, vec![]) };
        assert_eq!(admission.late(at(1200)), late);
        assert_eq!(lose(&mut admission, running, at(1200)), [next]);
        // All are late in the end.
        assert_eq!(admission.late(at(60_000)).len(), 1);
    }
}

#[test]
fn a_dyno_whose_clients_leave_the_queue_is_impatient() {
    let mut admission = Admission::new(1, None);
    granted(request(&mut admission, WEB, at(0)));
    for _ in 0..5 {
        let ticket = queued(request(&mut admission, WEB, at(0)));
        assert!(admission.withdraw(ticket, at(100)));
    }
    let old = queued(request(&mut admission, WEB, at(100)));
    assert_eq!(admission.late(at(1300)), [old]);
}

/// Three times as many as one place can serve come, and wait for so long at most. Gives how many of
/// all that came between two moments were served within half a second, and how many were refused.
fn overload(patience: u64, from: u64, to: u64) -> (u64, u64) {
    const SERVICE: u64 = 30;
    let mut admission = Admission::new(1, None);
    let mut waiting: Vec<(Ticket, u64)> = Vec::new();
    let mut running: Option<Ticket> = None;
    let (mut useful, mut refused) = (0, 0);
    for now in (0..to).step_by(10) {
        if now % SERVICE == 0
            && let Some(done) = running.take()
        {
            admission.end(done, None, at(now));
        }
        let leaves = |(_, came): &(Ticket, u64)| came + patience <= now;
        for (ticket, _) in waiting.extract_if(.., |one| leaves(one)) {
            assert!(admission.withdraw(ticket, at(now)));
        }
        for late in admission.late(at(now)) {
            waiting.retain(|(ticket, _)| *ticket != late);
            assert!(admission.withdraw(late, at(now)));
            refused += u64::from(now >= from);
        }
        match request(&mut admission, WEB, at(now)) {
            Verdict::Granted(ticket) => running = Some(ticket),
            Verdict::Queued(ticket) => waiting.push((ticket, now)),
        }
        for next in all_next(&mut admission, at(now)) {
            let place = waiting.iter().position(|(ticket, _)| *ticket == next);
            let (_, came) = waiting.remove(place.expect("it waited"));
            useful += u64::from(now >= from && now - came <= 500);
            running = Some(next);
        }
    }
    (useful, refused)
}

#[test]
fn clients_that_give_up_are_served_while_they_wait_for_as_long_as_they_are_too_many() {
    // One in 30 ms can be served.
    let (useful, _) = overload(2_000, 10_000, 130_000);
    assert!(useful > 3_800, "{useful} of 4000");
}

#[test]
fn clients_that_gave_up_once_are_not_hurried_for_ever() {
    let mut admission = Admission::new(1, None);
    let mut running = granted(request(&mut admission, WEB, at(0)));
    for _ in 0..30 {
        let ticket = queued(request(&mut admission, WEB, at(0)));
        assert!(admission.withdraw(ticket, at(1)));
    }
    // From now on forty wait as long as it takes, and who was refused asks again.
    for _ in 0..40 {
        queued(request(&mut admission, WEB, at(1)));
    }
    let mut refused = Vec::new();
    for now in (30..300_000).step_by(30) {
        for late in admission.late(at(now)) {
            assert!(admission.withdraw(late, at(now)));
            refused.push(now);
            queued(request(&mut admission, WEB, at(now)));
        }
        [running] = lose(&mut admission, running, at(now)).try_into().expect("one is next");
        queued(request(&mut admission, WEB, at(now)));
    }
    assert!(refused.len() > 100, "they are refused early at first: {}", refused.len());
    let last = refused.last().copied().unwrap_or_default();
    assert!(last < 240_000, "and not in the end: {last}");
}

#[test]
fn a_pause_lets_nobody_begin_and_nobody_be_late() {
    let mut admission = Admission::new(2, None);
    admission.pause();
    let ticket = queued(request(&mut admission, WEB, at(0)));
    assert_eq!(admission.late(at(60_000)), []);
    admission.resume();
    admission.be_patient(at(61_000));
    assert_eq!(admission.late(at(60_500)), []);
    assert_eq!(all_next(&mut admission, at(60_500)), [ticket]);
}

#[test]
fn a_window_tells_what_happened_after_it_had_settled() {
    #[derive(Debug)]
    struct Told(std::sync::mpsc::Sender<crate::Window>);
    impl Governor for Told {
        fn decision(&self) -> Decision {
            let (slot, settle) = (Micros::from_millis(100), Micros::from_millis(20));
            Decision { limit: 1, long: 2, slot, settle }
        }

        fn slot_ended(&mut self, window: &crate::Window) -> Decision {
            self.0.send(window.clone()).expect("somebody listens");
            self.decision()
        }

        fn refused(&mut self, _: Micros) -> Decision {
            self.decision()
        }

        fn restarted(&mut self, _: Micros) -> Decision {
            self.decision()
        }
    }
    let (sender, windows) = std::sync::mpsc::channel();
    let mut admission = Admission::new(5, Some(Box::new(Told(sender))));
    let first = granted(request(&mut admission, WEB, at(0)));
    queued(request(&mut admission, WEB, at(50)));
    admission.rests(first, Fingerprint(1), at(60));
    admission.tick(at(80));
    assert_eq!(all_next(&mut admission, at(80)).len(), 1);
    admission.end(first, None, at(90));
    admission.tick(at(100));
    let window = windows.try_recv().expect("a slot is over");
    let near = |value: f64, expected: f64| (value - expected).abs() < 1e-6;
    assert_eq!((window.at, window.length), (at(100), Micros::from_millis(80)));
    assert_eq!((window.limit, window.ceiling, window.done), (1, 5, 0));
    // Who keeps a place counts as executing.
    assert!(near(window.executing, 1.0) && near(window.idle, 0.375), "{window:?}");
    assert!(near(window.saturated, 0.375), "{window:?}");
    assert!(windows.try_recv().is_err());
}
