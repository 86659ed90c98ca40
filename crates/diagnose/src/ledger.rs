//! Who held how much while somebody waited: one sweep over all holds and all waits.
//!
//! Each wait is weighed against every holder that was there: by counts if it is an instant (a
//! refusal), by seconds if it has a length. The sweep keeps one running integral per key, so a wait
//! costs two looks at the keys, whatever the number of holds; nothing here is quadratic.

use std::collections::BTreeMap;

use trace::Micros;

use crate::story::holds::Hold;

/// A time in which somebody lacked something; an instant if both ends are equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

/// What happens at one point in time. Holds end and begin before they are looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Released(usize),
    Taken(usize),
    Instant(usize),
    WaitEnded(usize),
    WaitBegan(usize),
}

/// Calls `each` once per wait, with its number and the weight of every key: how many holds there
/// were at the instant, or for how many seconds they were held during the wait.
pub(crate) fn weigh(
    holds: &[Hold],
    keys: usize,
    waits: &[Wait],
    mut each: impl FnMut(usize, &[f64]),
) {
    let mut sweep = Sweep::new(keys);
    let mut began: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (at, step) in steps(holds, waits) {
        match step {
            Step::Released(key) => sweep.change(key, at, -1.0),
            Step::Taken(key) => sweep.change(key, at, 1.0),
            Step::Instant(wait) => each(wait, &sweep.held),
            Step::WaitBegan(wait) => {
                began.insert(wait, sweep.seconds(at));
            }
            Step::WaitEnded(wait) => {
                let mut seconds = sweep.seconds(at);
                let before = began.remove(&wait).unwrap_or_default();
                seconds.iter_mut().zip(before).for_each(|(now, before)| *now -= before);
                each(wait, &seconds);
            }
        }
    }
}

/// Everything that happens, in time. Holds that no wait can see are left out.
fn steps(holds: &[Hold], waits: &[Wait]) -> Vec<(Micros, Step)> {
    let watched = watched(waits);
    let mut steps = Vec::new();
    for hold in holds {
        let next = watched.partition_point(|wait| wait.to < hold.from);
        if watched.get(next).is_some_and(|wait| wait.from <= hold.to) {
            steps.push((hold.from, Step::Taken(hold.key)));
            steps.push((hold.to, Step::Released(hold.key)));
        }
    }
    for (i, wait) in waits.iter().enumerate() {
        if wait.from == wait.to {
            steps.push((wait.from, Step::Instant(i)));
        } else {
            steps.push((wait.from, Step::WaitBegan(i)));
            steps.push((wait.to, Step::WaitEnded(i)));
        }
    }
    steps.sort_unstable();
    steps
}

/// The times in which anybody waits, as few disjoint stretches.
fn watched(waits: &[Wait]) -> Vec<Wait> {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable_by_key(|wait| (wait.from, wait.to));
    let mut watched: Vec<Wait> = Vec::new();
    for wait in sorted {
        match watched.last_mut() {
            Some(last) if wait.from <= last.to => last.to = last.to.max(wait.to),
            _ => watched.push(wait),
        }
    }
    watched
}

struct Sweep {
    /// How many holds of each key there are now.
    held: Vec<f64>,
    /// For how many seconds each key was held until `since`.
    seconds: Vec<f64>,
    since: Vec<Micros>,
}

impl Sweep {
    fn new(keys: usize) -> Self {
        Self { held: vec![0.0; keys], seconds: vec![0.0; keys], since: vec![Micros::ZERO; keys] }
    }

    fn change(&mut self, key: usize, at: Micros, by: f64) {
        self.seconds[key] += self.held[key] * at.since(self.since[key]).as_secs_f64();
        self.since[key] = at;
        self.held[key] += by;
    }

    /// For how many seconds each key was held until now.
    fn seconds(&self, at: Micros) -> Vec<f64> {
        let keys = self.held.iter().zip(&self.seconds).zip(&self.since);
        keys.map(|((held, seconds), since)| seconds + held * at.since(*since).as_secs_f64())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Micros {
        Micros::from_millis(ms)
    }

    fn hold(key: usize, from: u64, to: u64) -> Hold {
        Hold { key, from: ms(from), to: ms(to) }
    }

    #[test]
    fn instants_count_and_waits_integrate() {
        let holds = [hold(0, 0, 1000), hold(0, 500, 2000), hold(1, 900, 1100), hold(1, 5000, 6000)];
        let waits = [
            Wait { from: ms(600), to: ms(600) },
            Wait { from: ms(400), to: ms(1000) },
            Wait { from: ms(3000), to: ms(4000) },
        ];
        let mut weights = vec![Vec::new(); waits.len()];
        weigh(&holds, 2, &waits, |wait, of| weights[wait] = of.to_vec());
        assert_eq!(weights[0], [2.0, 0.0]);
        assert!((weights[1][0] - 1.1).abs() < 1e-9 && (weights[1][1] - 0.1).abs() < 1e-9);
        assert_eq!(weights[2], [0.0, 0.0]);
    }
}
