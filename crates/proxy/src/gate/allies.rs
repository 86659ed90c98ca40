//! How the gate stands with other proxies of the database: what it needs, and what it may have.

use std::sync::Arc;

use admission::Part;
use admission::alliance::{Own, Plan, Rank};
use tokio::sync::Notify;
use trace::Micros;

use super::{Gate, State};
use crate::backend::Backend;

/// With a smaller limit nothing is agreed with others: the connection to speak on would be too
/// large a part of it.
pub(super) const LIMIT_LEAST: u32 = 8;

/// Weight of what is needed now, ten times a second.
const NEW: f64 = 0.2;

/// Where the gate stands.
#[derive(Debug, Default)]
pub(super) struct Allies {
    /// Whether it agrees with others at all.
    confers: bool,
    /// A connection to speak on is open, or a place kept for it.
    speaks: bool,
    /// No more connections than these: the others have not been heard.
    hold: Option<u32>,
    demand: f64,
    executing: f64,
    seen: Option<Seen>,
    /// Fires when there is somebody to speak for, or no longer.
    changed: Arc<Notify>,
}

/// What was agreed last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) rank: Rank,
    pub(crate) proxies: u32,
    pub(crate) share: f64,
    /// For how many connections of all proxies the server has room.
    pub(crate) room: u32,
}

impl Allies {
    pub(super) fn new(confers: bool) -> Self {
        Self { confers, hold: confers.then_some(1), ..Self::default() }
    }

    /// Most connections for clients, if the others have not been heard.
    pub(super) fn hold(&self) -> u32 {
        self.hold.unwrap_or(u32::MAX)
    }

    /// Of the connections so many are to speak on.
    pub(super) fn aside(&self) -> u32 {
        u32::from(self.speaks)
    }

    /// What was agreed last, while it is spoken.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen
    }
}

impl State {
    /// Ten times a second: what is needed.
    pub(super) fn note_needs(&mut self, now: Micros) {
        let counts = self.admission.levels().counts;
        let demand = f64::from(self.admission.waiting() + counts.held());
        self.allies.demand += NEW * (demand - self.allies.demand);
        self.allies.executing += NEW * (f64::from(counts.executing) - self.allies.executing);
        if let Some(hold) = self.allies.hold {
            // What was closed may be another's by now.
            let open = self.pool.open().max(1);
            if open < hold {
                self.allies.hold = Some(open);
                self.keep_to_budget(now);
            }
        }
        if self.is_concerned() != self.allies.speaks {
            self.allies.changed.notify_one();
        }
    }

    /// Whether there is something to agree on with others.
    pub(super) fn is_concerned(&self) -> bool {
        let is_used = self.pool.open() > 0 || self.admission.waiting() > 0;
        self.allies.confers && is_used && !self.admission.is_paused() && self.budget.own() > 1
    }

    /// Other terms: it agrees with others from now on, or no longer.
    pub(super) fn set_confers(&mut self, confers: bool) {
        if self.allies.confers != confers {
            self.allies.confers = confers;
            self.allies.hold = confers.then(|| self.pool.open().max(1));
            self.allies.changed.notify_one();
        }
    }

    /// Wakes the one who speaks: there is something new.
    pub(super) fn tell_speaker(&self) {
        self.allies.changed.notify_one();
    }
}

impl Gate {
    /// Whether something is to be agreed on with other proxies.
    pub(crate) fn is_concerned(&self) -> bool {
        self.lock().is_concerned()
    }

    /// Whether the others are asked for what the server has room for.
    pub(crate) fn confers(&self) -> bool {
        self.lock().allies.confers
    }

    /// Returns when there is somebody to speak for, or no longer, or something else has changed.
    pub(crate) async fn concern_changed(&self) {
        let changed = Arc::clone(&self.lock().allies.changed);
        changed.notified().await;
    }

    /// Keeps a place for the connection to speak on.
    pub(crate) fn will_speak(&self) {
        let mut state = self.lock();
        state.allies.speaks = true;
        state.keep_to_budget(self.journal.now());
    }

    /// What this proxy does, for the others.
    pub(crate) fn own(&self) -> Own {
        let state = self.lock();
        let (allies, open) = (&state.allies, state.pool.open());
        Own {
            demand: up(allies.demand),
            executing: up(allies.executing),
            open: open + allies.aside(),
            promised: open.max(state.admission.held()) + allies.aside(),
            total: state.admission.total().unwrap_or_default(),
        }
    }

    /// It was agreed on this, and so many backends of the database wait for locks. What is above is
    /// to be closed.
    #[expect(clippy::vec_box, reason = "they come out of the pool in their boxes")]
    pub(crate) fn agreed(&self, plan: &Plan, blocked: u32) -> Vec<Box<Backend>> {
        let now = self.journal.now();
        let mut state = self.lock();
        let Plan { rank, proxies, part, room, .. } = *plan;
        state.allies.hold = None;
        state.allies.seen = Some(Seen { rank, proxies, share: part.share, room });
        state.room = Some(plan.cap.saturating_sub(state.allies.aside()).max(1));
        state.admission.set_blocked(Some(f64::from(blocked) * part.share));
        state.admission.take_part(part, now);
        state.keep_to_budget(now);
        state.pool.surplus()
    }

    /// The others cannot be heard any more: no more connections than there are, and the limit as it
    /// is.
    pub(crate) fn lost_touch(&self) {
        let now = self.journal.now();
        let mut state = self.lock();
        state.allies.hold = Some(state.pool.open().max(1));
        if let Some(seen) = state.allies.seen.filter(|seen| seen.proxies > 1) {
            let led = state.admission.total();
            state.admission.take_part(Part { share: seen.share, led }, now);
        }
        state.keep_to_budget(now);
    }

    /// After [`Self::goes_alone`]: perhaps there is a way now.
    pub(crate) fn tries_again(&self) {
        self.lock().set_confers(true);
    }

    /// Nobody is left to speak for.
    pub(crate) fn falls_silent(&self) {
        let mut state = self.lock();
        state.allies.speaks = false;
        state.allies.hold = state.allies.confers.then(|| state.pool.open().max(1));
        state.allies.seen = None;
        state.keep_to_budget(self.journal.now());
        state.note_quiet();
    }

    /// There is no way to agree with others: as if there were none.
    pub(crate) fn goes_alone(&self) {
        let now = self.journal.now();
        let mut state = self.lock();
        state.allies.confers = false;
        state.allies.speaks = false;
        state.allies.hold = None;
        state.allies.seen = None;
        state.admission.take_part(Part::WHOLE, now);
        state.keep_to_budget(now);
        state.note_quiet();
    }
}

/// Rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of sessions")]
fn up(count: f64) -> u32 {
    (count - 0.05).ceil().max(0.0) as u32
}
