//! What was to be shown, and whether it was.

use std::cell::RefCell;

use crate::statistics::Estimate;

/// One thing that was to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    experiment: &'static str,
    what: String,
    measured: String,
    wanted: String,
    met: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    all: RefCell<Vec<Goal>>,
}

/// What a number has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

impl Wanted {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl Goals {
    /// A number that was measured once.
    pub(crate) fn number(
        &self,
        experiment: &'static str,
        what: impl Into<String>,
        value: f64,
        wanted: Wanted,
    ) {
        self.add(experiment, what.into(), format!("{value:.3}"), wanted, value);
    }

    /// A number with its interval; the number itself is judged.
    pub(crate) fn estimate(
        &self,
        experiment: &'static str,
        what: impl Into<String>,
        estimate: Estimate,
        wanted: Wanted,
    ) {
        self.add(experiment, what.into(), estimate.to_string(), wanted, estimate.value);
    }

    fn add(
        &self,
        experiment: &'static str,
        what: String,
        measured: String,
        wanted: Wanted,
        value: f64,
    ) {
        let met = wanted.is_met(value);
        let wanted = wanted.to_string();
        self.all.borrow_mut().push(Goal { experiment, what, measured, wanted, met });
    }

    /// Whether nothing that was tried was missed.
    pub(crate) fn is_good(&self) -> bool {
        self.all.borrow().iter().all(|goal| goal.met)
    }

    /// A line for each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |goal: &Goal| {
            let mark = if goal.met { "met   " } else { "MISSED" };
            let Goal { experiment, what, measured, wanted, .. } = goal;
            format!("{mark}  {experiment:<5} {what:<58} {measured:<26} {wanted}")
        };
        self.all.borrow().iter().map(line).collect()
    }
}
