//! G1: a load that stays as it is. The limit that was found, beside static sizes.

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::{Bench, Block};
use crate::crowd::{Crowd, dynos};
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::statistics::{median, ratio};
use crate::work::Work;

/// Loads, each with sizes around its best.
const LOADS: [(Work, &[u32]); 6] = [
    (Work::Point, &[2, 4, 8, 16]),
    (Work::Range { times: 1 }, &[2, 4, 8, 16]),
    (Work::Hot, &[4, 8, 16, 32]),
    (Work::Wait, &[32, 64, 96, 128]),
    (Work::TpcB, &[8, 16, 32, 64]),
    (Work::Gaps, &[4, 8, 16, 32]),
];

/// What a thorough run tries.
const SIZES: [u32; 11] = [2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128];

/// Time to find the limit of a database that nothing is known of.
const LEARN: Duration = Duration::from_secs(6);

/// All loads, or some by their number.
pub(crate) async fn run(bench: &Bench, only: &[usize]) -> anyhow::Result<()> {
    for (number, (work, sizes)) in LOADS.into_iter().enumerate() {
        if only.is_empty() || only.contains(&(number + 1)) {
            let sizes = if bench.plan.thorough { &SIZES[..] } else { sizes };
            load(bench, work, sizes).await?;
        }
    }
    Ok(())
}

async fn load(bench: &Bench, work: Work, sizes: &[u32]) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let adaptive = bench.ground.start(Arm::Adaptive)?;
    let crowd = Crowd::gather(&adaptive, &dynos(work), bench.seed()).await?;
    tokio::time::sleep(LEARN).await;
    drop(crowd);

    let arms: Vec<Arm> =
        std::iter::once(Arm::Adaptive).chain(sizes.iter().map(|size| Arm::Static(*size))).collect();
    let mut blocks: Vec<Vec<Block>> = vec![Vec::new(); arms.len()];
    let order: Vec<usize> = (0..arms.len()).collect();
    for round in 1..=bench.plan.rounds {
        bench.ground.tidy().await?;
        for index in bench.shuffled(&order) {
            let running = (arms[index] == Arm::Adaptive).then_some(&adaptive);
            let block = bench.block(arms[index], running, &dynos(work)).await?;
            talk(&format!(
                "G1 {} round {round}: {:<10} {:>8.0}/s, limit {:.1}",
                work.name(),
                arms[index],
                block.rate,
                block.limit
            ));
            blocks[index].push(block);
        }
    }
    tell(bench, work, &arms, &blocks)
}

fn tell(bench: &Bench, work: Work, arms: &[Arm], blocks: &[Vec<Block>]) -> anyhow::Result<()> {
    let rates: Vec<Vec<f64>> =
        blocks.iter().map(|all| all.iter().map(|block| block.rate).collect()).collect();
    let best = (1..arms.len())
        .max_by(|a, b| median(&rates[*a]).total_cmp(&median(&rates[*b])))
        .unwrap_or_default();
    say(&format!("\nG1  {}", work.name()))?;
    say("    arm            tx/s   of best  [95 % interval]      limit  core 0  core 1  failed")?;
    for (index, arm) in arms.iter().enumerate() {
        let of = |part: fn(&Block) -> f64| -> Vec<f64> { blocks[index].iter().map(part).collect() };
        let share = ratio(&rates[index], &rates[best], bench.plan.seed);
        say(&format!(
            "    {arm:<10} {:>8.0}   {:>7.3}  [{:.3} … {:.3}]  {:>9.1}  {:>4.0} %  {:>4.0} %  {:>6}\
             {}",
            median(&rates[index]),
            share.value,
            share.low,
            share.high,
            median(&of(|block| block.limit)),
            median(&of(|block| block.busy[0])),
            median(&of(|block| block.busy[1])),
            blocks[index].iter().map(|block| block.failed).sum::<u64>(),
            if index == best { "  best" } else { "" },
        ))?;
    }
    let share = ratio(&rates[0], &rates[best], bench.plan.seed);
    let what = format!("{}: of {}", work.name(), arms[best]);
    bench.goals.estimate("G1", what, share, Wanted::AtLeast(0.97));
    Ok(())
}
