//! G3: how long it takes to follow a load whose best limit moves.
//!
//! Told twice: by the throughput, which others who use the machine take from as well; and by the
//! limit, which is where it should be when a fixed size there does nine tenths of what the best
//! one does.

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::Bench;
use crate::board::BIN;
use crate::crowd::{Crowd, dynos};
use crate::goals::Wanted;
use crate::ground::{Arm, Seen, Watch};
use crate::statistics::{mean, median, middle, quantile};
use crate::work::Work;

/// The loads between which it is switched, with sizes on both sides of the best, in order.
const SIDES: [(Work, &[u32]); 2] = [(Work::Hot, &[2, 4, 8, 16, 64]), (Work::Wait, &[32, 64, 128])];

/// How long each lasts.
const STAY: Duration = Duration::from_secs(6);

/// Switches each way.
const SWITCHES: u32 = 8;
const THOROUGH: u32 = 20;

/// Bins that are looked at together, and the part of the best that they must have.
const TOGETHER: usize = 15;
const MASTERED: f64 = 0.9;
/// Looks at the limit that are taken together: the two halves of a pair differ.
const LOOKS: usize = 5;

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
    let Followed { starts, series, seen, rates, limits, lost } = follow(bench).await?;
    look_at(bench, &mut fixed).await?;
    say("\nG3  seconds until a load's best fixed size was reached, and held")?;
    let (mut all, mut all_limits) = (Vec::new(), Vec::new());
    for side in [1, 0] {
        let fixed: Vec<&Fixed> = fixed.iter().filter(|one| one.side == side).collect();
        let Some(best) = fixed.iter().max_by(|a, b| a.rate().total_cmp(&b.rate())) else {
            continue;
        };
        let curve: Vec<(f64, f64)> =
            fixed.iter().map(|one| (f64::from(one.size), one.rate())).collect();
        let good = good(&curve);
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
        let times: Vec<f64> = starts[side].iter().map(|from| settled(&seen, *from, good)).collect();
        say(&format!(
            "       the limit is where a fixed size does nine tenths of that, {:.1} to {:.1}, \
             after: median {:.1} s, p95 {:.1} s: {times:.1?}",
            good.0,
            good.1,
            median(&times),
            quantile(&times, 0.95),
        ))?;
        all_limits.extend(times);
    }
    let (goals, seed) = (&bench.goals, bench.plan.seed);
    goals.estimate("G3", "seconds to adapt, median", middle(&all, seed), Wanted::AtMost(2.0));
    goals.number("G3", "seconds to adapt, p95", quantile(&all, 0.95), Wanted::AtMost(5.0));
    let what = "seconds until the limit is right, median";
    goals.estimate("G3", what, middle(&all_limits, seed), Wanted::AtMost(2.0));
    let what = "seconds until the limit is right, p95";
    goals.number("G3", what, quantile(&all_limits, 0.95), Wanted::AtMost(5.0));
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
    /// The limit at each look.
    seen: Vec<Seen>,
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
    let (series, seen) = (board.series(), watch.seen());
    Ok(Followed { starts, series, seen, rates, limits, lost: failed + refused })
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
    held(phase, TOGETHER, |bins| mean(bins) >= wanted)
}

/// The sizes that do nine tenths of the best of these, of which each is `(size, rate)`: a rate
/// between two goes with the logarithm of the size.
fn good(curve: &[(f64, f64)]) -> (f64, f64) {
    let wanted = MASTERED * curve.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let is_good = |(_, rate): &(f64, f64)| *rate >= wanted;
    let crossing = |(bad, below): (f64, f64), (good, above): (f64, f64)| {
        let part = (wanted - below) / (above - below);
        (bad.ln() + part * (good.ln() - bad.ln())).exp()
    };
    let (Some(first), Some(last)) =
        (curve.iter().position(is_good), curve.iter().rposition(is_good))
    else {
        return (0.0, f64::INFINITY);
    };
    let low = first.checked_sub(1).map_or(0.0, |bad| crossing(curve[bad], curve[first]));
    let high = curve.get(last + 1).map_or(f64::INFINITY, |bad| crossing(*bad, curve[last]));
    (low, high)
}

/// Seconds from a switch to the moment from which on the limit is among these sizes; the whole
/// phase if it never is.
fn settled(seen: &[Seen], from: Duration, (low, high): (f64, f64)) -> f64 {
    let phase = seen.iter().filter(|look| look.at >= from && look.at < from + STAY);
    let looks: Vec<f64> = phase.map(|look| look.limit.ln()).collect();
    held(&looks, LOOKS, |looks| (low..=high).contains(&mean(looks).exp()))
}

/// Seconds until all windows of so many tenths of a second are good; the whole phase if the last
/// is not.
fn held(phase: &[f64], together: usize, is_good: impl Fn(&[f64]) -> bool) -> f64 {
    let windows = phase.windows(together).count();
    match phase.windows(together).rposition(|window| !is_good(window)) {
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

    #[test]
    fn good_sizes_lie_around_the_best() {
        let curve = [(2.0, 50.0), (4.0, 100.0), (8.0, 95.0), (16.0, 85.0)];
        let (low, high) = good(&curve);
        assert!((3.4..3.6).contains(&low) && (11.2..11.4).contains(&high), "{low} {high}");
        assert_eq!(good(&curve[1..3]), (0.0, f64::INFINITY), "nothing is known to be worse");
    }

    #[test]
    fn a_limit_has_settled_when_it_leaves_no_more() {
        let look = |tenth: u32, limit| Seen { at: BIN * tenth, limit, leads: true };
        let seen: Vec<Seen> =
            (0..60).map(|tenth| look(tenth, if tenth < 10 { 100.0 } else { 5.0 })).collect();
        let seconds = settled(&seen, Duration::ZERO, (4.0, 8.0));
        assert!((0.9..1.2).contains(&seconds), "{seconds}");
        assert_eq!(settled(&seen, Duration::ZERO, (32.0, 64.0)), 6.0, "never");
    }
}
