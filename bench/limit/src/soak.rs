//! G9: phases drawn from a seed, for as long as one likes. Nothing is lost, and the limit never
//! stays collapsed.
//!
//! Collapsed: for ten seconds less than 70 % of what a pool of twelve does with the same load at
//! about the same time: the mean of before and after the phase, since others may use the machine.

use std::time::Duration;

use bench_kit::{say, talk};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::crowd::{Crowd, dynos};
use crate::goals::Wanted;
use crate::ground::{Arm, Watch};
use crate::machine;
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
const WINDOW: Duration = Duration::from_secs(10);

/// A phase lasts between these, in seconds.
const PHASE: std::ops::Range<u64> = 15..45;

/// After so many phases what updates have left behind is cleared away.
const TIDY: usize = 8;

pub(crate) async fn run(bench: &Bench, length: Duration) -> anyhow::Result<()> {
    let mut chance = ChaCha8Rng::seed_from_u64(bench.plan.seed);
    let pooler = bench.ground.start(Arm::Adaptive)?;
    let crowd = Crowd::gather(&pooler, &dynos(Work::Point), bench.seed()).await?;
    let watch = Watch::begin(&pooler, bench.plan.tells).await?;
    let board = crowd.board();
    let end = Instant::now() + length;
    let (mut phases, mut collapses, mut worst) = (0, 0, f64::MAX);
    say(
        "\nG9  soak\n    load                    seconds     tx/s   worst 10 s   static 12   limit",
    )?;
    while Instant::now() < end {
        if phases % TIDY == TIDY - 1 {
            bench.ground.tidy().await?;
        }
        let work = LOADS[chance.random_range(0..LOADS.len())];
        let stay = Duration::from_secs(chance.random_range(PHASE));
        let before = reference(bench, &crowd, work).await?;
        crowd.switch(work);
        let from = board.elapsed();
        tokio::time::sleep(stay).await;
        let to = board.elapsed();
        let reference = (before + reference(bench, &crowd, work).await?) / 2.0;
        let least =
            windows(from, to).map(|(from, to)| board.rate(from, to)).fold(f64::MAX, f64::min);
        let share = least / reference;
        collapses += u32::from(share < COLLAPSED);
        worst = worst.min(share);
        say(&format!(
            "    {:<22} {:>8.0} {:>8.0}   {:>7.0} {:.2}    {reference:>7.0}   {:>5.1}",
            work.name(),
            stay.as_secs_f64(),
            board.rate(from, to),
            least,
            share,
            watch.limit(to.saturating_sub(WINDOW), to),
        ))?;
        phases += 1;
        let (failed, refused, _) = board.failures();
        talk(&format!("G9 phase {phases}: {failed} failed, {refused} refused, load average {}", {
            machine::load()
        }));
    }
    let (failed, refused, first) = board.failures();
    let total = board.total();
    say(&format!(
        "    {phases} phases, {total} transactions, {failed} failed, {refused} refused{}",
        first.map_or(String::new(), |why| format!(" (first: {why})"))
    ))?;
    let lost = f64::from(u32::try_from(failed + refused).unwrap_or(u32::MAX));
    let goals = &bench.goals;
    goals.number("G9", "requests lost", lost, Wanted::AtMost(0.0));
    let what = "phases with a 10 s window under 70 % of static 12";
    goals.number("G9", what, f64::from(collapses), Wanted::AtMost(0.0));
    goals.number("G9", "worst 10 s window, of static 12", worst, Wanted::AtLeast(COLLAPSED));
    Ok(())
}

/// What a pool of twelve does, which has the server to itself.
async fn reference(bench: &Bench, crowd: &Crowd, work: Work) -> anyhow::Result<f64> {
    crowd.rest(true);
    let block = bench.block(Arm::Static(SIZE), None, &dynos(work)).await?;
    crowd.rest(false);
    Ok(block.rate)
}

/// All windows of ten seconds in a phase, a second apart.
fn windows(from: Duration, to: Duration) -> impl Iterator<Item = (Duration, Duration)> {
    let starts = (0_u32..).map(move |second| from + Duration::from_secs(1) * second);
    starts.map(|start| (start, start + WINDOW)).take_while(move |(_, end)| *end <= to)
}
