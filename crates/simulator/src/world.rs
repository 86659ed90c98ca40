//! The run of a scenario under a limiter: discrete events, one thread, one seed.
//!
//! `life` (what becomes of a transaction) is the other half of this type; `dips` take power away.

mod dips;
mod life;

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use admission::{Admission, Costs, Decision, Governor, Ticket};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::gate::{self, Count, Gate};
use crate::limiter::Limiter;
use crate::meter::{Meter, micros};
use crate::scenario::{Group, Scenario};
use crate::station::{Crowding, Station};
use crate::tally::Tally;
use crate::transaction::{Row, Transaction};

/// How often is looked for statements that have become long, and shares are settled.
const TICK: f64 = 0.01;
/// Weight of the present demand in a proxy's share.
const DEMAND_NEW: f64 = 0.05;

/// What happens at a time.
#[derive(Clone, Copy, Debug)]
enum What {
    Phase(usize),
    Dip {
        dip: usize,
        begins: bool,
    },
    /// The next of an open group.
    Arrives {
        group: usize,
    },
    Asks {
        group: usize,
        asked: f64,
        tries: u32,
    },
    GivesUp {
        who: u32,
        serial: u32,
    },
    ReachesServer(u32),
    IsBack(u32),
    Continues(u32),
    Settled,
    PlaceFreed,
    SlotEnds,
    Tick,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    at: f64,
    order: u64,
    what: What,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

/// Who stands between clients and database.
#[derive(Debug)]
pub enum Rule<'a> {
    /// A pool as others have it: first come, first served, as many as its limiter says. Several
    /// proxies share the limit by demand.
    Pool(&'a mut (dyn Limiter + 'static)),
    /// The code of the proxy, with this law. One proxy.
    Admission(Box<dyn Governor>),
}

/// The same at work.
enum Door<'a> {
    Pool(&'a mut (dyn Limiter + 'static)),
    Admission(Box<Admission>),
}

/// All that there is.
struct World<'a> {
    scenario: &'a Scenario,
    /// The groups of all phases, and of which phase each is.
    groups: Vec<(usize, &'a Group)>,
    phase: usize,
    door: Door<'a>,
    decision: Decision,
    limit_since: f64,
    chance: ChaCha8Rng,
    /// Of when dips begin: the same whatever the rule does.
    fate: ChaCha8Rng,
    now: f64,
    events: BinaryHeap<Event>,
    order: u64,
    cores: Station,
    disk: Station,
    /// Which of the scenario's dips last.
    dips: Vec<bool>,
    rows: Vec<Row>,
    blocked: u32,
    /// Whether it is looked again when a place that was kept becomes free.
    awaits_place: bool,
    transactions: Vec<Transaction>,
    free: Vec<u32>,
    gates: Vec<Gate>,
    /// Whose a place in the admission is.
    tickets: HashMap<Ticket, u32>,
    /// Statements by the time they began: when, whose, which.
    begun: VecDeque<(f64, u32, (u32, usize))>,
    /// Mean time a short transaction holds its connection.
    usual: f64,
    costs: Costs,
    meter: Meter,
    tally: Tally,
}

