//! What the law of the limit is told, and what it answers.

use trace::{LimitChanged, Micros};

use crate::Mix;

/// What one slot of time showed of one database. *Short* means all but the long lane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// When it ended.
    pub at: Micros,
    /// How long it was, without the time to settle.
    pub length: Micros,
    /// The limit in force.
    pub limit: u32,
    /// Short transactions that ended.
    pub done: u32,
    /// Their work: the sum of the base costs of their statements' fingerprints, in seconds.
    /// Credited when a transaction ends.
    pub work: f64,
    /// The same of the quickest they ever were, in seconds: what they would have taken with nobody
    /// in their way.
    pub quick: f64,
    /// Which statements ended.
    pub mix: Mix,
    /// How many short statements executed, as a mean over the time, and how many transactions kept
    /// the place of one for a moment.
    pub executing: f64,
    /// How many long statements executed, as a mean over the time.
    pub long: f64,
    /// How many transactions were open with nothing to execute, as a mean over the time.
    pub idle: f64,
    /// How many backends waited for a lock, as a mean; unknown if nobody looked.
    pub blocked: Option<f64>,
    /// Time that the transactions that ended had held their connections: sum, in seconds.
    pub held: f64,
    /// The same: sum of squares.
    pub held_squares: f64,
    /// The part of the time in which somebody waited who could have executed but for the limit.
    pub saturated: f64,
    /// The most the limit may be: connections that can be had.
    pub ceiling: u32,
}

/// What holds for the next slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// How many short statements may execute.
    pub limit: u32,
    /// How many long statements may execute beside them; what is over counts as short.
    pub long: u32,
    /// How long until the law wants to hear again, time to settle included.
    pub slot: Micros,
    /// Time at the slot's beginning that is not measured: what runs was admitted before.
    pub settle: Micros,
}

/// Which part of what executes on the database passes here, where several share it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Our part of the common limit, above 0 and at most 1.
    pub share: f64,
    /// The limit of all together, if somebody else finds it.
    pub led: Option<u32>,
}

impl Part {
    /// Everything passes here.
    pub const WHOLE: Self = Self { share: 1.0, led: None };
}

/// What finds the limit: told of each slot, says what holds for the next.
pub trait Governor: std::fmt::Debug + Send {
    /// What holds now.
    fn decision(&self) -> Decision;

    /// A slot is over.
    fn slot_ended(&mut self, window: &Window) -> Decision;

    /// The server refused a connection: it has no room.
    fn refused(&mut self, at: Micros) -> Decision;

    /// The server was restarted.
    fn restarted(&mut self, at: Micros) -> Decision;

    /// This is our part from now on.
    fn take_part(&mut self, _part: Part, _at: Micros) -> Decision {
        self.decision()
    }

    /// The limit of all who share the database.
    fn total(&self) -> u32 {
        self.decision().limit
    }

    /// What was found so far, to be remembered across restarts of ours.
    fn knee(&self) -> Option<u32> {
        None
    }

    /// The last change of the limit, with its reason.
    fn change(&self) -> Option<LimitChanged> {
        None
    }

    /// The last change, if it was not told yet.
    fn untold(&mut self) -> Option<LimitChanged> {
        None
    }
}

impl Governor for crate::Law {
    fn decision(&self) -> Decision {
        Self::decision(self)
    }

    fn slot_ended(&mut self, window: &Window) -> Decision {
        Self::slot_ended(self, window)
    }

    fn refused(&mut self, at: Micros) -> Decision {
        Self::refused(self, at)
    }

    fn restarted(&mut self, at: Micros) -> Decision {
        Self::restarted(self, at)
    }

    fn take_part(&mut self, part: Part, at: Micros) -> Decision {
        Self::take_part(self, part, at)
    }

    fn total(&self) -> u32 {
        Self::total(self)
    }

    fn knee(&self) -> Option<u32> {
        Self::knee(self)
    }

    fn change(&self) -> Option<LimitChanged> {
        Some(Self::change(self))
    }

    fn untold(&mut self) -> Option<LimitChanged> {
        Self::untold(self)
    }
}
