//! G1: a load that stays as it is. The limit that was found, beside static sizes.
//!
//! Two proxies stand in front of the server, one with the law and one with a fixed size, each with
//! clients of its own, and take turns of four and two seconds. What is compared are the two of a
//! pair. A few pairs with each size say which is the best; the goal is judged by many more with
//! that one, of proxies and server connections that are opened anew every few pairs: some are
//! faster than others by five in a hundred for as long as they live, and nothing of that is the
//! limit's.

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::{Bench, Block, SETTLE};
use crate::crowd::{Group, dynos};
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::reports::reports;
use crate::stand::{LEAD, Stand, TURN};
use crate::statistics::{Estimate, median, typical_of_groups};
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

    /// An arm with this load, which it has at once.
    async fn stand(&self, bench: &Bench, arm: Arm) -> anyhow::Result<Stand> {
        let mut stand = Stand::open(bench, &bench.ground, arm, &self.groups).await?;
        if self.in_bursts {
            stand.crowd.come_in_bursts();
        }
        Ok(stand)
    }

    /// The adaptive arm, with the limit found for this load. Its crowd rests.
    async fn learn(&self, bench: &Bench) -> anyhow::Result<Stand> {
        bench.ground.tidy().await?;
        let adaptive = self.stand(bench, Arm::Adaptive).await?;
        tokio::time::sleep(LEARN).await;
        adaptive.crowd.rest().await;
        Ok(adaptive)
    }

    /// From a turn's begin until it counts, and how long it does.
    fn turn(&self, bench: &Bench) -> (Duration, Duration) {
        if self.is_slow { (SETTLE, bench.plan.block) } else { (LEAD, TURN) }
    }

    /// How many turns make up the blocks that were asked for.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    fn pairs(&self, bench: &Bench) -> usize {
        let whole = bench.plan.rounds as f64 * bench.plan.block.as_secs_f64();
        (whole / self.turn(bench).1.as_secs_f64()).ceil() as usize
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

/// What is judged are pairs with the size that looked best, measured afresh, so many times more:
/// the best of a few estimates looks better than it is.
const JUDGED: usize = 4;

/// So many pairs are measured before all is opened anew.
const PAIRS_AT_ONCE: usize = 6;

/// The law's turns are so many times longer: it begins each anew, which no steady load asks of it.
const LONGER: u32 = 2;

/// The adaptive limit and a fixed size in turn: `[adaptive, fixed]` of each pair, by the proxies
/// that were measured.
struct Compared {
    size: Arm,
    pairs: Vec<Vec<[Block; 2]>>,
}

impl Compared {
    fn of(&self, arm: usize, part: fn(&Block) -> f64) -> Vec<f64> {
        self.pairs.iter().flatten().map(|pair| part(&pair[arm])).collect()
    }

    /// What the adaptive limit does of this size.
    fn share(&self, seed: u64) -> Estimate {
        let share = |[adaptive, fixed]: &[Block; 2]| adaptive.rate / fixed.rate;
        let shares = |pairs: &Vec<[Block; 2]>| pairs.iter().map(share).collect();
        typical_of_groups(&self.pairs.iter().map(shares).collect::<Vec<Vec<f64>>>(), seed)
    }

    fn tell(&self, seed: u64, note: &str) -> anyhow::Result<()> {
        let at = |arm, part| median(&self.of(arm, part));
        let blocks = || self.pairs.iter().flatten().flatten();
        let failed: u64 = blocks().map(|block| block.failed).sum();
        say(&format!(
            "    {:<10} {:>5} {:>8.0}   {:>8.0}  {:>5.1}  {}  {:>4.0} %  {:>4.0} %  \
             {failed:>6}{note}",
            self.size,
            blocks().count() / 2,
            at(1, |block| block.rate),
            at(0, |block| block.rate),
            at(0, |block| block.limit),
            self.share(seed),
            at(0, |block| block.busy[0]),
            at(0, |block| block.busy[1]),
        ))
    }
}

async fn compare(bench: &Bench, load: &Load) -> anyhow::Result<()> {
    let seed = bench.plan.seed;
    let adaptive = load.learn(bench).await?;
    say(&format!("\nG1  {}: the adaptive limit and a fixed size in turn", load.name))?;
    say(
        "    size       pairs     tx/s   adaptive  limit  of it  [95 % interval]  core 0  core 1  \
         failed",
    )?;
    let few = load.pairs(bench);
    let mut best: Option<(f64, u32)> = None;
    for size in bench.shuffled(load.sizes) {
        let pairs = vec![take_turns(bench, load, &adaptive, size, few).await?];
        let compared = Compared { size: Arm::Static(size), pairs };
        compared.tell(seed, "")?;
        let share = compared.share(seed).value;
        best = best.filter(|(least, _)| *least <= share).or(Some((share, size)));
    }
    drop(adaptive);
    let Some((_, best)) = best else { return Ok(()) };
    let mut judged = Compared { size: Arm::Static(best), pairs: Vec::new() };
    let mut left = JUDGED * few;
    while left > 0 {
        let adaptive = load.learn(bench).await?;
        let count = left.min(PAIRS_AT_ONCE);
        judged.pairs.push(take_turns(bench, load, &adaptive, best, count).await?);
        left -= count;
    }
    judged.tell(seed, "  judged")?;
    let what = format!("{}: of {}", load.name, judged.size);
    bench.goals.estimate("G1", what, judged.share(seed), Wanted::AtLeast(0.97));
    Ok(())
}

/// So many turns of each, in pairs: `[adaptive, fixed]`.
async fn take_turns(
    bench: &Bench,
    load: &Load,
    adaptive: &Stand,
    size: u32,
    count: usize,
) -> anyhow::Result<Vec<[Block; 2]>> {
    bench.ground.tidy().await?;
    let fixed = load.stand(bench, Arm::Static(size)).await?;
    tokio::time::sleep(SETTLE).await;
    fixed.crowd.rest().await;
    let (lead, span) = load.turn(bench);
    let spans = [LONGER * span, span];
    let mut pairs = Vec::new();
    while pairs.len() < count {
        let mut pair = [Block::default(); 2];
        for index in bench.shuffled(&[0, 1]) {
            pair[index] = [adaptive, &fixed][index].turn(lead, spans[index]).await?;
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