/// Runs the scenario under this rule.
pub fn run(scenario: &Scenario, rule: Rule<'_>, seed: u64) -> Tally {
    let mut world = World::new(scenario, rule, seed);
    world.run(scenario.seconds());
    world.tally.finish();
    world.tally
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, rule: Rule<'a>, seed: u64) -> Self {
        let database = &scenario.database;
        let phases = scenario.phases.iter().enumerate();
        let groups: Vec<_> =
            phases.flat_map(|(nth, phase)| phase.groups.iter().map(move |g| (nth, g))).collect();
        let rows = groups.iter().map(|(_, group)| group.hot_rows).max().unwrap_or(0);
        let (door, decision) = match rule {
            Rule::Pool(limiter) => {
                let first = limiter.first();
                (Door::Pool(limiter), first)
            }
            Rule::Admission(law) => {
                let first = law.decision();
                let admission = Admission::new(database.connections, Some(law));
                (Door::Admission(Box::new(admission)), first)
            }
        };
        let gate = || Gate { demand: 1.0, ..Gate::default() };
        let mut fate = ChaCha8Rng::seed_from_u64(seed);
        // Not the numbers that clients draw.
        fate.set_stream(1);
        Self {
            scenario,
            groups,
            phase: 0,
            door,
            decision,
            limit_since: 0.0,
            chance: ChaCha8Rng::seed_from_u64(seed),
            fate,
            now: 0.0,
            events: BinaryHeap::new(),
            order: 0,
            cores: Station::new(database.cores, database.coherence, Crowding::Linear),
            disk: Station::new(database.channels, database.thrash, Crowding::Quadratic),
            dips: vec![false; database.dips.len()],
            rows: vec![Row::default(); rows],
            blocked: 0,
            awaits_place: false,
            transactions: Vec::new(),
            free: Vec::new(),
            gates: (0..scenario.proxies).map(|_| gate()).collect(),
            tickets: HashMap::new(),
            begun: VecDeque::new(),
            usual: 0.01,
            costs: Costs::new(),
            meter: Meter::begin(0.0),
            tally: Tally::new(scenario.seconds()),
        }
    }

    fn run(&mut self, end: f64) {
        self.begin();
        loop {
            let event = self.events.peek().map_or(f64::INFINITY, |event| event.at);
            let (cores, disk) = (self.cores.next(), self.disk.next());
            let next = event.min(cores).min(disk);
            if next >= end {
                break;
            }
            self.advance(next);
            if cores <= disk && cores <= event {
                let who = self.cores.leave(next);
                self.computed(who);
            } else if disk <= event {
                let who = self.disk.leave(next);
                self.read(who);
            } else if let Some(event) = self.events.pop() {
                self.happens(event.what);
            }
        }
        self.tally.limit_held(self.limit_since, end, self.decision.limit);
    }

    fn begin(&mut self) {
        let mut starts = 0.0;
        for (nth, phase) in self.scenario.phases.iter().enumerate() {
            self.push(starts, What::Phase(nth));
            starts += phase.seconds;
        }
        for (nth, dip) in self.scenario.database.dips.iter().enumerate() {
            self.push(dip.every / 2.0, What::Dip { dip: nth, begins: true });
        }
        self.push(0.0, What::Tick);
        if matches!(self.door, Door::Pool(_)) {
            self.slot_begins();
        }
    }

    /// The integrals, up to now.
    fn advance(&mut self, now: f64) {
        let count = self.gates.iter().fold(Count::default(), |sum, gate| Count {
            executing: sum.executing + gate.counts.executing,
            long: sum.long + gate.counts.long,
            idle: sum.idle + gate.counts.idle,
        });
        let saturated = self.gates.iter().any(Gate::saturated);
        self.meter.advance(now, count, self.blocked, saturated);
        self.now = now;
    }

    fn push(&mut self, at: f64, what: What) {
        self.order += 1;
        self.events.push(Event { at, order: self.order, what });
    }

    fn after(&mut self, seconds: f64, what: What) {
        self.push(self.now + seconds, what);
    }

    fn happens(&mut self, what: What) {
        match what {
            What::Phase(nth) => self.phase_begins(nth),
            What::Dip { dip, begins } => self.dip(dip, begins),
            What::Arrives { group } => self.arrives(group),
            What::Asks { group, asked, tries } => self.asks(group, asked, tries),
            What::GivesUp { who, serial } => self.gives_up(who, serial),
            What::ReachesServer(who) => self.reaches_server(who),
            What::IsBack(who) => self.is_back(who),
            What::Continues(who) => self.continues(who),
            What::Settled => self.meter = Meter::begin(self.now),
            What::SlotEnds => self.slot_ends(),
            What::Tick => self.tick(),
            What::PlaceFreed => self.place_freed(),
        }
    }

    fn phase_begins(&mut self, nth: usize) {
        self.phase = nth;
        for group in 0..self.groups.len() {
            let Some((phase, of)) = self.groups.get(group).copied() else { continue };
            if phase != nth {
                continue;
            }
            for _ in 0..of.clients {
                let think = self.exponential(of.think_ms / 1e3);
                let asked = self.now + think;
                self.push(asked, What::Asks { group, asked, tries: 0 });
            }
            if of.per_second > 0.0 {
                let wait = self.exponential(1.0 / of.per_second);
                self.after(wait, What::Arrives { group });
            }
        }
    }

    fn arrives(&mut self, group: usize) {
        let Some((phase, of)) = self.groups.get(group).copied() else { return };
        if phase != self.phase {
            return;
        }
        let wait = self.exponential(1.0 / of.per_second);
        self.after(wait, What::Arrives { group });
        self.asks(group, self.now, 0);
    }

    fn slot_begins(&mut self) {
        self.meter = Meter::begin(self.now);
        self.share();
        self.after(self.decision.settle.as_secs_f64(), What::Settled);
        self.after(self.decision.slot.as_secs_f64(), What::SlotEnds);
        self.admit_all();
    }

    fn slot_ends(&mut self) {
        let Door::Pool(limiter) = &mut self.door else { return };
        let window = self.meter.window(self.decision.limit, self.scenario.database.connections);
        let decision = limiter.slot_ended(&window);
        self.decided(decision);
        self.slot_begins();
    }

    /// Another limit holds from now on.
    fn decided(&mut self, decision: Decision) {
        if self.decision.limit != decision.limit {
            self.tally.limit_held(self.limit_since, self.now, self.decision.limit);
            self.limit_since = self.now;
        }
        self.decision = decision;
    }

    fn share(&mut self) {
        gate::share(&mut self.gates, self.decision, self.scenario.database.connections);
    }

    /// A place that was kept through a pause may be free.
    fn place_freed(&mut self) {
        self.awaits_place = false;
        if let Door::Admission(admission) = &mut self.door {
            admission.tick(micros(self.now));
        }
        self.admit_all();
    }

    fn tick(&mut self) {
        match &mut self.door {
            Door::Pool(_) => self.pool_ticks(),
            Door::Admission(admission) => {
                admission.set_blocked(Some(f64::from(self.blocked)));
                admission.tick(micros(self.now));
                let late = admission.late(micros(self.now));
                let levels = admission.levels();
                self.decided(Decision { limit: levels.limit, ..self.decision });
                for ticket in late {
                    self.refused(ticket);
                }
            }
        }
        self.admit_all();
        self.after(TICK, What::Tick);
    }

    /// Statements that have run for long change lanes; proxies tell each other what they need.
    fn pool_ticks(&mut self) {
        let tau = self.tau();
        while let Some((since, who, which)) = self.begun.front().copied() {
            if since + tau > self.now {
                break;
            }
            self.begun.pop_front();
            self.grows_long(who, which);
        }
        for gate in &mut self.gates {
            let counts = gate.counts;
            let demand = f64::from(gate.waiting[0] + counts.executing + 1);
            gate.demand += DEMAND_NEW * (demand - gate.demand);
        }
        if self.gates.len() > 1 {
            self.share();
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        exponential(&mut self.chance, mean)
    }
}

fn exponential(chance: &mut ChaCha8Rng, mean: f64) -> f64 {
    let part: f64 = chance.random();
    -mean * (1.0 - part).ln()
}
