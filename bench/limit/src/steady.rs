//! G1: a load that stays as it is. The limit that was found, beside static sizes.
//!
//! Two proxies stand in front of the server, one with the law and one with a fixed size, each with
//! clients of its own, and take turns of two seconds. What is compared are the two of a pair.

use std::time::Duration;

use bench_kit::poolers::Pooler;
use bench_kit::{say, talk};

use crate::bench::{Bench, Block, SETTLE, measure};
use crate::crowd::{Crowd, Group, dynos};
use crate::goals::Wanted;
use crate::ground::{Arm, Watch};
use crate::reports::reports;
use crate::statistics::{Estimate, median, middle};
use crate::work::Work;

/// A load, and sizes around its best.
#[derive(Debug)]
struct Load {
    number: usize,
    name: &'static str,
    groups: Vec<Group>,
    in_bursts: bool,
    /// What was begun in one turn would last into the next: turns are whole blocks.
    is_slow: bool,
    sizes: &'static [u32],
}

impl Load {
    fn of(number: usize, work: Work, sizes: &'static [u32]) -> Self {
        let (name, groups) = (work.name(), dynos(work));
        Self { number, name, groups, in_bursts: false, is_slow: false, sizes }
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
        (load.name, load.is_slow) = ("W8 point reads beside reports", true);
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

/// Parts of a block in which the adaptive limit and a fixed size take turns: whole blocks of the
/// same arm differ by up to two here, since others use the machine; turns beside each other do not.
const TURN: Duration = Duration::from_secs(2);

/// From a turn's begin until it counts: who was served before has left.
const LEAD: Duration = Duration::from_millis(500);

/// An arm with a crowd of its own, which rests while another has its turn.
struct Stand {
    arm: Arm,
    crowd: Crowd,
    watch: Watch,
    _pooler: Pooler,
}

impl Stand {
    /// Its crowd does not rest yet.
    async fn open(bench: &Bench, arm: Arm, load: &Load) -> anyhow::Result<Self> {
        let pooler = bench.ground.start(arm)?;
        let watch = Watch::begin(&pooler, bench.plan.tells).await?;
        let mut crowd = Crowd::gather(&pooler, &load.groups, bench.seed()).await?;
        if load.in_bursts {
            crowd.come_in_bursts();
        }
        Ok(Self { arm, crowd, watch, _pooler: pooler })
    }

    /// Its crowd works for a turn, and rests again.
    async fn turn(&self, lead: Duration, span: Duration) -> anyhow::Result<Block> {
        let (failed, refused, _) = self.crowd.board().failures();
        self.crowd.rest(false);
        tokio::time::sleep(lead).await;
        let block = measure(&self.crowd, Some(&self.watch), span).await?;
        self.crowd.rest(true);
        Ok(Block { failed: block.failed - failed - refused, ..block })
    }
}

/// The adaptive limit and a fixed size in turn: `[adaptive, fixed]` of each pair.
struct Compared {
    size: Arm,
    pairs: Vec<[Block; 2]>,
}

impl Compared {
    fn of(&self, arm: usize, part: fn(&Block) -> f64) -> Vec<f64> {
        self.pairs.iter().map(|pair| part(&pair[arm])).collect()
    }

    /// What the adaptive limit does of this size.
    fn share(&self, seed: u64) -> Estimate {
        let share = |[adaptive, fixed]: &[Block; 2]| adaptive.rate / fixed.rate;
        middle(&self.pairs.iter().map(share).collect::<Vec<f64>>(), seed)
    }
}

async fn compare(bench: &Bench, load: &Load) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let adaptive = Stand::open(bench, Arm::Adaptive, load).await?;
    tokio::time::sleep(LEARN).await;
    adaptive.crowd.rest(true);
    let mut all = Vec::new();
    for size in bench.shuffled(load.sizes) {
        bench.ground.tidy().await?;
        let fixed = Stand::open(bench, Arm::Static(size), load).await?;
        tokio::time::sleep(SETTLE).await;
        fixed.crowd.rest(true);
        all.push(Compared {
            size: fixed.arm,
            pairs: take_turns(bench, load, &adaptive, &fixed).await?,
        });
    }
    tell(bench, load.name, &all)
}

/// As many turns of each as make up the blocks that were asked for, in pairs.
async fn take_turns(
    bench: &Bench,
    load: &Load,
    adaptive: &Stand,
    fixed: &Stand,
) -> anyhow::Result<Vec<[Block; 2]>> {
    let whole = bench.plan.block * u32::try_from(bench.plan.rounds)?;
    let (lead, span) = if load.is_slow { (SETTLE, bench.plan.block) } else { (LEAD, TURN) };
    let count = whole.as_secs_f64() / span.as_secs_f64();
    let mut pairs = Vec::new();
    while (pairs.len() as f64) < count {
        let mut pair = [Block::default(); 2];
        for index in bench.shuffled(&[0, 1]) {
            pair[index] = [adaptive, fixed][index].turn(lead, span).await?;
        }
        talk(&format!(
            "G1 {} pair {}: {:>8.0}/s at {:.1}, {} {:>8.0}/s",
            load.name,
            pairs.len() + 1,
            pair[0].rate,
            pair[0].limit,
            fixed.arm,
            pair[1].rate
        ));
        pairs.push(pair);
    }
    Ok(pairs)
}

fn tell(bench: &Bench, name: &str, all: &[Compared]) -> anyhow::Result<()> {
    let shares: Vec<Estimate> = all.iter().map(|one| one.share(bench.plan.seed)).collect();
    let best = (0..all.len()).min_by(|a, b| shares[*a].value.total_cmp(&shares[*b].value));
    let Some(best) = best else { return Ok(()) };
    say(&format!("\nG1  {name}: the adaptive limit and a fixed size in turn"))?;
    say(
        "    size           tx/s   adaptive  limit  of it  [95 % interval]  core 0  core 1  failed",
    )?;
    for (number, (one, share)) in all.iter().zip(&shares).enumerate() {
        let at = |arm, part| median(&one.of(arm, part));
        let failed: u64 = one.pairs.iter().flatten().map(|block| block.failed).sum();
        say(&format!(
            "    {:<10} {:>8.0}   {:>8.0}  {:>5.1}  {share}  {:>4.0} %  {:>4.0} %  {failed:>6}{}",
            one.size,
            at(1, |block| block.rate),
            at(0, |block| block.rate),
            at(0, |block| block.limit),
            at(0, |block| block.busy[0]),
            at(0, |block| block.busy[1]),
            if number == best { "  best" } else { "" },
        ))?;
    }
    let what = format!("{name}: of {}", all[best].size);
    bench.goals.estimate("G1", what, shares[best], Wanted::AtLeast(0.97));
    Ok(())
}
