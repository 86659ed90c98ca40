//! G9: phases drawn from a seed, for as long as one likes. Nothing is lost, and the limit never
//! stays collapsed.
//!
//! Collapsed: for ten seconds less than 70 % of what a pool of twelve does with the same load. That
//! pool has its turn each five seconds, since others may use the machine: ten seconds are two turns
//! of the adaptive limit, compared with the pool's turns before, between and after.

use std::time::Duration;

use bench_kit::{say, talk};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::bench::{Bench, Block};
use crate::crowd::dynos;
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::machine;
use crate::stand::{LEAD, Stand};
use crate::statistics::mean;
use crate::work::Work;

const LOADS: [Work; 7] = [
    Work::Point,
    Work::Range { times: 1 },
    Work::Hot,
    Work::Wait,
    Work::TpcB,
    Work::Gaps,
    Work::Idle { percent: 30 },
];

/// The pool that is compared with, and what is a collapse.
const SIZE: u32 = 12;
const COLLAPSED: f64 = 0.7;
/// How long each works until it is the other's turn; all of the adaptive limit's counts.
const TURN: Duration = Duration::from_secs(5);
const BESIDE: Duration = Duration::from_millis(1500);

/// A phase lasts between these, in turns.
const PHASE: std::ops::Range<usize> = 3..9;

/// After so many phases what updates have left behind is cleared away.
const TIDY: usize = 8;

pub(crate) async fn run(bench: &Bench, length: Duration) -> anyhow::Result<()> {
    let mut chance = ChaCha8Rng::seed_from_u64(bench.plan.seed);
    let (ground, groups) = (&bench.ground, dynos(Work::Point));
    let adaptive = Stand::open(bench, ground, Arm::Adaptive, &groups).await?;
    let fixed = Stand::open(bench, ground, Arm::Static(SIZE), &groups).await?;
    adaptive.crowd.rest().await;
    fixed.crowd.rest().await;
    let end = Instant::now() + length;
    let (mut phases, mut collapses, mut worst) = (0, 0, f64::MAX);
    say("\nG9  soak\n    load                   turns     tx/s   static 12   of it   \
         worst 10 s   limit")?;
    while Instant::now() < end {
        if phases % TIDY == TIDY - 1 {
            bench.ground.tidy().await?;
        }
        let work = LOADS[chance.random_range(0..LOADS.len())];
        let phase = Phase::of(&adaptive, &fixed, work, chance.random_range(PHASE)).await?;
        let least = phase.least();
        collapses += u32::from(least < COLLAPSED);
        worst = worst.min(least);
        phase.tell(work, least)?;
        phases += 1;
        let (failed, refused, _) = adaptive.crowd.board().failures();
        talk(&format!("G9 phase {phases}: {failed} failed, {refused} refused, load average {}", {
            machine::load()
        }));
    }
    let (failed, refused, first) = adaptive.crowd.board().failures();
    let total = adaptive.crowd.board().total();
    say(&format!(
        "    {phases} phases, {total} transactions, {failed} failed, {refused} refused{}",
        first.map_or(String::new(), |why| format!(" (first: {why})"))
    ))?;
    let lost = f64::from(u32::try_from(failed + refused).unwrap_or(u32::MAX));
    let goals = &bench.goals;
    goals.number("G9", "requests lost", lost, Wanted::AtMost(0.0));
    let what = "phases with ten seconds under 70 % of static 12";
    goals.number("G9", what, f64::from(collapses), Wanted::AtMost(0.0));
    goals.number("G9", "worst ten seconds, of static 12", worst, Wanted::AtLeast(COLLAPSED));
    Ok(())
}

/// A load for some turns.
struct Phase {
    adaptive: Vec<Block>,
    /// One more: before, between and after those.
    fixed: Vec<Block>,
}

impl Phase {
    async fn of(adaptive: &Stand, fixed: &Stand, work: Work, turns: usize) -> anyhow::Result<Self> {
        adaptive.crowd.switch(work);
        fixed.crowd.switch(work);
        let mut phase = Self { adaptive: vec![], fixed: vec![fixed.turn(LEAD, BESIDE).await?] };
        for _ in 0..turns {
            phase.adaptive.push(adaptive.turn(Duration::ZERO, TURN).await?);
            phase.fixed.push(fixed.turn(LEAD, BESIDE).await?);
        }
        Ok(phase)
    }

    /// The least that two turns in a row did of what the pool did meanwhile.
    fn least(&self) -> f64 {
        let beside = self.fixed.windows(3).map(|fixed| {
            // The turn in the middle is next to both.
            let rates: Vec<f64> = [0, 1, 1, 2].iter().map(|at| fixed[*at].rate).collect();
            mean(&rates)
        });
        let done = self.adaptive.windows(2).map(|two| (two[0].rate + two[1].rate) / 2.0);
        done.zip(beside).map(|(done, beside)| done / beside).fold(f64::MAX, f64::min)
    }

    fn tell(&self, work: Work, least: f64) -> anyhow::Result<()> {
        let rate = |blocks: &[Block]| mean(&blocks.iter().map(|one| one.rate).collect::<Vec<_>>());
        let (done, beside) = (rate(&self.adaptive), rate(&self.fixed));
        say(&format!(
            "    {:<22} {:>5} {done:>8.0}    {beside:>8.0}    {:.2}         {:.2}   {:>5.1}",
            work.name(),
            self.adaptive.len(),
            done / beside,
            least,
            self.adaptive.last().map_or(f64::NAN, |last| last.limit),
        ))
    }
}
