use proptest::prelude::*;

use trace::Fingerprint;

use super::long::LONG_RISE;
use super::*;
use crate::Mix;

/// A database in numbers: what it does at a limit.
struct Toy {
    now: Micros,
    /// Transactions a second at a limit.
    throughput: fn(f64) -> f64,
    /// Which statement each transaction is.
    statement: Fingerprint,
}

impl Toy {
    fn new(throughput: fn(f64) -> f64) -> Self {
        Self { now: Micros::ZERO, throughput, statement: Fingerprint(1) }
    }

    /// The window of a saturated slot under this decision.
    fn window(&mut self, decision: Decision) -> Window {
        self.now = self.now + decision.slot;
        let length = Micros(decision.slot.0 - decision.settle.0);
        let limit = f64::from(decision.limit);
        let rate = (self.throughput)(limit);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let count = (rate * length.as_secs_f64()).round().max(1.0) as u32;
        let (done, held) = (f64::from(count), limit / rate);
        let mut mix = Mix::default();
        (0..count).for_each(|_| mix.add(self.statement));
        Window {
            at: self.now,
            length,
            limit: decision.limit,
            done: count,
            work: rate * length.as_secs_f64() * 0.001,
            quick: rate * length.as_secs_f64() * 0.001,
            mix,
            executing: limit,
            held: done * held,
            held_squares: done * held * held,
            saturated: 1.0,
            ceiling: 200,
            ..Window::default()
        }
    }

    /// The window of a slot in which clients ask for so many: who asks above the limit waits.
    fn asked(&mut self, decision: Decision, asked: u32) -> Window {
        let executing = Decision { limit: decision.limit.min(asked), ..decision };
        let saturated = if decision.limit < asked { 1.0 } else { 0.1 };
        Window { limit: decision.limit, saturated, ..self.window(executing) }
    }

    fn drive(&mut self, law: &mut Law, seconds: u64) {
        let end = self.now + Micros::from_secs(seconds);
        let mut decision = law.decision();
        while self.now < end {
            let window = self.window(decision);
            decision = law.slot_ended(&window);
        }
    }
}

/// Grows until `knee`, then falls slowly.
fn knee<const AT: u32>(limit: f64) -> f64 {
    let knee = f64::from(AT);
    if limit <= knee { limit * 100.0 } else { 100.0 * knee * (limit / knee).powf(-0.2) }
}

/// What is done at once is far less than what executes: a thirtieth of 120.
fn jam(limit: f64) -> f64 {
    40.0 * limit.min(4.0) * (4.0 / limit).powf(0.4)
}

fn centre(law: &Law) -> f64 {
    law.centre
}

#[test]
fn the_knee_is_found_from_below_and_from_above() {
    for seed in 0..8 {
        let mut law = Law::new(seed);
        Toy::new(knee::<40>).drive(&mut law, 5);
        assert!((34.0..46.0).contains(&centre(&law)), "seed {seed}: {}", centre(&law));
        let mut law = Law::remembering(seed, 100);
        Toy::new(knee::<16>).drive(&mut law, 10);
        assert!((12.0..20.0).contains(&centre(&law)), "seed {seed}: {}", centre(&law));
    }
}

#[test]
fn a_small_limit_is_kept_for_less_than_a_large_one() {
    // Each gains less than is worth a statement more where there are many.
    fn slope(limit: f64) -> f64 {
        1000.0 * limit.powf(0.04)
    }
    for seed in 0..8 {
        let mut law = Law::remembering(seed, 3);
        Toy::new(slope).drive(&mut law, 120);
        assert!((3.0..4.5).contains(&centre(&law)), "seed {seed}: {}", centre(&law));
    }
}

