//! Scenarios nobody has seen: drawn by a seed, never used to tune anything.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scenario::{Database, Expect, Group, Phase, Scenario};

/// How long each of the two phases is, in seconds.
const PHASE: f64 = 40.0;

/// The scenario of this number: one to eight cores, two phases of different loads.
#[must_use]
pub fn scenario(number: u64) -> Scenario {
    let mut chance = ChaCha8Rng::seed_from_u64(number);
    let database = Database {
        cores: f64::from(chance.random_range(1..=8_u32)),
        coherence: between(&mut chance, 0.002, 0.02),
        channels: f64::from(chance.random_range(4..=64_u32)),
        thrash: between(&mut chance, 0.01, 0.1),
        wake_ms: between(&mut chance, 0.0, 0.02),
        connections: 200,
        dips: Vec::new(),
    };
    let phases = (0..2).map(|nth| phase(&mut chance, nth)).collect();
    Scenario {
        name: format!("random-{number}"),
        about: "two loads, drawn".into(),
        database,
        proxies: 1,
        phases,
        expect: Expect { share: 0.9, adapt: None },
    }
}

fn phase(chance: &mut ChaCha8Rng, nth: u32) -> Phase {
    let io = chance.random_bool(0.5);
    let group = Group {
        name: format!("load-{nth}"),
        clients: chance.random_range(100..=300),
        think_ms: between(chance, 2.0, 20.0),
        per_second: 0.0,
        statements: chance.random_range(1..=3),
        cpu_ms: between(chance, 0.3, 4.0),
        io_ms: if io { between(chance, 1.0, 15.0) } else { 0.0 },
        turns: 1,
        spread: between(chance, 0.2, 1.2),
        gap_ms: between(chance, 0.0, 1.0),
        idle_share: if chance.random_bool(0.25) { 0.2 } else { 0.0 },
        idle_ms: 30.0,
        hot_rows: if chance.random_bool(0.3) { chance.random_range(2..=16) } else { 0 },
        patience_ms: 0.0,
        retries: 0,
        retry_ms: 0.0,
        report: false,
    };
    Phase { seconds: PHASE, rtt_ms: between(chance, 0.1, 2.0), groups: vec![group], settle: None }
}

/// Evenly on a logarithmic scale, but for a range that begins at nothing.
fn between(chance: &mut impl Rng, from: f64, to: f64) -> f64 {
    let part: f64 = chance.random();
    if from > 0.0 { from * (to / from).powf(part) } else { to * part }
}
