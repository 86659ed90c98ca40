//! Server connections that were opened under settings which new sessions no longer get.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by the server connections of a kind that were opened between two changes. Once it is set
/// they are closed when they are given back: PostgreSQL applies `ALTER ROLE … SET` and
/// `ALTER DATABASE … SET` when a session begins, and never again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outdated(Arc<AtomicBool>);

impl Outdated {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Whether any connection has it too.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