/// Others use the machine: what a slot does and the next differs by a third. Then it takes minutes
/// to tell 5 from 8, and meanwhile the limit must not be where it costs most.
#[test]
fn where_pairs_show_little_the_limit_does_not_wander_down() {
    fn rises(limit: f64) -> f64 {
        let most = limit.min(8.0);
        1000.0 * most / (most + 1.5) * (most / limit).powf(0.1)
    }
    let mut lost = Vec::new();
    for seed in 0..8 {
        let (mut law, mut toy) = (Law::new(seed), Toy::new(rises));
        let mut chance = Random::new(!seed);
        let mut sign = || if chance.coin() { 1.0_f64 } else { -1.0 };
        while toy.now < Micros::from_secs(60) {
            let mut window = toy.window(law.decision());
            window.work *= (0.2 * (sign() + sign())).exp();
            law.slot_ended(&window);
            if toy.now > Micros::from_secs(10) {
                lost.push(1.0 - rises(centre(&law)) / rises(8.0));
            }
        }
    }
    let lost = lost.iter().sum::<f64>() / lost.len() as f64;
    assert!(lost < 0.05, "{lost:.3} of what a limit of 8 does is lost");
}

#[test]
fn another_load_is_noticed_while_the_law_rests() {
    for seed in 0..8 {
        let mut law = Law::new(seed);
        let mut toy = Toy::new(knee::<8>);
        toy.drive(&mut law, 20);
        assert!(matches!(law.probe, Probe::Rest { .. }) || law.steady > 0, "it has settled");
        toy.throughput = |limit| 0.3 * knee::<64>(limit);
        toy.drive(&mut law, 5);
        assert!(centre(&law) > 45.0, "seed {seed}: {}", centre(&law));
    }
}

/// As many statements of it as of the load before, each taking as long: at the limit that is right
/// for those.
#[test]
fn another_load_is_noticed_by_its_statements_alone() {
    let seconds = |seed: u64, statement| {
        let (mut law, mut toy) = (Law::new(seed), Toy::new(knee::<8>));
        toy.drive(&mut law, 30);
        let changed = toy.now;
        (toy.throughput, toy.statement) = (knee::<60>, Fingerprint(statement));
        while centre(&law) < 40.0 {
            let window = toy.window(law.decision());
            law.slot_ended(&window);
        }
        (toy.now - changed).as_secs_f64()
    };
    let of = |statement| (0..16).map(|seed| seconds(seed, statement)).fold(0.0, f64::max);
    let (others, same) = (of(2), of(1));
    assert!(others < 3.0 && others < same, "{others} s, {same} s if they seem the same");
}

/// At 2 a pair is 1 and 3: what the belief of the elasticity is wrong by must not make each half of
/// it look like another load, or no pair would ever be complete.
#[test]
fn a_limit_of_two_is_left_when_the_load_gains_by_more() {
    fn falls(limit: f64, by: f64) -> f64 {
        1800.0 * (2.0 / limit).powf(by).min(limit / 2.0)
    }
    let loads: [fn(f64) -> f64; 3] = [|n| falls(n, 0.1), |n| falls(n, 0.6), |n| falls(n, 1.5)];
    for (seed, load) in (0..16).flat_map(|seed| loads.map(|load| (seed, load))) {
        let mut law = Law::new(seed);
        let mut toy = Toy::new(load);
        toy.drive(&mut law, 20);
        let before = centre(&law);
        toy.throughput = |limit| 125.0 * limit;
        toy.drive(&mut law, 15);
        assert!(before < 4.5 && centre(&law) > 60.0, "seed {seed}: {before}, {}", centre(&law));
    }
}

#[test]
fn a_new_load_that_jams_is_begun_from_below() {
    for seed in 0..8 {
        let mut law = Law::remembering(seed, 120);
        let mut toy = Toy::new(|limit| 80.0 * limit);
        toy.drive(&mut law, 1);
        let before = centre(&law);
        toy.throughput = jam;
        let began = toy.now;
        while law.change().cause != LimitCause::Congested && toy.now - began < Micros::from_secs(9)
        {
            let window = toy.window(law.decision());
            law.slot_ended(&window);
        }
        let noticed = toy.now - began;
        assert!(noticed < Micros::from_millis(700), "seed {seed}: {noticed:?}");
        toy.drive(&mut law, 12);
        let change = law.change();
        assert!(before > 100.0 && centre(&law) < 10.0, "seed {seed}: {before}, then {change:?}");
    }
}

