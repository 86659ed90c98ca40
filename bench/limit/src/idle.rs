//! G4: clients that idle in their transactions.

use bench_kit::{say, talk};

use crate::bench::Bench;
use crate::crowd::dynos;
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::statistics::{median, ratio};
use crate::work::Work;

/// So many of a hundred transactions idle.
const PERCENT: u32 = 30;

/// A good size for the load without idling: its places are then held by those who idle.
const SIZE: u32 = 16;

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let adaptive = bench.ground.start(Arm::Adaptive)?;
    let arms = [Arm::Adaptive, Arm::Static(SIZE)];
    let cases: Vec<(usize, usize)> = (0..4).map(|n| (n / 2, n % 2)).collect();
    let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 1..=bench.plan.rounds {
        for (arm, idles) in bench.shuffled(&cases) {
            let work = Work::Idle { percent: if idles == 1 { PERCENT } else { 0 } };
            let running = (arm == 0).then_some(&adaptive);
            let block = bench.block(arms[arm], running, &dynos(work)).await?;
            talk(&format!(
                "G4 round {round}: {:<10} {} % idle: {:.0}/s, limit {:.1}, core 0 {:.0} %",
                arms[arm],
                PERCENT * u32::from(idles == 1),
                block.rate,
                block.limit,
                block.busy[0],
            ));
            rates[arm][idles].push(block.rate);
        }
    }
    say("\nG4  two range sums in a transaction; 30 % of clients idle 50 ms in between")?;
    for (arm, rates) in arms.iter().zip(&rates) {
        let share = ratio(&rates[1], &rates[0], bench.plan.seed);
        say(&format!(
            "    {arm:<10} {:>7.0}/s without, {:>7.0}/s with: {share}",
            median(&rates[0]),
            median(&rates[1])
        ))?;
    }
    let share = ratio(&rates[0][1], &rates[0][0], bench.plan.seed);
    bench.goals.estimate("G4", "throughput that idling leaves", share, Wanted::AtLeast(0.98));
    let held = ratio(&rates[1][1], &rates[1][0], bench.plan.seed);
    let what = format!("of a held-limited pool ({})", arms[1]);
    bench.goals.estimate("G4", what, held, Wanted::AtMost(0.6));
    Ok(())
}
