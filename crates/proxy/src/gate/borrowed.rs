//! A connection of the pool for a question of ours: an idle one, or the next that is given back.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Gate, State};
use crate::backend::Backend;

/// Who waits for a connection.
pub(super) type Borrower = oneshot::Sender<Box<Backend>>;

/// A connection that is missing in the pool for a moment. Dropped, it counts as closed.
#[derive(Debug)]
pub(crate) struct Borrowed {
    /// Gone once it was given back.
    gate: Option<Arc<Gate>>,
    backend: Option<Box<Backend>>,
}

impl State {
    /// A connection is free: for whoever wants to borrow one, else for the pool.
    pub(super) fn put(&mut self, backend: Box<Backend>) {
        let backend = match self.borrower.take() {
            None => backend,
            Some(borrower) => match borrower.send(backend) {
                Ok(()) => return self.admission.set_aside(1),
                Err(backend) => backend,
            },
        };
        self.pool.put(backend);
    }
}

impl Gate {
    /// Borrows a connection, whichever is idle, or the next that is. Nothing if none is open, or
    /// there is a pause. One at a time. Cancellation safe.
    pub(crate) async fn borrow(self: &Arc<Self>) -> Option<Borrowed> {
        let waits = {
            let mut state = self.lock();
            if state.admission.is_paused() || state.pool.open() == 0 {
                return None;
            }
            if let Some(backend) = state.pool.take_any() {
                state.admission.set_aside(1);
                return Some(Borrowed::new(self, backend));
            }
            let (sender, waits) = oneshot::channel();
            state.borrower = Some(sender);
            waits
        };
        let mut wish = Wish { gate: self, waits };
        let backend = (&mut wish.waits).await.ok()?;
        Some(Borrowed::new(self, backend))
    }
}

/// A wish for a connection. Dropped unheard, it gives back what came for it meanwhile.
struct Wish<'a> {
    gate: &'a Arc<Gate>,
    waits: oneshot::Receiver<Box<Backend>>,
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        // Under the lock nothing is sent.
        let late = {
            let mut state = self.gate.lock();
            state.borrower = None;
            self.waits.try_recv().ok()
        };
        if let Some(backend) = late {
            Borrowed::new(self.gate, backend).give_back();
        }
    }
}

impl Borrowed {
    fn new(gate: &Arc<Gate>, backend: Box<Backend>) -> Self {
        Self { gate: Some(Arc::clone(gate)), backend: Some(backend) }
    }

    /// The connection, made ready for a worker; nothing if it broke.
    pub(crate) fn adopt(&mut self, worker: usize) -> Option<&mut Backend> {
        self.backend = self.backend.take()?.adopt(worker);
        self.backend.as_deref_mut()
    }

    /// Gives it to the pool again.
    pub(crate) fn give_back(mut self) {
        let (Some(gate), Some(backend)) = (self.gate.take(), self.backend.take()) else { return };
        let now = gate.journal.now();
        let mut state = gate.lock();
        if !state.is_fresh(&backend) {
            drop(state);
            drop(Self::new(&gate, backend));
            return;
        }
        state.admission.set_aside(0);
        state.pool.put(backend);
        state.wake(now);
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        drop(self.backend.take());
        let Some(gate) = self.gate.take() else { return };
        let now = gate.journal.now();
        let mut state = gate.lock();
        state.admission.set_aside(0);
        state.pool.closed();
        state.note_quiet();
        state.wake(now);
    }
}
