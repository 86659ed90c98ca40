//! G7: one dyno takes all it can get. What is left for the others?

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::Bench;
use crate::crowd::{Crowd, Group, THINK};
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::statistics::{median, middle, quantile, ratio};
use crate::work::Work;

/// A statement of the others, and the hog's, which costs about three times as much.
const MODEST: Work = Work::Range { times: 1 };
const DEAR: Work = Work::Range { times: 3 };

/// Clients of a dyno that always has something to ask, and of the hog.
const CLIENTS: u32 = 25;
const HOGS: u32 = 250;

/// Fairness is judged by windows of this length.
const WINDOW: Duration = Duration::from_secs(10);

/// Until the limit and the costs are known.
const SETTLE: Duration = Duration::from_secs(4);

/// Weights of process types, and what they are called.
const WEIGHTS: [(&str, f64); 3] = [("web.1", 4.0), ("worker.1", 2.0), ("run.1", 1.0)];

fn group(dyno: &str, clients: u32, work: Work) -> Group {
    Group { dyno: dyno.to_owned(), clients, work, think: THINK }
}

/// A dyno that asks now and then: its latency is what a neighbour feels.
fn modest() -> Group {
    let (dyno, think) = ("web.1".to_owned(), Duration::from_millis(20));
    Group { dyno, clients: 2, work: MODEST, think }
}

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let costs = (bench.ground.cost(MODEST, 300).await?, bench.ground.cost(DEAR, 300).await?);
    talk(&format!("G7 a modest statement takes {:.2} ms, the hog's {:.2}", costs.0 * 1e3, {
        costs.1 * 1e3
    }));
    let others: Vec<Group> =
        (2..=7).map(|number| group(&format!("web.{number}"), CLIENTS, MODEST)).collect();
    let alone = vec![modest()];
    let without = [&alone[..], &others[..]].concat();
    let with = [&without[..], &[group("web.8", HOGS, DEAR)]].concat();
    let mut arms = vec![Arm::Adaptive];
    if bench.ground.pgbouncer.is_some() {
        arms.push(Arm::PgBouncer(8));
    }
    for arm in arms {
        let mut p99: [Vec<f64>; 3] = Default::default();
        let (mut jain, mut hog) = (Vec::new(), Vec::new());
        let running = bench.ground.start(arm)?;
        for round in 1..=bench.plan.rounds {
            for (case, groups) in [&alone, &without, &with].into_iter().enumerate() {
                let crowd = Crowd::gather(&running, groups, bench.seed()).await?;
                tokio::time::sleep(SETTLE).await;
                let board = crowd.board();
                board.forget_latencies();
                let from = board.elapsed();
                tokio::time::sleep(WINDOW).await;
                let to = board.elapsed();
                p99[case].push(board.latency(0, 0.99));
                if case == 2 {
                    let used = |number: usize| {
                        let cost = if groups[number].work == DEAR { costs.1 } else { costs.0 };
                        board.count(number, from, to) as f64 * cost
                    };
                    // The modest one wants less than its share.
                    let used: Vec<f64> = (1..groups.len()).map(used).collect();
                    hog.push(used.last().copied().unwrap_or(0.0) / used.iter().sum::<f64>());
                    jain.push(fairness(&used));
                }
            }
            talk(&format!("G7 round {round}: {arm}: p99 {p99:.1?}, Jain {jain:.3?}"));
        }
        tell(bench, arm, &p99, &jain, &hog)?;
    }
    weights(bench).await
}

fn tell(
    bench: &Bench,
    arm: Arm,
    p99: &[Vec<f64>; 3],
    jain: &[f64],
    hog: &[f64],
) -> anyhow::Result<()> {
    let [alone, without, with] = p99.each_ref().map(|all| median(all));
    say(&format!(
        "\nG7  {arm}: a hog with ten times the clients and dearer statements, six dynos that \
         always ask, one modest\n    Jain {:.3}, the hog has {:.0} % of the server; \
         p99 of the modest one: alone {alone:.1} ms, without the hog {without:.1}, with it \
         {with:.1}",
        median(jain),
        100.0 * median(hog),
    ))?;
    if arm == Arm::Adaptive {
        let (goals, seed) = (&bench.goals, bench.plan.seed);
        goals.estimate(
            "G7",
            "Jain over backlogged dynos",
            middle(jain, seed),
            Wanted::AtLeast(0.98),
        );
        let to_alone = ratio(&p99[2], &p99[0], seed);
        goals.estimate("G7", "p99 of a modest dyno, of that alone", to_alone, Wanted::AtMost(2.0));
        let to_without = ratio(&p99[2], &p99[1], seed);
        let what = "p99 of a modest dyno, of that without the hog";
        goals.estimate("G7", what, to_without, Wanted::AtMost(2.0));
    }
    Ok(())
}

/// Jain's index: 1 if all have the same, 1/n if one has all.
fn fairness(shares: &[f64]) -> f64 {
    let (sum, squares): (f64, f64) =
        (shares.iter().sum(), shares.iter().map(|share| share * share).sum());
    sum * sum / (shares.len() as f64 * squares)
}

/// Dynos of three process types that always ask: each has its share by weight.
async fn weights(bench: &Bench) -> anyhow::Result<()> {
    let groups = WEIGHTS.map(|(dyno, _)| group(dyno, 3 * CLIENTS, MODEST));
    let all: f64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let running = bench.ground.start(Arm::Adaptive)?;
    let mut off = Vec::new();
    for _ in 0..bench.plan.rounds {
        let crowd = Crowd::gather(&running, &groups, bench.seed()).await?;
        tokio::time::sleep(SETTLE).await;
        let from = crowd.board().elapsed();
        tokio::time::sleep(WINDOW).await;
        let to = crowd.board().elapsed();
        let counts: Vec<f64> =
            (0..groups.len()).map(|number| crowd.board().count(number, from, to) as f64).collect();
        let sum: f64 = counts.iter().sum();
        let wrong = counts.iter().zip(WEIGHTS);
        off.push(
            wrong
                .map(|(count, (_, weight))| (count / sum / (weight / all) - 1.0).abs())
                .fold(0.0, f64::max),
        );
    }
    say(&format!("    weights 4 : 2 : 1 are kept within {:.1} %", 100.0 * quantile(&off, 1.0)))?;
    let off = middle(&off, bench.plan.seed);
    bench.goals.estimate("G7", "weights 4:2:1, off by", off, Wanted::AtMost(0.05));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_is_one_for_equals_and_falls_with_a_hog() {
        assert!((fairness(&[2.0, 2.0, 2.0]) - 1.0).abs() < 1e-9);
        assert!((fairness(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
    }
}
