//! The limit while another process shares it: how the gate follows its [`Budget`].
//!
//! [`Budget`]: crate::budget::Budget

use std::sync::Arc;

use trace::Micros;

use super::{Gate, State, UNBOUNDED, UNKNOWN};

impl State {
    /// Holds on to what the budget allows.
    pub(super) fn keep_to_budget(&mut self, now: Micros) {
        let own = self.budget.own().saturating_sub(self.allies.aside());
        let cap = match self.room {
            Some(room) => own.min(room),
            None if self.budget.limit() == UNBOUNDED => own.min(UNKNOWN),
            None => own,
        };
        self.pool.set_limit(cap.min(self.allies.hold()));
        self.admission.set_cap(cap);
        self.wake(now);
    }
}

impl Gate {
    /// Another process shares the limit and holds so many connections.
    pub(crate) fn held_elsewhere(&self, connections: u32) {
        let mut state = self.lock();
        state.budget.held_elsewhere(connections);
        state.keep_to_budget(self.journal.now());
    }

    /// Gives what is not needed for the `sessions` of this process to a successor, more with each
    /// call as sessions end. Says how many connections are held here and elsewhere: at most so
    /// many from now on. Cancellation safe.
    pub(crate) async fn give_way(self: &Arc<Self>, sessions: usize) -> u32 {
        let surplus = {
            let mut state = self.lock();
            state.budget.give_way(u32::try_from(sessions).unwrap_or(u32::MAX));
            state.keep_to_budget(self.journal.now());
            state.pool.surplus()
        };
        self.close(surplus).await;
        let mut state = self.lock();
        let open = state.pool.open() + state.allies.aside();
        state.tell_speaker();
        state.budget.report(open)
    }

    /// No successor came after all: the limit is ours again.
    pub(crate) fn stay(&self) {
        let mut state = self.lock();
        state.budget.stay();
        state.keep_to_budget(self.journal.now());
    }
}
