//! What decides the limit: the law, or one of those that others use.

use admission::{Decision, Law, Window};

/// What a limit is a limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Connections that are lent to a transaction, whatever it does.
    Held,
    /// Statements that execute; long ones for themselves.
    Executing,
}

/// A law of the limit. Slots are its own choice.
pub trait Limiter: std::fmt::Debug {
    /// What its limit is a limit of.
    fn counts(&self) -> Counts {
        Counts::Held
    }

    /// What holds at the beginning.
    fn first(&mut self) -> Decision;

    /// A slot has ended; says what holds in the next.
    fn slot_ended(&mut self, window: &Window) -> Decision;
}

impl Limiter for Law {
    fn counts(&self) -> Counts {
        Counts::Executing
    }

    fn first(&mut self) -> Decision {
        self.decision()
    }

    fn slot_ended(&mut self, window: &Window) -> Decision {
        Self::slot_ended(self, window)
    }
}
