//! Whatever happens in whatever order, what admission promises holds; and what is shared is shared
//! by weight.

use std::collections::{BTreeMap, BTreeSet};

use admission::{Admission, Ask, Decision, Governor, Manner, Rise, Ticket, Verdict, Window};
use trace::{DynoId, Fingerprint, Micros};

/// A generator of numbers: the same seed gives the same program.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}

/// A law that decides anything.
#[derive(Debug)]
struct Whim(u64, Decision);

impl Whim {
    fn new(seed: u64) -> Self {
        let (slot, settle) = (Micros::from_millis(40), Micros::from_millis(10));
        Self(seed, Decision { limit: 3, long: 2, slot, settle })
    }
}

impl Governor for Whim {
    fn decision(&self) -> Decision {
        self.1
    }

    fn slot_ended(&mut self, window: &Window) -> Decision {
        assert!(window.length > Micros::ZERO, "{window:?}");
        let areas = [window.executing, window.long, window.idle, window.saturated, window.work];
        assert!(areas.iter().all(|area| area.is_finite() && *area >= 0.0), "{window:?}");
        assert!(window.saturated <= 1.0 + 1e-9, "{window:?}");
        let mut dice = Dice(self.0);
        self.1.limit = 1 + dice.below(6);
        self.1.long = dice.below(4);
        self.0 = dice.0;
        self.1
    }

    fn refused(&mut self, _: Micros) -> Decision {
        self.1
    }

    fn restarted(&mut self, _: Micros) -> Decision {
        self.1
    }
}

#[derive(Debug, Default)]
struct World {
    now: Micros,
    queued: BTreeSet<Ticket>,
    executing: BTreeSet<Ticket>,
    idle: BTreeSet<Ticket>,
}

impl World {
    fn pick(set: &BTreeSet<Ticket>, dice: &mut Dice) -> Option<Ticket> {
        let count = u32::try_from(set.len()).unwrap_or(u32::MAX);
        set.iter().nth(dice.below(count.max(1)) as usize).copied()
    }

    /// What holds before somebody is let in.
    fn check_room(admission: &Admission, seed: u64) {
        let levels = admission.levels();
        let counts = levels.counts;
        let over = counts.long.saturating_sub(levels.long_limit);
        // The one that was let in is counted already.
        assert!(counts.held() <= levels.ceiling, "seed {seed}: {levels:?}");
        let is_within = counts.executing + over <= levels.limit || counts.long <= levels.long_limit;
        assert!(is_within, "seed {seed}: {levels:?}");
    }

    fn drain(&mut self, admission: &mut Admission, seed: u64) {
        while let Some(ticket) = admission.next(self.now) {
            assert!(self.queued.remove(&ticket), "seed {seed}: {ticket:?} did not wait");
            self.executing.insert(ticket);
            Self::check_room(admission, seed);
        }
    }

    fn step(&mut self, admission: &mut Admission, dice: &mut Dice, seed: u64) {
        self.now = self.now + Micros(dice.below(30_000).into());
        let statement = Fingerprint(dice.below(4).into());
        match dice.below(12) {
            0..=3 => {
                let dyno = DynoId(u16::try_from(dice.below(5)).unwrap_or(0));
                let until = self.now + Micros::from_millis(100 + u64::from(dice.below(2000)));
                let ask = Ask { dyno, statement, arrived: self.now, until };
                match admission.request(ask, self.now) {
                    Verdict::Granted(ticket) => {
                        self.executing.insert(ticket);
                        Self::check_room(admission, seed);
                    }
                    Verdict::Queued(ticket) => {
                        self.queued.insert(ticket);
                    }
                }
            }
            4 | 5 => {
                if let Some(ticket) = Self::pick(&self.executing, dice) {
                    self.executing.remove(&ticket);
                    self.idle.insert(ticket);
                    admission.rests(ticket, statement, self.now);
                }
            }
            6 => {
                // Never queued, whatever the limit: it executes at once.
                if let Some(ticket) = Self::pick(&self.idle, dice) {
                    let before = admission.levels().counts;
                    admission.works(ticket, self.now);
                    let after = admission.levels().counts;
                    assert_eq!(after.idle, before.idle - 1, "seed {seed}");
                    assert_eq!(after.held(), before.held(), "seed {seed}");
                    self.idle.remove(&ticket);
                    self.executing.insert(ticket);
                }
            }
            7 | 8 => {
                let from = if dice.below(2) == 0 { &mut self.idle } else { &mut self.executing };
                if let Some(ticket) = Self::pick(from, dice) {
                    from.remove(&ticket);
                    let learnt = (dice.below(5) > 0).then_some(statement);
                    admission.end(ticket, learnt, self.now);
                }
            }
            9 => {
                if let Some(ticket) = Self::pick(&self.queued, dice) {
                    assert!(admission.withdraw(ticket, self.now), "seed {seed}");
                    self.queued.remove(&ticket);
                }
            }
            10 => {
                if let Some(ticket) = Self::pick(&self.executing, dice) {
                    let rise = if dice.below(2) == 0 { Rise::Once } else { Rise::Steadily };
                    let until = self.now + Micros::from_millis(dice.below(300).into());
                    let open = admission.held() - 1;
                    admission.refused(ticket, (open, until, rise), self.now);
                    self.executing.remove(&ticket);
                    self.queued.insert(ticket);
                }
            }
            _ => self.outside(admission, dice, seed),
        }
        self.drain(admission, seed);
    }

