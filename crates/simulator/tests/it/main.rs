//! The law, in the proxy's own admission, against what the scenario files expect.
//!
//! A quick version: a seed, phases of 20 seconds, five static sizes for an oracle. The whole table:
//! `cargo run --release -p simulator`.

use std::path::Path;
use std::sync::Mutex;

use admission::Law;
use simulator::judge::Oracle;
use simulator::{Scenario, random};

const SEED: u64 = 1;

fn scenarios() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let scenarios = Scenario::folder(&folder).expect("readable scenarios");
    scenarios.into_iter().map(|scenario| scenario.shortened(20.0)).collect()
}

/// On both cores.
fn each(scenarios: Vec<Scenario>, check: impl Fn(&Scenario) -> Vec<String> + Sync) -> Vec<String> {
    let (queue, failures) = (Mutex::new(scenarios), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(scenario) = { queue.lock().expect("no panic").pop() } {
                    let found = check(&scenario);
                    let found = found.into_iter().map(|f| format!("{}: {f}", scenario.name));
                    failures.lock().expect("no panic").extend(found);
                }
            });
        }
    });
    failures.into_inner().expect("no panic")
}

#[test]
fn the_law_does_what_the_scenarios_expect() {
    let failures = each(scenarios(), |scenario| {
        let oracle = Oracle::ask(scenario, SEED, 5);
        oracle.judge_law(scenario, Law::new(SEED), SEED).failures(scenario)
    });
    assert!(failures.is_empty(), "seed {SEED}:\n{}", failures.join("\n"));
}

#[test]
fn what_was_never_seen_is_mastered_too() {
    let drawn: Vec<Scenario> = (2000..2003).map(|n| random::scenario(n).shortened(15.0)).collect();
    let failures = each(drawn, |scenario| {
        let oracle = Oracle::ask(scenario, SEED, 5);
        oracle.judge_law(scenario, Law::new(SEED), SEED).failures(scenario)
    });
    assert!(failures.is_empty(), "seed {SEED}:\n{}", failures.join("\n"));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let scenario = random::scenario(7).shortened(3.0);
    let run = || {
        let law = simulator::Rule::Admission(Box::new(Law::new(SEED)));
        let tally = simulator::run(&scenario, law, SEED);
        (tally.good, tally.limits)
    };
    assert_eq!(run(), run());
}
