//! G3: how long it takes to follow a load whose best limit moves.

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::Bench;
use crate::board::BIN;
use crate::crowd::{Crowd, dynos};
use crate::goals::Wanted;
use crate::ground::{Arm, Watch};
use crate::statistics::{mean, median, middle, quantile};
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

/// Where the load wanders the best fixed size has less itself in some of its windows (hot rows: in
/// a tenth of them, and in four of ten on a bad day). A limit is not asked for more than all but so
/// many of those have.
const POOREST: f64 = 0.05;

/// A fixed size under the load of one side, before and after what is measured.
#[derive(Debug)]
struct Fixed {
    side: usize,
    size: u32,
    /// Transactions a second: the means, and all windows.
    rates: Vec<f64>,
    windows: Vec<f64>,
}

impl Fixed {
    fn rate(&self) -> f64 {
        mean(&self.rates)
    }

    /// What a window must have to be as good as those of this size.
    fn mastered(&self) -> f64 {
        (MASTERED * self.rate()).min(quantile(&self.windows, POOREST))
    }

    /// The part of its own windows that have less than is asked for in a steady load.
    fn low(&self) -> f64 {
        let low = self.windows.iter().filter(|window| **window < MASTERED * self.rate()).count();
        low as f64 / self.windows.len().max(1) as f64
    }
}

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let side = |(side, (_, sizes)): (usize, (Work, &'static [u32]))| {
        let fixed = move |size: &u32| Fixed { side, size: *size, rates: vec![], windows: vec![] };
        sizes.iter().map(fixed)
    };
    let mut fixed: Vec<Fixed> = SIDES.into_iter().enumerate().flat_map(side).collect();
    look_at(bench, &mut fixed).await?;
    let Followed { starts, series, rates, limits, lost } = follow(bench).await?;
    look_at(bench, &mut fixed).await?;
    say("\nG3  seconds until a load's best fixed size was reached, and held")?;
    let mut all = Vec::new();
    for side in [1, 0] {
        let fixed = fixed.iter().filter(|one| one.side == side);
        let Some(best) = fixed.max_by(|a, b| a.rate().total_cmp(&b.rate())) else { continue };
        let times: Vec<f64> =
            starts[side].iter().map(|from| reached(&series, *from, best.mastered())).collect();
        say(&format!(
            "    to {:<16} median {:.1} s, p95 {:.1} s, of {}; then {:.0} % at limit {:.1}: \
             {times:.1?}\n       the best of {:?} does {:.0}/s; {:.0} % of its own windows of \
             1.5 s have less than 90 %; {:.0} % is held to be as good",
            SIDES[side].0.name(),
            median(&times),
            quantile(&times, 0.95),
            times.len(),
            100.0 * median(&rates[side]) / best.rate(),
            median(&limits[side]),
            SIDES[side].1,
            best.rate(),
            100.0 * best.low(),
            100.0 * best.mastered() / best.rate(),
        ))?;
        all.extend(times);
    }
    let (goals, seed) = (&bench.goals, bench.plan.seed);
    goals.estimate("G3", "seconds to adapt, median", middle(&all, seed), Wanted::AtMost(2.0));
    goals.number("G3", "seconds to adapt, p95", quantile(&all, 0.95), Wanted::AtMost(5.0));
    goals.number("G3", "requests lost", lost as f64, Wanted::AtMost(0.0));
    Ok(())
}

/// What one limit did through all switches.
#[derive(Debug)]
struct Followed {
    /// When the phases of each side began.
    starts: [Vec<Duration>; 2],
    /// Transactions a second, by bins.
    series: Vec<f64>,
    /// Transactions a second, and the mean limits, in the later halves of the phases of each side.
    rates: [Vec<f64>; 2],
    limits: [Vec<f64>; 2],
    /// Requests that failed or were refused.
    lost: u64,
}

async fn follow(bench: &Bench) -> anyhow::Result<Followed> {
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
    let board = crowd.board();
    let halves = |see: &dyn Fn(Duration, Duration) -> f64| {
        starts.each_ref().map(|starts| {
            starts.iter().map(|from| see(*from + STAY / 2, *from + STAY)).collect::<Vec<f64>>()
        })
    };
    let rates = halves(&|from, to| board.rate(from, to));
    let limits = halves(&|from, to| watch.limit(from, to));
    let (failed, refused, _) = board.failures();
    Ok(Followed { starts, series: board.series(), rates, limits, lost: failed + refused })
}

/// What the fixed sizes do, once more.
async fn look_at(bench: &Bench, fixed: &mut [Fixed]) -> anyhow::Result<()> {
    for one in fixed {
        let (work, arm) = (SIDES[one.side].0, Arm::Static(one.size));
        bench.ground.run("VACUUM hot").await?;
        let pooler = bench.ground.start(arm)?;
        let crowd = Crowd::gather(&pooler, &dynos(work), bench.seed()).await?;
        tokio::time::sleep(STAY / 4).await;
        let from = crowd.board().elapsed();
        tokio::time::sleep(STAY).await;
        let rate = crowd.board().rate(from, crowd.board().elapsed());
        talk(&format!("G3 {}: {arm} {rate:.0}/s", work.name()));
        one.rates.push(rate);
        let series = crowd.board().series();
        let bins = series.get(bin(from) + 1..).unwrap_or_default();
        one.windows.extend(bins.windows(TOGETHER).map(mean));
    }
    Ok(())
}

fn bin(at: Duration) -> usize {
    usize::try_from(at.as_millis() / BIN.as_millis()).unwrap_or(0)
}

/// Seconds from a switch to the moment from which on every second and a half of the phase has as
/// many transactions a second as is wanted; the whole phase if there is none.
fn reached(series: &[f64], from: Duration, wanted: f64) -> f64 {
    let phase = series.get(bin(from) + 1..bin(from + STAY)).unwrap_or_default();
    let windows = phase.windows(TOGETHER).count();
    match phase.windows(TOGETHER).rposition(|bins| mean(bins) < wanted) {
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
        assert_eq!(reached(&phase(0), Duration::ZERO, 90.0), 0.0);
        // A second and a half that lacks no more than a tenth begins a little before.
        let two = reached(&phase(2), Duration::ZERO, 90.0);
        assert!((1.4..2.0).contains(&two), "{two}");
        assert_eq!(reached(&phase(6), Duration::ZERO, 90.0), 6.0, "never");
        let mut relapse = phase(1);
        relapse[40..50].fill(50.0);
        assert!(reached(&relapse, Duration::ZERO, 90.0) > 4.0, "what was not held does not count");
    }
}
