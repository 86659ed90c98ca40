//! G8: three proxies before one server, each with clients of its own. Do they do as much as one
//! would, and what happens to the others when the leader is lost?
//!
//! One proxy and three take turns, as the arms of [`crate::steady`] do, but in front of two servers
//! on the same core: in front of one they would share its limit.

use std::time::Duration;

use anyhow::Context;
use bench_kit::{say, talk};
use tokio::time::Instant;

use crate::bench::Bench;
use crate::board::BIN;
use crate::crowd::{Crowd, Group, dynos};
use crate::goals::Wanted;
use crate::ground::{Arm, Ground};
use crate::stand::{LEAD, Stand, TURN};
use crate::statistics::{median, quantile, typical};
use crate::work::Work;

/// Loads with a small limit and a large one.
const LOADS: [Work; 3] = [Work::Hot, Work::Wait, Work::TpcB];

/// How many of eight dynos come through each proxy: through one, or so that shares by demand are
/// not equal ones.
const ONE: [usize; 1] = [8];
const THREE: [usize; 3] = [4, 3, 1];

/// Turns of each in a round.
const TURNS: usize = 8;

/// Until they know each other and the limit.
const LEARN: Duration = Duration::from_secs(8);

/// How long it is measured what the others do before the leader is killed, and after; how often it
/// is looked whether another leads.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(6);
const LOOK: Duration = Duration::from_millis(20);

/// The others have at least this part of what they had.
const DIP: f64 = 0.9;
/// Bins that are looked at together.
const TOGETHER: usize = 5;

/// Proxies with the clients of each.
struct Stage(Vec<Stand>);

pub(crate) async fn run(bench: &Bench) -> anyhow::Result<()> {
    let twin = bench.ground.twin().await?;
    let mut losses = Losses::default();
    for work in LOADS {
        let (mut one, mut three) = (Vec::new(), Vec::new());
        for round in 1..=bench.plan.rounds {
            let grounds = bench.shuffled(&[&bench.ground, &twin]);
            let stages = [
                Stage::set(bench, grounds[0], work, &ONE).await?,
                Stage::set(bench, grounds[1], work, &THREE).await?,
            ];
            for _ in 0..TURNS {
                let mut rates = [0.0; 2];
                for index in bench.shuffled(&[0, 1]) {
                    rates[index] = stages[index].turn().await;
                }
                talk(&format!("G8 {} round {round}: one and three {rates:.0?}/s", work.name()));
                one.push(rates[0]);
                three.push(rates[1]);
            }
            let [alone, together] = stages;
            drop(alone);
            together.lose_leader(&mut losses).await?;
        }
        let shares: Vec<f64> = three.iter().zip(&one).map(|(three, one)| three / one).collect();
        say(&format!(
            "\nG8  {}: one proxy {:.0}/s, three {:.0}/s, {} pairs",
            work.name(),
            median(&one),
            median(&three),
            shares.len(),
        ))?;
        let what = format!("{}: three proxies, of one", work.name());
        bench.goals.estimate("G8", what, typical(&shares, bench.plan.seed), Wanted::AtLeast(0.96));
    }
    twin.leave().await;
    losses.tell(bench)
}

impl Stage {
    /// The same clients through one proxy, or through several. They have learnt the limit, and
    /// rest.
    async fn set(
        bench: &Bench,
        ground: &Ground,
        work: Work,
        shares: &[usize],
    ) -> anyhow::Result<Self> {
        ground.tidy().await?;
        let all = dynos(work);
        let mut groups: &[Group] = &all;
        let mut stands = Vec::new();
        for share in shares {
            let (own, rest) = groups.split_at(*share);
            groups = rest;
            stands.push(Stand::open(bench, ground, Arm::Adaptive, own).await?);
        }
        let stage = Self(stands);
        tokio::time::sleep(LEARN).await;
        stage.rest().await;
        Ok(stage)
    }

    fn crowds(&self) -> impl Iterator<Item = &Crowd> {
        self.0.iter().map(|stand| &stand.crowd)
    }

    fn work(&self) {
        self.crowds().for_each(Crowd::work);
    }

    async fn rest(&self) {
        self.crowds().for_each(Crowd::cease);
        for crowd in self.crowds() {
            crowd.rest().await;
        }
    }

    /// Transactions a second of all, in a turn.
    async fn turn(&self) -> f64 {
        self.work();
        tokio::time::sleep(LEAD).await;
        let rate = self.rate(TURN).await;
        self.rest().await;
        rate
    }