    fn outside(&mut self, admission: &mut Admission, dice: &mut Dice, seed: u64) {
        match dice.below(5) {
            0 => admission.set_cap(1 + dice.below(8)),
            1 => admission.lift(self.now),
            2 => admission.set_reach(3 + dice.below(8)),
            _ => admission.tick(self.now),
        }
        for ticket in admission.late(self.now) {
            assert!(self.queued.remove(&ticket), "seed {seed}: {ticket:?} was late, not queued");
            assert!(admission.withdraw(ticket, self.now), "seed {seed}");
        }
    }
}

#[test]
fn whatever_happens_nobody_is_let_in_without_room_and_nobody_is_forgotten() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let law: Option<Box<dyn Governor>> =
            if seed % 4 == 0 { None } else { Some(Box::new(Whim::new(seed))) };
        let mut admission = Admission::new(4, law);
        let mut world = World { now: Micros::from_secs(1), ..World::default() };
        for _ in 0..600 {
            world.step(&mut admission, &mut dice, seed);
            let held = world.executing.len() + world.idle.len();
            assert_eq!(admission.held() as usize, held, "seed {seed}");
            assert_eq!(admission.waiting() as usize, world.queued.len(), "seed {seed}");
        }
        // When all that run end, all that wait get their turn, or are late.
        admission.set_reach(8);
        admission.set_cap(8);
        admission.lift(world.now);
        for _ in 0..10_000 {
            world.now = world.now + Micros::from_millis(1);
            admission.tick(world.now);
            world.drain(&mut admission, seed);
            let running = World::pick(&world.executing, &mut dice)
                .or_else(|| World::pick(&world.idle, &mut dice));
            let Some(ticket) = running else { break };
            world.executing.remove(&ticket);
            world.idle.remove(&ticket);
            admission.end(ticket, Some(Fingerprint(1)), world.now);
        }
        world.drain(&mut admission, seed);
        let (held, waiting) = (admission.held(), admission.waiting());
        // A law may keep the long lane shut.
        assert!(held == 0 && (waiting == 0 || seed % 4 != 0), "seed {seed}: {waiting} wait");
    }
}

/// Server time by dyno while all of them have `clients` in a closed loop, `servers` at a time.
fn serve(
    dynos: &[(Manner, usize, u32)],
    servers: u32,
    span: Micros,
    seed: u64,
) -> BTreeMap<DynoId, f64> {
    let mut admission = Admission::new(servers, None);
    let mut dice = Dice(seed);
    let mut used = BTreeMap::new();
    // Who runs, by the time of its end.
    let mut running = BTreeSet::new();
    let mut whose = BTreeMap::new();
    let mut now = Micros::from_secs(1);
    let begin = now;
    for (id, (manner, ..)) in (0_u16..).zip(dynos) {
        admission.introduce(DynoId(id), *manner);
    }
    let mut asking: Vec<u16> = (0_u16..)
        .zip(dynos)
        .flat_map(|(id, (_, clients, _))| std::iter::repeat_n(id, *clients))
        .collect();
    while now - begin < span {
        let mut granted = Vec::new();
        for id in asking.drain(..) {
            let ask = Ask {
                dyno: DynoId(id),
                statement: Fingerprint(u64::from(id)),
                arrived: now,
                until: Micros(u64::MAX),
            };
            match admission.request(ask, now) {
                Verdict::Granted(ticket) => {
                    whose.insert(ticket, id);
                    granted.push(ticket);
                }
                Verdict::Queued(ticket) => {
                    whose.insert(ticket, id);
                }
            }
        }
        while let Some(ticket) = admission.next(now) {
            granted.push(ticket);
        }
        for ticket in granted {
            let cost = dynos[usize::from(whose[&ticket])].2;
            let took = u64::from(cost / 2 + dice.below(cost));
            running.insert((now + Micros(took), ticket));
            *used.entry(DynoId(whose[&ticket])).or_insert(0.0) += Micros(took).as_secs_f64();
        }
        let (ends, ticket) = running.pop_first().expect("somebody runs");
        now = ends;
        let id = whose.remove(&ticket).expect("it is somebody's");
        admission.end(ticket, Some(Fingerprint(u64::from(id))), now);
        asking.push(id);
    }
    used
}

fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
    let count = f64::from(u32::try_from(shares.len()).unwrap_or(u32::MAX));
    sum * sum / (count * squares)
}

#[test]
fn a_hog_among_eight_gets_an_eighth() {
    for seed in 0..5 {
        let calm = (Manner::default(), 20, 2_000);
        let mut dynos = vec![calm; 7];
        dynos.push((Manner::default(), 200, 6_000));
        let used = serve(&dynos, 8, Micros::from_secs(10), seed);
        let shares: Vec<f64> = used.values().copied().collect();
        let fair = jain(&shares);
        assert!(fair >= 0.98, "seed {seed}: {fair} of {shares:?}");
    }
}

#[test]
fn weights_are_kept_within_a_twentieth() {
    for seed in 0..5 {
        let weights = [4, 2, 1];
        let dynos = weights.map(|weight| (Manner { weight, ..Manner::default() }, 40, 2_000));
        let used = serve(&dynos, 7, Micros::from_secs(10), seed);
        let sum: f64 = used.values().sum();
        for (share, weight) in used.values().zip(weights) {
            let expected = sum * f64::from(weight) / 7.0;
            let off = (share / expected - 1.0).abs();
            assert!(off < 0.05, "seed {seed}: {used:?}");
        }
    }
}
