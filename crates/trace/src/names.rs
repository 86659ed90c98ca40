//! The names of dynos, shared by every room that records.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::{Clock, DynoId, Event, Sink};

/// Gives each dyno name one [`DynoId`] and announces it to the sink before anybody can use it.
///
/// At most 65 535 names; all further ones share the id of the empty name, so that a client that
/// invents names cannot make memory grow.
#[derive(Debug)]
pub struct DynoNames {
    clock: Clock,
    ids: Mutex<HashMap<Box<str>, DynoId>>,
}

impl DynoNames {
    /// No names yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, ids: Mutex::new(HashMap::new()) }
    }

    /// The id of `name`; a new name is announced to `sink` as [`Event::DynoNamed`].
    ///
    /// Takes a lock: call it once per connection, not once per request.
    pub fn id(&self, name: &str, sink: &dyn Sink) -> DynoId {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.get(name) {
            return *id;
        }
        // Id 0 is the nameless dyno, never handed out for a name.
        let Ok(next) = u16::try_from(ids.len() + 1) else { return DynoId::default() };
        let id = DynoId(next);
        sink.record(Event::DynoNamed { at: self.clock.now(), dyno: id, name: name.into() });
        ids.insert(name.into(), id);
        id
    }

    /// Announces every known name again, for a sink that begins later than the names did.
    pub fn announce(&self, sink: &dyn Sink) {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, id) in ids.iter() {
            sink.record(Event::DynoNamed { at: self.clock.now(), dyno: *id, name: name.clone() });
        }
    }
}