    /// Transactions a second of all.
    async fn rate(&self, block: Duration) -> f64 {
        let elapsed = || self.crowds().map(|crowd| crowd.board().elapsed());
        let from: Vec<Duration> = elapsed().collect();
        tokio::time::sleep(block).await;
        let spans = from.into_iter().zip(elapsed());
        let boards = self.crowds().map(Crowd::board);
        boards.zip(spans).map(|(board, (from, to))| board.rate(from, to)).sum()
    }

    /// Kills the leader and watches the others.
    async fn lose_leader(mut self, losses: &mut Losses) -> anyhow::Result<()> {
        let leader = self.0.iter().position(Stand::leads).context("nobody leads")?;
        losses.refused += self.refused();
        self.work();
        let leader = self.0.remove(leader);
        tokio::time::sleep(LEAD).await;
        let usual = self.rate(BEFORE).await;
        leader.kill();
        let began = Instant::now();
        let from: Vec<Duration> = self.crowds().map(|crowd| crowd.board().elapsed()).collect();
        while !self.0.iter().any(Stand::leads) && began.elapsed() < AFTER {
            tokio::time::sleep(LOOK).await;
        }
        losses.led.push(began.elapsed().as_secs_f64());
        tokio::time::sleep(AFTER.saturating_sub(began.elapsed())).await;
        losses.refused += self.refused();
        let series: Vec<Vec<f64>> = self.crowds().map(|crowd| crowd.board().series()).collect();
        losses.low.push(low(&series, &from, DIP * usual));
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.crowds().map(|crowd| crowd.board().failures().1).sum()
    }
}

/// What losses of the leader did.
#[derive(Debug, Default)]
struct Losses {
    /// Seconds until another led.
    led: Vec<f64>,
    /// Seconds for which the others had less than they should.
    low: Vec<f64>,
    /// Requests that were refused (53300), in all the time.
    refused: u64,
}

impl Losses {
    fn tell(&self, bench: &Bench) -> anyhow::Result<()> {
        say(&format!(
            "    the leader was killed {} times: another led after {:.2?} s; the others had less \
             than {:.0} % for {:.1?} s; {} refused",
            self.led.len(),
            self.led,
            100.0 * DIP,
            self.low,
            self.refused,
        ))?;
        let goals = &bench.goals;
        let led = quantile(&self.led, 1.0);
        goals.number("G8", "seconds until another leads, at most", led, Wanted::AtMost(3.0));
        let low = quantile(&self.low, 1.0);
        goals.number("G8", "seconds below 90 % after that, at most", low, Wanted::AtMost(3.0));
        goals.number("G8", "refused (53300)", self.refused as f64, Wanted::AtMost(0.0));
        Ok(())
    }
}

/// For how many seconds the sum of several series, each from a time on, is less than this, as a
/// mean over half a second.
fn low(series: &[Vec<f64>], from: &[Duration], least: f64) -> f64 {
    let width = BIN.as_millis();
    let begin = |from: &Duration| usize::try_from(from.as_millis() / width).unwrap_or(usize::MAX);
    let tails: Vec<&[f64]> = series
        .iter()
        .zip(from)
        .map(|(series, from)| series.get(begin(from) + 1..).unwrap_or_default())
        .collect();
    let length = tails.iter().map(|tail| tail.len()).min().unwrap_or(0);
    let sums: Vec<f64> = (0..length).map(|bin| tails.iter().map(|tail| tail[bin]).sum()).collect();
    let is_low = |bins: &&[f64]| bins.iter().sum::<f64>() < least * TOGETHER as f64;
    sums.windows(TOGETHER).filter(is_low).count() as f64 * BIN.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_is_the_time_of_the_sum_below_the_least() {
        // Two proxies of which one began a second later: a second of nothing, then all.
        let (mut one, mut other) = (vec![50.0; 41], vec![50.0; 51]);
        one[1..11].fill(0.0);
        other[11..21].fill(0.0);
        let from = [Duration::ZERO, Duration::from_secs(1)];
        let seconds = low(&[one.clone(), other.clone()], &from, 90.0);
        assert!((0.9..1.5).contains(&seconds), "{seconds}");
        assert_eq!(low(&[one, other], &[Duration::from_secs(2); 2], 90.0), 0.0);
    }
}
