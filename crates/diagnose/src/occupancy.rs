//! How many connections each dyno held at any time: a step function per dyno.

use std::collections::BTreeMap;

use trace::{DynoId, Micros};

use crate::story::Story;
use crate::story::holds::Holder;

/// Connections held by one dyno, over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    /// From this time on, so many; in time, no two of the same time.
    steps: Vec<(Micros, u32)>,
}

/// The step function of every dyno that ever held a connection.
pub(crate) fn of(story: &Story<'_>) -> BTreeMap<DynoId, Steps> {
    let mut changes: BTreeMap<DynoId, Vec<(Micros, i64)>> = BTreeMap::new();
    for hold in &story.holds.list {
        if let Holder::Dyno(dyno) = story.holds.keys[hold.key].holder {
            let changes = changes.entry(dyno).or_default();
            match changes.last_mut() {
                // The next stretch of the same connection: nothing changed.
                Some((at, _)) if *at == hold.from => *at = hold.to,
                _ => changes.extend([(hold.from, 1), (hold.to, -1)]),
            }
        }
    }
    changes.into_iter().map(|(dyno, changes)| (dyno, Steps::of(changes))).collect()
}

impl Steps {
    fn of(mut changes: Vec<(Micros, i64)>) -> Self {
        changes.sort_unstable();
        let mut steps: Vec<(Micros, u32)> = Vec::new();
        let mut level = 0_i64;
        for (at, change) in changes {
            level += change;
            let now = u32::try_from(level).unwrap_or(0);
            match steps.last_mut() {
                Some(last) if last.0 == at => last.1 = now,
                _ => steps.push((at, now)),
            }
        }
        Self { steps }
    }

    /// Most at once.
    pub(crate) fn max(&self) -> u32 {
        self.steps.iter().map(|(_, level)| *level).max().unwrap_or(0)
    }

    /// Mean over this time.
    pub(crate) fn mean(&self, from: Micros, to: Micros) -> f64 {
        let ends = self.steps.iter().skip(1).map(|(at, _)| *at).chain([to]);
        let area: f64 = self
            .steps
            .iter()
            .zip(ends)
            .map(|((at, level), end)| f64::from(*level) * end.since(*at).as_secs_f64())
            .sum();
        let span = to.since(from).as_secs_f64();
        if span > 0.0 { area / span } else { 0.0 }
    }

    /// Most at once in each of these bins.
    pub(crate) fn max_per_bin(&self, from: Micros, width: Micros, bins: usize) -> Vec<u32> {
        let mut most = vec![0; bins];
        let mut next = 0;
        let mut level = 0;
        for (i, most) in most.iter_mut().enumerate() {
            let end = from + Micros(width.0 * (i as u64 + 1));
            *most = level;
            while let Some((_, now)) = self.steps.get(next).filter(|(at, _)| *at < end) {
                level = *now;
                *most = level.max(*most);
                next += 1;
            }
        }
        most
    }
}
