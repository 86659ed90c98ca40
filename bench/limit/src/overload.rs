//! G6: three times what the server can do, from clients that give up.

use std::time::Duration;

use bench_kit::poolers::Pooler;
use bench_kit::{say, talk};

use crate::bench::Bench;
use crate::crowd::dynos;
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::statistics::{Estimate, quantile, ratio};
use crate::surge::{Fate, Request, Surge};
use crate::work::Work;

/// A statement of some milliseconds: thousands a second would measure the load generator.
const WORK: Work = Work::Range { times: 6 };

/// The size of the fixed pools: good for this load.
const SIZE: u32 = 8;

/// Answered later than this a request is of no use.
const USEFUL: Duration = Duration::from_millis(500);

/// The load before and after, and in the surge, of what the server can do.
const CALM: f64 = 0.5;
const SURGE: f64 = 3.0;

/// How long before and after.
const BEFORE: Duration = Duration::from_secs(6);
const AFTER: Duration = Duration::from_secs(8);

/// The surge, whose beginning is judged with it.
const LASTS: Duration = Duration::from_secs(60);

/// Latency is looked at by halves of a second after the surge.
const SLOT: Duration = Duration::from_millis(500);

/// Nobody gives up before his patience ends: until then all are served in turn.
const ONSET: Duration = Duration::from_secs(3);

/// Normal again: so many times the 99th percentile before.
const NORMAL: f64 = 1.5;

/// What an arm showed.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// Useful answers a second in the surge.
    goodput: f64,
    /// 99th percentiles in ms: before, of what was answered in the surge, and of that without its
    /// onset.
    before: f64,
    p99: f64,
    later: f64,
    /// Seconds after the surge until it was normal.
    recovery: f64,
}

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    let mut arms = vec![Arm::Adaptive];
    if bench.plan.thorough {
        arms.push(Arm::Static(SIZE));
    }
    match bench.ground.pgbouncer {
        Some(_) => arms.push(Arm::PgBouncer(SIZE)),
        None => say("\nG6  pgbouncer is not installed: nothing to compare with")?,
    }
    let mut shown: Vec<Vec<Shown>> = vec![Vec::new(); arms.len()];
    let mut capacities = Vec::new();
    let order: Vec<usize> = (0..arms.len()).collect();
    for round in 1..=bench.plan.rounds {
        // What the server can do, measured as closed loop with the best pool of a fixed size.
        let capacity = bench.block(Arm::Static(SIZE), None, &dynos(WORK)).await?.rate;
        talk(&format!("G6 round {round}: capacity {capacity:.0}/s"));
        capacities.push(capacity);
        for index in bench.shuffled(&order) {
            let one = surge(bench, arms[index], capacity).await?;
            talk(&format!("G6 round {round}: {:<12} {one:.1?}", arms[index]));
            shown[index].push(one);
        }
    }
    say("\nG6  three times the capacity, clients give up after 2 s; useful within 500 ms")?;
    say("    arm           useful/s   of capacity              p99 before    \
         in surge  without onset  recovery")?;
    for (index, arm) in arms.iter().enumerate() {
        let of = |part: fn(&Shown) -> f64| -> Vec<f64> { shown[index].iter().map(part).collect() };
        let one = vec![1.0; shown[index].len()];
        let middle = |part| ratio(&of(part), &one, bench.plan.seed);
        let share = ratio(&of(|one| one.goodput), &capacities, bench.plan.seed);
        let (p99, recovery) = (middle(|one| one.p99), middle(|one| one.recovery));
        say(&format!(
            "    {arm:<12} {:>8.1}   {share}   {:>7.1} ms  {:>7.1} ms  {:>10.1} ms  {:>6.1} s",
            middle(|one| one.goodput).value,
            middle(|one| one.before).value,
            p99.value,
            middle(|one| one.later).value,
            recovery.value
        ))?;
        judge(bench, *arm, [share, p99, recovery]);
    }
    Ok(())
}

fn judge(bench: &Bench, arm: Arm, [share, p99, recovery]: [Estimate; 3]) {
    let goals = &bench.goals;
    match arm {
        Arm::Adaptive => {
            goals.estimate("G6", "useful answers, of capacity", share, Wanted::AtLeast(0.95));
            goals.estimate("G6", "seconds to recover", recovery, Wanted::AtMost(2.0));
            goals.estimate("G6", "p99 of answers in the surge, ms", p99, Wanted::AtMost(300.0));
        }
        Arm::PgBouncer(_) => {
            goals.estimate("G6", "PgBouncer: useful answers", share, Wanted::AtMost(0.05));
        }
        Arm::Static(_) => {}
    }
}

async fn surge(bench: &Bench, arm: Arm, capacity: f64) -> anyhow::Result<Shown> {
    let pooler: Pooler = bench.ground.start(arm)?;
    let span = LASTS;
    let rates = [(CALM * capacity, BEFORE), (SURGE * capacity, span), (CALM * capacity, AFTER)];
    let requests = Surge { pooler: &pooler, work: WORK, seed: bench.seed() }.run(&rates).await?;
    let (from, to) = (BEFORE, BEFORE + span);
    let within = |one: &&Request, from: Duration, to: Duration| one.due >= from && one.due < to;
    let p99 = |from: Duration, to: Duration| {
        let answered = requests.iter().filter(|one| within(one, from, to));
        let took: Vec<f64> = answered.filter_map(|one| one.answered_ms()).collect();
        quantile(&took, 0.99)
    };
    let useful = |one: &&Request| matches!(one.fate, Fate::Answered(took) if took <= USEFUL);
    // The load before is a second's half: what the first second of it opened is not looked at.
    let before = p99(Duration::from_secs(1), from);
    let slots = AFTER.as_millis() / SLOT.as_millis();
    let slots: Vec<f64> = (0..u32::try_from(slots)?)
        .map(|slot| p99(to + SLOT * slot, to + SLOT * (slot + 1)))
        .collect();
    let late = slots.iter().rposition(|p99| *p99 > before * NORMAL);
    let recovery = late.map_or(0.0, |slot| (slot + 1) as f64 * SLOT.as_secs_f64());
    let goodput = requests.iter().filter(|one| within(one, from, to)).filter(useful).count() as f64;
    let (p99, later) = (p99(from, to), p99(from + ONSET, to));
    Ok(Shown { goodput: goodput / span.as_secs_f64(), before, p99, later, recovery })
}
