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
    /// Its place among the idle ones, if it was idle.
    place: Option<usize>,
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

    /// Whether more connections are idle than there are leases that have none yet: whoever was
    /// granted one and is only being woken must find it, and not open another above the cap.
    fn has_spare(&self) -> bool {
        let (open, idle) = (self.pool.open(), self.pool.idle());
        let leased = open.saturating_sub(idle);
        self.admission.held().saturating_sub(leased) < idle
    }
}

impl Gate {
    /// Borrows a connection, whichever is idle, or the next that is. Nothing if none is open, or
    /// there is a pause. One at a time. Cancellation safe.
    pub(crate) async fn borrow(self: &Arc<Self>) -> Option<Borrowed> {
        let waits = {
            let mut state = self.lock();
            if let Some(borrowed) = self.borrow_idle(&mut state, |_| Some(())) {
                return Some(borrowed);
            }
            if state.admission.is_paused() || state.pool.open() == 0 {
                return None;
            }
            let (sender, waits) = oneshot::channel();
            state.borrower = Some(sender);
            waits
        };
        let mut wish = Wish { gate: self, waits };
        let backend = (&mut wish.waits).await.ok()?;
        Some(Borrowed::new(self, backend, None))
    }

    /// Borrows the idle connection of the lowest rank, if one has a rank and there is no pause. One
    /// at a time.
    pub(crate) fn borrow_lowest<R: Ord>(
        self: &Arc<Self>,
        rank: impl Fn(&Backend) -> Option<R>,
    ) -> Option<Borrowed> {
        self.borrow_idle(&mut self.lock(), rank)
    }

    fn borrow_idle<R: Ord>(
        self: &Arc<Self>,
        state: &mut State,
        rank: impl Fn(&Backend) -> Option<R>,
    ) -> Option<Borrowed> {
        if state.admission.is_paused() || !state.has_spare() {
            return None;
        }
        let (place, backend) = state.pool.take_lowest(|backend| rank(backend))?;
        state.admission.set_aside(1);
        Some(Borrowed::new(self, backend, Some(place)))
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
            Borrowed::new(self.gate, backend, None).give_back();
        }
    }
}

impl Borrowed {
    fn new(gate: &Arc<Gate>, backend: Box<Backend>, place: Option<usize>) -> Self {
        Self { gate: Some(Arc::clone(gate)), backend: Some(backend), place }
    }

    /// The connection, made ready for a worker; nothing if it broke.
    pub(crate) fn adopt(&mut self, worker: usize) -> Option<&mut Backend> {
        self.backend = self.backend.take()?.adopt(worker);
        self.backend.as_deref_mut()
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn close(mut self) {
        if let Some(backend) = self.backend.take() {
            backend.close().await;
        }
    }

    /// Gives it to the pool again.
    pub(crate) fn give_back(mut self) {
        let (Some(gate), Some(backend)) = (self.gate.take(), self.backend.take()) else { return };
        let now = gate.journal.now();
        let mut state = gate.lock();
        if !state.is_fresh(&backend) {
            drop(state);
            drop(Self::new(&gate, backend, None));
            return;
        }
        state.admission.set_aside(0);
        match self.place {
            Some(place) => state.pool.restore(place, backend),
            None => state.pool.put(backend),
        }
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