/// A few statements that wait for a disk look like a crowd when others use it. To begin such a load
/// from below would only forget what was found of it.
#[test]
fn a_slower_load_of_few_statements_goes_on_from_where_it_is() {
    fn flushes(limit: f64) -> f64 {
        knee::<14>(limit) / 5.0
    }
    for seed in 0..8 {
        let mut law = Law::remembering(seed, 14);
        let mut toy = Toy::new(flushes);
        toy.drive(&mut law, 10);
        let before = centre(&law);
        toy.throughput = |limit| flushes(limit) / 3.0;
        while law.change().cause != LimitCause::Congested && toy.now < Micros::from_secs(30) {
            let window = toy.window(law.decision());
            law.slot_ended(&window);
        }
        let change = law.change();
        assert_ne!(change.cause, LimitCause::Congested, "seed {seed}: {before}, then {change:?}");
        assert!((10.0..19.0).contains(&centre(&law)), "seed {seed}: {before}, then {change:?}");
    }
}

#[test]
fn what_is_asked_for_only_below_the_larger_limit_is_not_taken_away_half_the_time() {
    let mut law = Law::remembering(1, 100);
    let mut toy = Toy::new(|limit| 100.0 * limit);
    let (mut low, mut all) = (0, 0);
    for _ in 0..400 {
        let decision = law.decision();
        // A hundred and three are all there are.
        let window = toy.asked(decision, 103);
        law.slot_ended(&window);
        all += 1;
        low += u32::from(decision.limit < 103);
    }
    assert!(centre(&law) > 103.0, "{}", centre(&law));
    assert!(low * 5 < all, "{low} of {all} slots with less than is asked for");
}

/// Whether the limit is at the edge of what is asked for, or far above it: that all of it is let in
/// is no reason never to try fewer.
#[test]
fn a_crowd_that_is_all_let_in_is_found_to_be_one() {
    for (seed, limit, asked) in (0..8).flat_map(|seed| [(seed, 168, 190), (seed, 190, 100)]) {
        let mut law = Law::remembering(seed, limit);
        let mut toy = Toy::new(|limit| 900.0 * limit.min(8.0) * (8.0 / limit).powf(0.3));
        while toy.now < Micros::from_secs(15) {
            let window = toy.asked(law.decision(), asked);
            law.slot_ended(&window);
        }
        let change = law.change();
        assert!((4.0..20.0).contains(&centre(&law)), "seed {seed} from {limit}: {change:?}");
    }
}

/// What was found of waits, of which more are better, says nothing of the jam that follows, though
/// in both nobody waits to be let in.
#[test]
fn a_jam_after_a_load_that_was_all_let_in_is_begun_from_below() {
    for seed in 0..8 {
        let mut law = Law::remembering(seed, 100);
        let mut toy = Toy::new(|limit| 100.0 * limit);
        let mut jammed = 0.0;
        while toy.now < Micros::from_secs(6) {
            if toy.now > Micros::from_secs(3) && jammed == 0.0 {
                jammed = centre(&law);
                toy.throughput = jam;
            }
            let window = toy.asked(law.decision(), 190);
            law.slot_ended(&window);
        }
        let change = law.change();
        assert!(jammed > 150.0 && centre(&law) < 12.0, "seed {seed}: {jammed}, then {change:?}");
    }
}

#[test]
fn demand_that_does_not_reach_the_limit_moves_nothing() {
    let mut law = Law::new(1);
    let mut toy = Toy::new(knee::<40>);
    toy.drive(&mut law, 5);
    let found = centre(&law);
    for _ in 0..100 {
        let mut window = toy.window(law.decision());
        window.saturated = 0.3;
        window.done /= 3;
        law.slot_ended(&window);
    }
    assert!((centre(&law) - found).abs() < 1e-9);
}

#[test]
fn a_limit_that_nobody_needs_is_taken_back_after_ten_minutes() {
    let mut law = Law::remembering(1, 150);
    for minute in 0..12 {
        let at = Micros::from_secs(60 * minute);
        let window = Window {
            at,
            length: Micros::from_secs(1),
            executing: 9.0,
            ceiling: 200,
            ..Window::default()
        };
        law.slot_ended(&window);
    }
    assert_eq!((law.change().to, law.change().cause), (18, LimitCause::Unused));
}

