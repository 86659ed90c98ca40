//! G2: a load whose best limit moves. Hot rows, then waits, then hot rows again.

use std::time::Duration;

use bench_kit::{say, talk};
use report::chart::{LimitPoint, limit_over_time};

use crate::bench::Bench;
use crate::board::BIN;
use crate::crowd::{Crowd, dynos};
use crate::goals::Wanted;
use crate::ground::{Arm, Watch};
use crate::statistics::{median, ratio};
use crate::work::Work;

const SIZES: &[u32] = &[4, 12, 32, 64, 128];
const THOROUGH: &[u32] = &[2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128];

/// The phases, in blocks: both kinds last as long.
const PHASES: [(Work, u32); 3] = [(Work::Hot, 1), (Work::Wait, 2), (Work::Hot, 1)];

/// A phase is so many blocks of the other experiments.
const TIMES: u32 = 3;

/// Before the first phase, in its load: connections are opened.
const WARM: Duration = Duration::from_secs(3);

/// One arm's way through the phases: transactions a second of each.
type Way = [f64; PHASES.len()];

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<String> {
    let sizes = if bench.plan.thorough { THOROUGH } else { SIZES };
    let arms: Vec<Arm> =
        std::iter::once(Arm::Adaptive).chain(sizes.iter().map(|size| Arm::Static(*size))).collect();
    let mut ways: Vec<Vec<Way>> = vec![Vec::new(); arms.len()];
    let order: Vec<usize> = (0..arms.len()).collect();
    let mut points = Vec::new();
    for round in 1..=bench.plan.rounds {
        bench.ground.tidy().await?;
        for index in bench.shuffled(&order) {
            let (way, seen) = walk(bench, arms[index]).await?;
            talk(&format!("G2 round {round}: {:<10} {way:.0?} tx/s", arms[index]));
            ways[index].push(way);
            if arms[index] == Arm::Adaptive {
                points = seen;
            }
        }
    }
    let best = tell(bench, &arms, &ways)?;
    let mut from = 0.0;
    let mut marks = Vec::new();
    for ((work, blocks), best) in PHASES.into_iter().zip(best) {
        marks.push((from, work.name().to_owned(), best));
        from += (bench.plan.block * TIMES * blocks).as_secs_f64();
    }
    Ok(limit_over_time(&points, &marks).svg("limit-over-time"))
}

/// One arm through all phases.
async fn walk(bench: &Bench, arm: Arm) -> anyhow::Result<(Way, Vec<LimitPoint>)> {
    let pooler = bench.ground.start(arm)?;
    let crowd = Crowd::gather(&pooler, &dynos(Work::Hot), bench.seed()).await?;
    let watch = Watch::begin(&pooler, bench.plan.tells).await?;
    tokio::time::sleep(WARM).await;
    let start = crowd.board().elapsed();
    let mut way = Way::default();
    for (rate, (work, blocks)) in way.iter_mut().zip(PHASES) {
        crowd.switch(work);
        let from = crowd.board().elapsed();
        tokio::time::sleep(bench.plan.block * TIMES * blocks).await;
        *rate = crowd.board().rate(from, crowd.board().elapsed());
    }
    let series = crowd.board().series();
    let point = |seen: &crate::ground::Seen| {
        let bin = usize::try_from(seen.at.as_millis() / BIN.as_millis()).unwrap_or(usize::MAX);
        let throughput = series.get(bin).copied()?;
        let at = seen.at.checked_sub(start)?.as_secs_f64();
        Some(LimitPoint { at, limit: seen.limit, throughput })
    };
    Ok((way, watch.seen().iter().filter_map(point).collect()))
}

/// The table and the goals; gives the best of each phase.
fn tell(bench: &Bench, arms: &[Arm], ways: &[Vec<Way>]) -> anyhow::Result<Way> {
    let phase =
        |arm: usize, phase: usize| -> Vec<f64> { ways[arm].iter().map(|way| way[phase]).collect() };
    let mut best = Way::default();
    for (number, best) in best.iter_mut().enumerate() {
        let all = (1..arms.len()).map(|arm| median(&phase(arm, number)));
        *best = all.fold(0.0, f64::max);
    }
    let blocks: f64 = PHASES.iter().map(|(_, blocks)| f64::from(*blocks)).sum();
    // The mean over time of what a phase's best would have done.
    let score = |way: &Way| -> f64 {
        let parts = way.iter().zip(&best).zip(PHASES);
        parts.map(|((rate, best), (_, span))| rate / best * f64::from(span)).sum::<f64>() / blocks
    };
    let scores: Vec<Vec<f64>> = ways.iter().map(|all| all.iter().map(score).collect()).collect();
    let worst = |arm: usize| {
        (0..PHASES.len()).map(|n| median(&phase(arm, n)) / best[n]).fold(f64::MAX, f64::min)
    };
    say(
        "\nG2  hot rows, 8 ms waits, hot rows: throughput of each phase, of the best static size's",
    )?;
    for (index, arm) in arms.iter().enumerate() {
        let shares: Vec<String> = (0..PHASES.len())
            .map(|n| {
                format!("{:>7.0}/s {:>5.3}", median(&phase(index, n)), {
                    median(&phase(index, n)) / best[n]
                })
            })
            .collect();
        let score = median(&scores[index]);
        say(&format!("    {arm:<10} {}   mean {score:.3}", shares.join("  ")))?;
    }
    let single = (1..arms.len())
        .max_by(|a, b| median(&scores[*a]).total_cmp(&median(&scores[*b])))
        .unwrap_or_default();
    let one = vec![1.0; scores[0].len()];
    let (goals, seed) = (&bench.goals, bench.plan.seed);
    let adaptive = ratio(&scores[0], &one, seed);
    goals.estimate("G2", "mean over time of the phases' best", adaptive, Wanted::AtLeast(0.93));
    let what = format!("of the best single size ({})", arms[single]);
    let gain = ratio(&scores[0], &scores[single], seed);
    goals.estimate("G2", what, gain, Wanted::AtLeast(1.25));
    goals.number("G2", "worst phase", worst(0), Wanted::AtLeast(0.9));
    let most = (1..arms.len()).map(worst).fold(0.0, f64::max);
    goals.number("G2", "worst phase of any static size", most, Wanted::AtMost(0.6));
    Ok(best)
}
