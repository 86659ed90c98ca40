//! Who may use a server connection, and who waits: first come, first served, over all workers.
//!
//! Pure: told of what happens with the time, says who is next; wakes nobody itself. A *lease* is
//! the right to hold one server connection, whether open already or still to be opened.
//!
//! When PostgreSQL itself refuses to open another connection (53300: its slots are used by others),
//! that is no outage: the *ceiling* drops to what is open, the refused one keeps its place in the
//! queue, and the ceiling rises by one at a time until PostgreSQL refuses again or the limit is
//! reached. When PostgreSQL cannot be reached at all, the ceiling drops likewise and rises by one
//! only: whoever gets that lease finds out whether it is back, and then the ceiling is lifted.

use std::collections::BTreeMap;

use trace::{DynoId, Micros};

/// How long the ceiling stays after it rose.
const RISE_EVERY: Micros = Micros::from_millis(100);

/// A place in the queue. Earlier ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// What became of a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The lease is granted.
    Granted(Ticket),
    /// Others come first.
    Queued(Ticket),
}

/// Fewer than the limit, because PostgreSQL said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ceiling {
    leases: u32,
    until: Micros,
    rise: Rise,
}

/// How the ceiling rises again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rise {
    /// By one, and by one again: there may be room for more.
    Steadily,
    /// By one for a trial; all the rest depends on its result.
    Once,
}

/// The queue in front of the server connections.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: u32,
    /// `PAUSE`: nobody is granted a lease.
    paused: bool,
    ceiling: Option<Ceiling>,
    leased: u32,
    /// Leases by dyno, indexed by [`DynoId`].
    by_dyno: Vec<u32>,
    queue: BTreeMap<Ticket, DynoId>,
    last: u64,
}

impl Admission {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit,
            paused: false,
            ceiling: None,
            leased: 0,
            by_dyno: Vec::new(),
            queue: BTreeMap::new(),
            last: 0,
        }
    }

    /// A session wants a lease. Nobody overtakes those who wait already.
    pub(crate) fn request(&mut self, dyno: DynoId) -> Verdict {
        self.last += 1;
        let ticket = Ticket(self.last);
        if self.queue.is_empty() && self.has_room() {
            self.take(dyno);
            return Verdict::Granted(ticket);
        }
        self.queue.insert(ticket, dyno);
        Verdict::Queued(ticket)
    }

    /// A lease ends; its server connection is in the pool or gone. Says who has one now instead.
    #[must_use]
    pub(crate) fn release(&mut self, dyno: DynoId) -> Option<Ticket> {
        self.leased = self.leased.saturating_sub(1);
        if let Some(count) = self.by_dyno.get_mut(usize::from(dyno.0)) {
            *count = count.saturating_sub(1);
        }
        self.next()
    }

    /// A session waits no longer: its deadline has passed or its client is gone. `false` if it was
    /// granted a lease meanwhile, which must then be released.
    #[must_use]
    pub(crate) fn withdraw(&mut self, ticket: Ticket) -> bool {
        self.queue.remove(&ticket).is_some()
    }

    /// No connection could be opened for a lease: the lease ends, its holder waits again in its old
    /// place. `open` is how many server connections there are; more are not tried before `until`.
    #[must_use]
    pub(crate) fn refused(
        &mut self,
        (ticket, dyno): (Ticket, DynoId),
        open: u32,
        until: Micros,
        rise: Rise,
    ) -> Option<Ticket> {
        self.ceiling = Some(Ceiling { leases: open, until, rise });
        self.queue.insert(ticket, dyno);
        self.release(dyno)
    }

    /// PostgreSQL is back: up to the limit all may have leases. Says who has one now.
    #[must_use]
    pub(crate) fn lift(&mut self) -> Vec<Ticket> {
        self.ceiling = None;
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Time has passed: lets the ceiling rise. Says who has a lease now.
    #[must_use]
    pub(crate) fn tick(&mut self, now: Micros) -> Option<Ticket> {
        let ceiling = self.ceiling.as_mut().filter(|ceiling| ceiling.until <= now)?;
        ceiling.leases += 1;
        ceiling.until = match ceiling.rise {
            Rise::Steadily => now + RISE_EVERY,
            Rise::Once => Micros(u64::MAX),
        };
        if ceiling.leases >= self.limit {
            self.ceiling = None;
        }
        self.next()
    }

    /// Another limit from now on; leases above it end by themselves. Says who has a lease now.
    #[must_use]
    pub(crate) fn set_limit(&mut self, limit: u32) -> Vec<Ticket> {
        self.limit = limit;
        std::iter::from_fn(|| self.next()).collect()
    }

    /// From now on nobody is granted a lease.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// The end of a pause. Says who has a lease now.
    #[must_use]
    pub(crate) fn resume(&mut self) -> Vec<Ticket> {
        self.paused = false;
        std::iter::from_fn(|| self.next()).collect()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Grants a lease to the first in the queue, if one is to be had.
    fn next(&mut self) -> Option<Ticket> {
        if !self.has_room() {
            return None;
        }
        let (ticket, dyno) = self.queue.pop_first()?;
        self.take(dyno);
        Some(ticket)
    }

    fn has_room(&self) -> bool {
        let ceiling = self.ceiling.map_or(self.limit, |ceiling| ceiling.leases);
        !self.paused && self.leased < ceiling.min(self.limit)
    }

    fn take(&mut self, dyno: DynoId) {
        self.leased += 1;
        let index = usize::from(dyno.0);
        if self.by_dyno.len() <= index {
            self.by_dyno.resize(index + 1, 0);
        }
        self.by_dyno[index] += 1;
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn leased(&self) -> u32 {
        self.leased
    }

    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    /// Who holds leases, most first.
    pub(crate) fn holders(&self) -> Vec<(DynoId, u32)> {
        let mut holders: Vec<(DynoId, u32)> = (0_u16..=u16::MAX)
            .zip(&self.by_dyno)
            .filter(|(_, count)| **count > 0)
            .map(|(id, count)| (DynoId(id), *count))
            .collect();
        holders.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        holders
    }
}

#[cfg(test)]
mod tests;