/// The law after a number of slots in which four long statements make room for whoever pushes:
/// throughput in proportion, without end. And what it had found before.
fn beside_long_ones(seed: u64, slots: u32) -> (Law, Toy, f64) {
    let mut law = Law::new(seed);
    let mut toy = Toy::new(knee::<8>);
    toy.drive(&mut law, 10);
    let clean = centre(&law);
    for _ in 0..slots {
        toy.throughput = |limit| 100.0 * limit;
        let mut window = toy.window(law.decision());
        window.long = 4.0;
        law.slot_ended(&window);
    }
    toy.throughput = knee::<8>;
    (law, toy, clean)
}

#[test]
fn long_statements_bound_the_limit_and_leave_it_as_it_was() {
    for seed in 0..8 {
        let (mut law, mut toy, clean) = beside_long_ones(seed, 24);
        let most = clean * 2.0 * LONG_RISE.powi(12);
        assert!(centre(&law) <= most, "seed {seed}: {} of {clean}", centre(&law));
        assert!(centre(&law) > clean * 1.5, "seed {seed}: {} of {clean}", centre(&law));
        let window = toy.window(law.decision());
        law.slot_ended(&window);
        assert!((centre(&law) - clean).abs() < 1e-9, "seed {seed}");
        assert_eq!(law.knee(), Some(round(clean)), "seed {seed}");
    }
}

#[test]
fn beside_reports_that_never_end_another_load_is_followed_slowly() {
    for seed in 0..8 {
        let (mut law, mut toy, clean) = beside_long_ones(seed, 500);
        let grown = centre(&law);
        assert!(grown > clean * 6.0, "seed {seed}: {grown} of {clean}");
        let window = toy.window(law.decision());
        law.slot_ended(&window);
        assert!((centre(&law) - grown).abs() < 1e-9, "seed {seed}: it is believed by now");
    }
}

#[test]
fn a_server_that_refuses_is_asked_less_and_its_ceiling_kept() {
    let mut law = Law::remembering(1, 40);
    assert_eq!(law.untold().map(|change| change.cause), Some(LimitCause::Remembered));
    let second = Micros::from_secs(1);
    law.refused(second);
    law.refused(second + Micros::from_millis(10));
    let change = law.untold().expect("a change");
    assert_eq!((change.from, change.to, change.cause), (40, 28, LimitCause::Refused));
    assert_eq!(law.untold(), None, "told once");
    let window = Window { at: second, ceiling: 11, ..Window::default() };
    let decision = law.slot_ended(&window);
    assert!(decision.limit <= 11);
    let change = law.untold().expect("a change");
    assert_eq!((change.from, change.to, change.cause), (28, 11, LimitCause::Ceiling));
}

#[test]
fn a_restart_keeps_the_limit_and_forgets_why() {
    let mut law = Law::new(1);
    let mut toy = Toy::new(knee::<40>);
    toy.drive(&mut law, 10);
    let (found, error) = (centre(&law), law.evidence.error());
    law.restarted(toy.now);
    assert!((centre(&law) - found).abs() < 1e-9);
    assert!(law.evidence.error() > 3.0 * error);
    assert_eq!(law.change().cause, LimitCause::Restarted);
}

/// Where the law is after some seconds in which so many of a hundred backends waited for locks.
fn after_locks(start: u32, part: f64, throughput: fn(f64) -> f64) -> f64 {
    let mut law = Law::remembering(1, start);
    let mut toy = Toy::new(throughput);
    for _ in 0..20 {
        let mut window = toy.window(law.decision());
        window.blocked = Some(part * window.executing);
        // So few and so unlike that their number says nothing.
        if throughput(1.0) < 10.0 {
            window.held_squares *= 20.0;
            window.work *= 600.0;
        }
        law.slot_ended(&window);
    }
    centre(&law)
}

#[test]
fn locks_stop_growth_and_turn_it_back_where_nothing_else_is_known() {
    let unclear = |limit: f64| 5.0 * limit.powf(0.3);
    let free = after_locks(40, 0.2, unclear);
    assert!(free > 41.0, "{free}");
    let held = after_locks(40, 0.9, unclear);
    assert!((held - 40.0).abs() < 1e-9, "{held}");
    assert!(after_locks(40, 0.97, unclear) < 25.0);
}

