//! A resource shared by all who are there: the cores, the disk.
//!
//! All jobs advance at one pace, so a clock of its own (*virtual time*: seconds of service that
//! each job present would have got) orders their ends for good; only the pace changes when somebody
//! comes or goes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// How the station slows down when more are there than it can serve.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crowding {
    /// Cores: each job beyond them costs a little, in shared caches and locks.
    Linear,
    /// Disk: seeks and lost read-ahead grow with the square.
    Quadratic,
}

/// The station.
#[derive(Debug)]
pub(crate) struct Station {
    servers: f64,
    penalty: f64,
    crowding: Crowding,
    /// The part of its power that is left, while something else (a checkpoint, a vacuum) is on.
    power: f64,
    jobs: BinaryHeap<Job>,
    clock: f64,
    at: f64,
    pace: f64,
}

#[derive(Debug)]
struct Job {
    ends: f64,
    who: u32,
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        other.ends.total_cmp(&self.ends).then(other.who.cmp(&self.who))
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Job {}

impl Station {
    pub(crate) fn new(servers: f64, penalty: f64, crowding: Crowding) -> Self {
        let jobs = BinaryHeap::new();
        Self { servers, penalty, crowding, power: 1.0, jobs, clock: 0.0, at: 0.0, pace: 0.0 }
    }

    /// A job that needs so many seconds if alone.
    pub(crate) fn enter(&mut self, now: f64, who: u32, seconds: f64) {
        self.advance(now);
        self.jobs.push(Job { ends: self.clock + seconds, who });
        self.set_pace();
    }

    /// When the next job is done, if nobody comes.
    pub(crate) fn next(&self) -> f64 {
        let left = self.jobs.peek().map(|job| (job.ends - self.clock).max(0.0));
        left.map_or(f64::INFINITY, |left| self.at + left / self.pace)
    }

    /// The next job is done.
    pub(crate) fn leave(&mut self, now: f64) -> Option<u32> {
        self.advance(now);
        let job = self.jobs.pop()?;
        self.set_pace();
        Some(job.who)
    }

    /// So much of its power is left.
    pub(crate) fn set_power(&mut self, now: f64, power: f64) {
        self.advance(now);
        self.power = power;
        self.set_pace();
    }

    fn advance(&mut self, now: f64) {
        self.clock += (now - self.at) * self.pace;
        self.at = now;
    }

    #[expect(clippy::cast_precision_loss, reason = "a few hundred jobs")]
    fn set_pace(&mut self) {
        let jobs = self.jobs.len() as f64;
        let servers = self.servers * self.power;
        let crowd = (jobs - servers).max(0.0);
        let slowed = match self.crowding {
            Crowding::Linear => self.penalty * crowd,
            Crowding::Quadratic => self.penalty * (crowd / servers).powi(2),
        };
        self.pace = (servers / jobs.max(1.0)).min(1.0) / (1.0 + slowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_share_what_there_is() {
        let mut station = Station::new(2.0, 0.0, Crowding::Linear);
        station.enter(0.0, 1, 1.0);
        station.enter(0.0, 2, 2.0);
        assert!((station.next() - 1.0).abs() < 1e-9, "two servers, two jobs");
        station.enter(0.5, 3, 1.0);
        station.enter(0.5, 4, 1.0);
        assert!((station.next() - 1.5).abs() < 1e-9, "half the pace from 0.5");
        assert_eq!(station.leave(1.5), Some(1));
        station.set_power(1.5, 0.5);
        assert!((station.next() - 3.0).abs() < 1e-9, "half a second left, a third of the pace");
    }

    #[test]
    fn a_crowd_costs() {
        let pace = |crowding, jobs: u32| {
            let mut station = Station::new(4.0, 0.01, crowding);
            (0..jobs).for_each(|who| station.enter(0.0, who, 1.0));
            f64::from(jobs) * station.pace
        };
        assert!((pace(Crowding::Linear, 4) - 4.0).abs() < 1e-9);
        assert!((pace(Crowding::Linear, 104) - 2.0).abs() < 1e-9);
        assert!((pace(Crowding::Quadratic, 44) - 2.0).abs() < 1e-9);
    }
}
