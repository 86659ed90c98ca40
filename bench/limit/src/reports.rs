//! G5: reports beside short reads.

use std::time::Duration;

use bench_kit::{say, talk};

use crate::bench::Bench;
use crate::crowd::{Crowd, Group, dynos};
use crate::goals::Wanted;
use crate::ground::Arm;
use crate::statistics::{median, ratio};
use crate::work::Work;

/// Reports at once.
const REPORTS: u32 = 4;

/// How long each of them takes while all four have the core to themselves, in seconds.
const TAKES: f64 = 3.0;

/// Reports are few: a block is so many of the other experiments.
const TIMES: u32 = 4;

/// Until the reports are known to be long, and the limit has settled beside them.
const SETTLE: Duration = Duration::from_secs(6);

/// Of the core, while both want it.
const FAIR: f64 = 0.5;

/// What was seen of both kinds: tx/s and p99 in ms of short ones, reports a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    short: f64,
    p99: f64,
    reports: f64,
}

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    bench.ground.tidy().await?;
    let short = dynos(Work::Point);
    let reports = vec![reports(bench).await?];
    let both = [&short[..], &reports[..]].concat();
    let cases = [("short alone", short), ("reports alone", reports), ("both", both)];
    let order: Vec<usize> = (0..cases.len()).collect();
    for arm in [Arm::Adaptive, Arm::Static(64)] {
        let running = bench.ground.start(arm)?;
        let mut seen: [Vec<Seen>; 3] = Default::default();
        for round in 1..=bench.plan.rounds {
            for case in bench.shuffled(&order) {
                let one = look(bench, &running, &cases[case].1).await?;
                talk(&format!("G5 round {round}: {arm:<10} {}: {one:.1?}", cases[case].0));
                seen[case].push(one);
            }
        }
        tell(bench, arm, &seen)?;
    }
    Ok(())
}

/// Who runs the reports.
pub(crate) async fn reports(bench: &Bench) -> anyhow::Result<Group> {
    let rows = crate::work::SCALE * 100_000;
    let once = bench.ground.cost(Work::Report { rows, times: 1 }, 3).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let times = (TAKES / f64::from(REPORTS) / once).round().max(1.0) as u32;
    talk(&format!("a report reads all accounts {times} times, {once:.2} s each"));
    let (dyno, work) = ("worker.1".to_owned(), Work::Report { rows, times });
    Ok(Group { dyno, clients: REPORTS, work, think: Duration::ZERO })
}

async fn look(
    bench: &Bench,
    pooler: &bench_kit::poolers::Pooler,
    groups: &[Group],
) -> anyhow::Result<Seen> {
    let crowd = Crowd::gather(pooler, groups, bench.seed()).await?;
    tokio::time::sleep(SETTLE).await;
    let board = crowd.board();
    board.forget_latencies();
    let from = board.elapsed();
    tokio::time::sleep(bench.plan.block * TIMES).await;
    let to = board.elapsed();
    let seconds = (to - from).as_secs_f64();
    let mut seen = Seen::default();
    for (number, group) in groups.iter().enumerate() {
        let count = board.count(number, from, to) as f64;
        match group.work {
            Work::Report { .. } => seen.reports += 60.0 * count / seconds,
            _ => {
                seen.short += count / seconds;
                seen.p99 = seen.p99.max(board.latency(number, 0.99));
            }
        }
    }
    Ok(seen)
}

fn tell(bench: &Bench, arm: Arm, seen: &[Vec<Seen>; 3]) -> anyhow::Result<()> {
    let of =
        |case: usize, part: fn(&Seen) -> f64| -> Vec<f64> { seen[case].iter().map(part).collect() };
    let seed = bench.plan.seed;
    let p99 = ratio(&of(2, |one| one.p99), &of(0, |one| one.p99), seed);
    let short = ratio(&of(2, |one| one.short), &of(0, |one| one.short), seed);
    let done = ratio(&of(2, |one| one.reports), &of(1, |one| one.reports), seed);
    say(&format!(
        "\nG5  {arm}: four reports beside point reads\n    \
         short {:.0}/s alone, {:.0}/s beside reports ({short}), \
         p99 {:.1} and {:.1} ms ({p99})\n    \
         reports {:.1} a minute alone, {:.1} beside short ones ({done})\n    \
         together {:.3} of what each has alone",
        median(&of(0, |one| one.short)),
        median(&of(2, |one| one.short)),
        median(&of(0, |one| one.p99)),
        median(&of(2, |one| one.p99)),
        median(&of(1, |one| one.reports)),
        median(&of(2, |one| one.reports)),
        short.value + done.value,
    ))?;
    if arm == Arm::Adaptive {
        let (goals, fair) = (&bench.goals, done.times(1.0 / FAIR));
        goals.estimate("G5", "p99 of short ones, of that alone", p99, Wanted::AtMost(1.5));
        goals.estimate("G5", "reports, of their fair half", fair, Wanted::AtLeast(0.6));
    }
    Ok(())
}
