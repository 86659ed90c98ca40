//! Who waits for a lock, and who stands at the end of the chain.
//!
//! In a pile-up most waiters are blocked by other waiters (the queue for a tuple lock): only the
//! one who waits for no lock himself can end it, so blame always climbs to that root.

use std::collections::{BTreeMap, BTreeSet};

use trace::{BackendPid, LockWaitSampled, Micros};

/// Samples of lock waits by the backend that waits.
#[derive(Debug, Default)]
pub(crate) struct LockGraph<'a> {
    by_waiter: BTreeMap<BackendPid, Vec<&'a LockWaitSampled>>,
    /// Time from one round of samples to the next.
    pub(crate) period: Micros,
}

impl<'a> LockGraph<'a> {
    /// Adds one sample; samples come in the order of time.
    pub(crate) fn take(&mut self, sample: &'a LockWaitSampled) {
        self.by_waiter.entry(sample.waiter).or_default().push(sample);
    }

    /// All samples, by waiter and time.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &'a LockWaitSampled> {
        self.by_waiter.values().flatten().copied()
    }

    /// The backend's samples in this time.
    pub(crate) fn of(
        &self,
        waiter: BackendPid,
        from: Micros,
        to: Micros,
    ) -> &[&'a LockWaitSampled] {
        let Some(samples) = self.by_waiter.get(&waiter) else { return &[] };
        let start = samples.partition_point(|sample| sample.at < from);
        let end = samples.partition_point(|sample| sample.at <= to);
        &samples[start..end.max(start)]
    }

    /// The times in which each backend waited: each sample stands for the period before it, and
    /// samples in a row are one wait.
    pub(crate) fn waits(&self) -> BTreeMap<BackendPid, Vec<(Micros, Micros)>> {
        let row = Micros(self.period.0 * 5 / 2);
        let merge = |samples: &Vec<&LockWaitSampled>| {
            let mut waits: Vec<(Micros, Micros)> = Vec::new();
            for sample in samples {
                match waits.last_mut() {
                    Some((_, to)) if sample.at.since(*to) <= row => *to = sample.at,
                    _ => waits.push((sample.at - self.period, sample.at)),
                }
            }
            waits
        };
        self.by_waiter.iter().map(|(pid, samples)| (*pid, merge(samples))).collect()
    }

    /// Those at the end of the chain from `waiter` at this time, who wait for no lock themselves.
    /// In a deadlock there is none such: then everybody else in the circle.
    pub(crate) fn roots(&self, waiter: BackendPid, at: Micros) -> Vec<BackendPid> {
        let mut reached = BTreeSet::new();
        let mut roots = Vec::new();
        let mut climbing = vec![waiter];
        while let Some(pid) = climbing.pop() {
            match self.blockers(pid, at) {
                Some(blockers) => {
                    climbing.extend(blockers.iter().filter(|blocker| reached.insert(**blocker)));
                }
                None if pid != waiter => roots.push(pid),
                None => {}
            }
        }
        if roots.is_empty() {
            reached.remove(&waiter);
            return reached.into_iter().collect();
        }
        roots.sort_unstable();
        roots
    }

    /// Who blocks `pid` at this time; `None` if it does not wait.
    fn blockers(&self, pid: BackendPid, at: Micros) -> Option<&'a [BackendPid]> {
        let samples = self.by_waiter.get(&pid)?;
        let half = Micros(self.period.0 / 2);
        let next = samples.partition_point(|sample| sample.at <= at + half);
        let sample = samples[..next].last()?;
        (at.since(sample.at) <= half).then_some(&sample.blockers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(at: u64, waiter: i32, blockers: &[i32]) -> LockWaitSampled {
        LockWaitSampled {
            at: Micros::from_millis(at),
            waiter: BackendPid(waiter),
            blockers: blockers.iter().copied().map(BackendPid).collect(),
            mode: "ShareLock".into(),
            target: "transactionid".into(),
        }
    }

    fn graph(samples: &[LockWaitSampled]) -> LockGraph<'_> {
        let mut graph = LockGraph { period: Micros::from_millis(100), ..LockGraph::default() };
        samples.iter().for_each(|sample| graph.take(sample));
        graph
    }

    #[test]
    fn a_convoy_climbs_to_the_one_who_waits_for_nobody() {
        // 4 and 3 wait behind 2 (and each other), 2 waits for 1, 1 waits for nobody.
        let samples = [wait(100, 2, &[1]), wait(100, 3, &[1, 2]), wait(100, 4, &[2, 3])];
        let graph = graph(&samples);
        for waiter in [2, 3, 4] {
            let roots = graph.roots(BackendPid(waiter), Micros::from_millis(110));
            assert_eq!(roots, [BackendPid(1)], "from {waiter}");
        }
        assert_eq!(graph.roots(BackendPid(1), Micros::from_millis(110)), []);
    }

    #[test]
    fn in_a_deadlock_the_others_of_the_circle_are_to_blame() {
        let samples = [wait(100, 1, &[2]), wait(100, 2, &[1])];
        let roots = graph(&samples).roots(BackendPid(1), Micros::from_millis(100));
        assert_eq!(roots, [BackendPid(2)]);
    }

    #[test]
    fn samples_in_a_row_are_one_wait() {
        let samples = [wait(100, 2, &[1]), wait(200, 2, &[1]), wait(900, 2, &[1])];
        let ms = Micros::from_millis;
        assert_eq!(graph(&samples).waits()[&BackendPid(2)], [(ms(0), ms(200)), (ms(800), ms(900))]);
    }
}
