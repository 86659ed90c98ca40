//! G1: a load that stays as it is. The limit that was found, beside static sizes.

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::{Bench, Block};
use crate::crowd::{Crowd, Group, dynos};
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::reports::reports;
use crate::statistics::{median, ratio};
use crate::work::Work;

/// A load, and sizes around its best.
#[derive(Debug)]
struct Load {
    number: usize,
    name: &'static str,
    groups: Vec<Group>,
    in_bursts: bool,
    sizes: &'static [u32],
}

impl Load {
    fn of(number: usize, work: Work, sizes: &'static [u32]) -> Self {
        Self { number, name: work.name(), groups: dynos(work), in_bursts: false, sizes }
    }

    /// W1 to W6, and W2 in bursts.
    fn alone() -> Vec<Self> {
        let range = Work::Range { times: 1 };
        let mut bursts = Self::of(9, range, &[2, 4, 8, 16]);
        (bursts.name, bursts.in_bursts) = ("W9 range sums in bursts", true);
        vec![
            Self::of(1, Work::Point, &[2, 4, 8, 16]),
            Self::of(2, range, &[2, 4, 8, 16]),
            Self::of(3, Work::Hot, &[4, 8, 16, 32]),
            Self::of(4, Work::Wait, &[32, 64, 96, 128]),
            Self::of(5, Work::TpcB, &[8, 16, 32, 64]),
            Self::of(6, Work::Gaps, &[4, 8, 16, 32]),
            bursts,
        ]
    }

    /// W1 beside reports, which are so few that what is counted are point reads.
    async fn beside_reports(bench: &Bench) -> anyhow::Result<Self> {
        let mut load = Self::of(8, Work::Point, &[8, 16, 32, 64]);
        load.name = "W8 point reads beside reports";
        load.groups.push(reports(bench).await?);
        Ok(load)
    }
}

/// What a thorough run tries.
const SIZES: [u32; 11] = [2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128];

/// Time to find the limit of a database that nothing is known of.
const LEARN: Duration = Duration::from_secs(6);

/// All loads, or some by their number.
pub(crate) async fn run(bench: &Bench, only: &[usize]) -> anyhow::Result<()> {
    let is_wanted = |number: usize| only.is_empty() || only.contains(&number);
    let mut loads = Load::alone();
    if is_wanted(8) {
        bench.ground.tidy().await?;
        loads.push(Load::beside_reports(bench).await?);
    }
    for mut load in loads.into_iter().filter(|load| is_wanted(load.number)) {
        if bench.plan.thorough {
            load.sizes = &SIZES;
        }
        compare(bench, &load).await?;
    }
    Ok(())
}

async fn compare(bench: &Bench, load: &Load) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let adaptive = bench.ground.start(Arm::Adaptive)?;
    let mut crowd = Crowd::gather(&adaptive, &load.groups, bench.seed()).await?;
    if load.in_bursts {
        crowd.come_in_bursts();
    }
    tokio::time::sleep(LEARN).await;
    drop(crowd);

    let sizes = load.sizes.iter().map(|size| Arm::Static(*size));
    let arms: Vec<Arm> = std::iter::once(Arm::Adaptive).chain(sizes).collect();
    let mut blocks: Vec<Vec<Block>> = vec![Vec::new(); arms.len()];
    let order: Vec<usize> = (0..arms.len()).collect();
    for round in 1..=bench.plan.rounds {
        bench.ground.tidy().await?;
        for index in bench.shuffled(&order) {
            let running = (arms[index] == Arm::Adaptive).then_some(&adaptive);
            let Load { groups, in_bursts, .. } = load;
            let block = bench.block_of(arms[index], running, groups, *in_bursts).await?;
            talk(&format!(
                "G1 {} round {round}: {:<10} {:>8.0}/s, limit {:.1}",
                load.name, arms[index], block.rate, block.limit
            ));
            blocks[index].push(block);
        }
    }
    tell(bench, load.name, &arms, &blocks)
}

fn tell(bench: &Bench, name: &str, arms: &[Arm], blocks: &[Vec<Block>]) -> anyhow::Result<()> {
    let rates: Vec<Vec<f64>> =
        blocks.iter().map(|all| all.iter().map(|block| block.rate).collect()).collect();
    let best = (1..arms.len())
        .max_by(|a, b| median(&rates[*a]).total_cmp(&median(&rates[*b])))
        .unwrap_or_default();
    say(&format!("\nG1  {name}"))?;
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
    let what = format!("{name}: of {}", arms[best]);
    bench.goals.estimate("G1", what, share, Wanted::AtLeast(0.97));
    Ok(())
}