#[test]
fn what_is_sure_of_the_elasticity_knows_more_than_a_glance_at_locks() {
    assert!(after_locks(40, 0.97, |limit| 100.0 * limit) > 100.0);
    assert!(after_locks(3, 1.0, |limit| 100.0 * limit.min(8.0)) > 6.0, "all but one of few wait");
}

#[test]
fn the_same_seed_decides_the_same() {
    let run = |seed| {
        let mut law = Law::new(seed);
        Toy::new(knee::<40>).drive(&mut law, 3);
        (centre(&law), law.decision())
    };
    assert_eq!(run(7), run(7));
}

/// The limit after some slots on `X = n^e`, with 2,000 transactions a second at 30.
fn after(elasticity: f64, seed: u64) -> f64 {
    let mut law = Law::remembering(seed, 30);
    let mut now = Micros::ZERO;
    for _ in 0..12 {
        let decision = law.decision();
        now = now + decision.slot;
        let length = decision.slot.since(decision.settle);
        let limit = f64::from(decision.limit);
        let rate = 2000.0 * (limit / 30.0).powf(elasticity);
        let (done, each) = (rate * length.as_secs_f64(), limit / rate);
        let window = Window {
            at: now,
            length,
            limit: decision.limit,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            done: done.round() as u32,
            work: done * 0.01,
            quick: done * 0.01,
            executing: limit,
            held: done.round() * each,
            held_squares: done.round() * each * each,
            saturated: 1.0,
            ceiling: 10_000,
            ..Window::default()
        };
        law.slot_ended(&window);
    }
    centre(&law)
}

#[test]
fn more_elastic_is_more() {
    for seed in 0..16 {
        let limits: Vec<f64> =
            [-0.5, -0.2, 0.0, 0.2, 0.5, 1.0].iter().map(|e| after(*e, seed)).collect();
        assert!(limits.is_sorted(), "seed {seed}: {limits:?}");
        assert!(limits[2] < 30.0 && 30.0 < limits[3], "seed {seed}: {limits:?}");
    }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..1e4_f64,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 0.0, f64::MAX, 1e-300]),
    ]
}

prop_compose! {
    fn any_window()(
        at in 0..1u64 << 40,
        length in prop_oneof![Just(0), 1..10_000_000u64],
        limit in any::<u32>(),
        done in prop_oneof![0..1000u32, any::<u32>()],
        sums in prop::array::uniform7(number()),
        blocked in prop::option::of(number()),
        saturated in prop_oneof![0.0..1.0_f64, number()],
        statements in prop::collection::vec(0..4u64, 0..100),
        ceiling in prop_oneof![0..500u32, any::<u32>()],
    ) -> Window {
        let [work, quick, executing, long, idle, held, held_squares] = sums;
        let (at, length) = (Micros(at), Micros(length));
        let mut mix = Mix::default();
        statements.into_iter().for_each(|statement| mix.add(Fingerprint(statement)));
        Window {
            at, length, limit, done, work, quick, mix, executing, long, idle, blocked, held,
            held_squares, saturated, ceiling,
        }
    }
}

proptest! {
    #[test]
    fn the_limit_is_within_bounds_whatever_is_said(
        seed in any::<u64>(),
        knee in any::<u32>(),
        windows in prop::collection::vec((any_window(), 0..20u8), 1..60),
    ) {
        let mut law = Law::remembering(seed, knee);
        for (window, what) in &windows {
            let decision = match what {
                0 => law.refused(window.at),
                1 => law.restarted(window.at),
                _ => law.slot_ended(window),
            };
            prop_assert!(law.centre.is_finite() && law.centre >= 1.0, "{}", law.centre);
            prop_assert!(decision.limit >= 1);
            if *what > 1 {
                prop_assert!(decision.limit <= window.ceiling.max(1));
            }
            prop_assert!(decision.long >= 1);
            prop_assert!(decision.slot > decision.settle);
            prop_assert!(decision.slot <= Micros::from_secs(14));
            prop_assert!(law.evidence.elasticity().is_finite());
            prop_assert!(law.evidence.error().is_finite());
        }
    }
}
