//! G3: how long it takes to follow a load whose best limit moves.

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::Bench;
use crate::board::BIN;
use crate::crowd::{Crowd, dynos};
use crate::goals::Wanted;
use crate::ground::{Arm, Watch};
use crate::statistics::{median, middle, quantile};
use crate::work::Work;

/// The loads between which it is switched, with sizes of which one is best.
const SIDES: [(Work, &[u32]); 2] = [(Work::Hot, &[4, 8]), (Work::Wait, &[64, 128])];

/// How long each lasts.
const STAY: Duration = Duration::from_secs(6);

/// Switches each way.
const SWITCHES: u32 = 8;
const THOROUGH: u32 = 20;

/// Bins that are looked at together, and the part of the best that they must have.
const TOGETHER: usize = 15;
const MASTERED: f64 = 0.9;

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let mut best = [0.0_f64; 2];
    for (best, (work, sizes)) in best.iter_mut().zip(SIDES) {
        let mut low = 0.0;
        for size in sizes {
            let (rate, share) = steadiness(bench, Arm::Static(*size), work).await?;
            if rate > *best {
                (*best, low) = (rate, share);
            }
        }
        let name = work.name();
        talk(&format!(
            "G3 {name}: best static {best:.0}/s, {:.0} % of its own windows are below 90 %",
            { 100.0 * low }
        ));
    }
    let pooler = bench.ground.start(Arm::Adaptive)?;
    let crowd = Crowd::gather(&pooler, &dynos(Work::Hot), bench.seed()).await?;
    let watch = Watch::begin(&pooler, bench.plan.tells).await?;
    tokio::time::sleep(STAY).await;
    let switches = if bench.plan.thorough { THOROUGH } else { SWITCHES };
    let mut starts: [Vec<Duration>; 2] = Default::default();
    for number in 0..2 * switches {
        let side = usize::from(number % 2 == 0);
        starts[side].push(crowd.board().elapsed());
        crowd.switch(SIDES[side].0);
        // The fixed sizes had rows without a past, too.
        bench.ground.run("VACUUM hot").await?;
        tokio::time::sleep(STAY).await;
    }
    let series = crowd.board().series();
    say("\nG3  seconds until 90 % of the best static size's throughput was reached, and held")?;
    let mut all = Vec::new();
    for side in [1, 0] {
        let times: Vec<f64> =
            starts[side].iter().map(|from| reached(&series, *from, best[side])).collect();
        let limits: Vec<f64> =
            starts[side].iter().map(|from| watch.limit(*from + STAY / 2, *from + STAY)).collect();
        let halves =
            starts[side].iter().map(|from| crowd.board().rate(*from + STAY / 2, *from + STAY));
        let share = median(&halves.collect::<Vec<_>>()) / best[side];
        say(&format!(
            "    to {:<16} median {:.1} s, p95 {:.1} s, of {}; then {:.0} % at limit {:.1}: \
             {times:.1?}",
            SIDES[side].0.name(),
            median(&times),
            quantile(&times, 0.95),
            times.len(),
            100.0 * share,
            median(&limits),
        ))?;
        all.extend(times);
    }
    let (goals, seed) = (&bench.goals, bench.plan.seed);
    goals.estimate("G3", "seconds to adapt, median", middle(&all, seed), Wanted::AtMost(2.0));
    goals.number("G3", "seconds to adapt, p95", quantile(&all, 0.95), Wanted::AtMost(5.0));
    Ok(())
}

/// What a fixed size does, and how much of the time that is below nine tenths of itself: what the
/// load and the machine make of it, and no limit.
async fn steadiness(bench: &Bench, arm: Arm, work: Work) -> anyhow::Result<(f64, f64)> {
    let pooler = bench.ground.start(arm)?;
    let crowd = Crowd::gather(&pooler, &dynos(work), bench.seed()).await?;
    tokio::time::sleep(STAY / 4).await;
    let from = crowd.board().elapsed();
    tokio::time::sleep(STAY).await;
    let rate = crowd.board().rate(from, crowd.board().elapsed());
    let series = crowd.board().series();
    let bins = series.get(bin(from) + 1..).unwrap_or_default();
    let low = |bins: &&[f64]| bins.iter().sum::<f64>() < MASTERED * rate * TOGETHER as f64;
    let all = bins.windows(TOGETHER).count().max(1);
    Ok((rate, bins.windows(TOGETHER).filter(low).count() as f64 / all as f64))
}

fn bin(at: Duration) -> usize {
    usize::try_from(at.as_millis() / BIN.as_millis()).unwrap_or(0)
}

/// Seconds from a switch to the moment from which on every second and a half of the phase has what
/// is wanted; the whole phase if there is none.
fn reached(series: &[f64], from: Duration, best: f64) -> f64 {
    let phase = series.get(bin(from) + 1..bin(from + STAY)).unwrap_or_default();
    let low = |bins: &[f64]| bins.iter().sum::<f64>() < MASTERED * best * TOGETHER as f64;
    let windows = phase.windows(TOGETHER).count();
    match phase.windows(TOGETHER).rposition(low) {
        None => 0.0,
        Some(last) if last + 1 == windows => STAY.as_secs_f64(),
        Some(last) => (last + 1) as f64 * BIN.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phase that has so much from this second on, and half of it before.
    fn phase(second: usize) -> Vec<f64> {
        (0..61).map(|bin| if bin < 10 * second { 50.0 } else { 100.0 }).collect()
    }

    #[test]
    fn the_time_is_that_after_which_nothing_is_missed() {
        assert_eq!(reached(&phase(0), Duration::ZERO, 100.0), 0.0);
        // A second and a half that lacks no more than a tenth begins a little before.
        let two = reached(&phase(2), Duration::ZERO, 100.0);
        assert!((1.4..2.0).contains(&two), "{two}");
        assert_eq!(reached(&phase(6), Duration::ZERO, 100.0), 6.0, "never");
        let mut relapse = phase(1);
        relapse[40..50].fill(50.0);
        assert!(reached(&relapse, Duration::ZERO, 100.0) > 4.0, "what was not held does not count");
    }
}
