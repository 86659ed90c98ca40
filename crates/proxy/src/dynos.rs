//! How dynos are treated beside each other, by the type of their process.

use std::collections::BTreeMap;
use std::time::Duration;

use admission::Manner;
use trace::Micros;

/// How the dynos of one process type are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The share of each dyno in the server's time while others want it too, beside theirs.
    pub weight: u32,
    /// How long a request may wait, if other than [`Config::queue_timeout`](crate::Config).
    pub patience: Option<Duration>,
    /// Its clients give up soon: in a queue that stands, the newest requests come first and older
    /// ones are refused early.
    pub impatient: bool,
}

impl Treatment {
    const fn of_weight(weight: u32) -> Self {
        Self { weight, patience: None, impatient: false }
    }
}

/// How dynos are treated. The process type is what their names have before the first dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dynos {
    /// By process type.
    pub types: BTreeMap<String, Treatment>,
    /// All others.
    pub others: Treatment,
}

impl Default for Dynos {
    /// `web` 4, `worker` 2, one-off dynos (`run`, `release`, `scheduler`) 1; all others 2.
    fn default() -> Self {
        let weights = [("web", 4), ("worker", 2), ("run", 1), ("release", 1), ("scheduler", 1)];
        let types = weights.map(|(name, weight)| (name.to_owned(), Treatment::of_weight(weight)));
        Self { types: types.into(), others: Treatment::of_weight(2) }
    }
}

impl Dynos {
    /// How a dyno is treated.
    #[must_use]
    pub fn treatment(&self, dyno: &str) -> Treatment {
        let process = dyno.split_once('.').map_or(dyno, |(process, _)| process);
        self.types.get(process).copied().unwrap_or(self.others)
    }

    pub(crate) fn manner(&self, dyno: &str) -> Manner {
        let Treatment { weight, patience, impatient } = self.treatment(dyno);
        Manner { weight, is_impatient: impatient, patience: patience.map(Micros::from_duration) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_type_is_what_comes_before_the_dot() {
        let dynos = Dynos::default();
        let weights = ["web.1", "web", "worker.12", "run.4711", "10.0.0.7", "psql"]
            .map(|name| dynos.treatment(name).weight);
        assert_eq!(weights, [4, 4, 2, 1, 2, 2]);
    }
}
