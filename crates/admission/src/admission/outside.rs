//! What happens to an admission as a whole, and what is seen of it.

use trace::{DynoId, LimitChanged, Micros};

use super::{Admission, EARLY_MAX, EARLY_PART, Levels, SPARED};
use crate::book::Lane;
use crate::{Part, Ticket};

impl Admission {
    /// PostgreSQL is back: up to the cap all may have connections. What was found of the limit may
    /// no longer hold.
    pub fn lift(&mut self, now: Micros) {
        self.ceiling = None;
        if let Some(law) = &mut self.law {
            self.decision = law.restarted(now);
        }
    }

    /// Time has passed: the ceiling may rise, statements may have become long, a slot may be over.
    pub fn tick(&mut self, now: Micros) {
        self.advance(now);
        self.fair.forgive(now, self.pulse.standing());
        if let Some(ceiling) = &mut self.ceiling {
            ceiling.rise(now);
        }
        self.ceiling = self.ceiling.filter(|ceiling| ceiling.held < self.cap);
    }

    /// Who has waited too long: each until it is withdrawn.
    pub fn late(&mut self, now: Micros) -> Vec<Ticket> {
        if self.paused {
            // In a pause time does not count.
            return Vec::new();
        }
        let (fair, standing) = (&self.fair, self.pulse.standing());
        let (mut late, mut patient) = (Vec::new(), Vec::new());
        for (index, entry) in self.book.waiting() {
            let early = || {
                let patience = Micros((entry.until - entry.arrived).0 / EARLY_PART).min(EARLY_MAX);
                let is_old = now - entry.arrived > patience && entry.order % SPARED != 0;
                is_old && fair.tenant(entry.tenant).is_hurried(now, || standing)
            };
            let has_waited = entry.until <= now;
            if has_waited || early() {
                if has_waited && !entry.is_told {
                    patient.push(entry.tenant);
                }
                entry.is_told = true;
                late.push(index);
            }
        }
        for tenant in patient {
            self.fair.note_leaving(tenant, false);
        }
        late.into_iter().map(|index| self.book.ticket(index)).collect()
    }

    /// Who waits may do so until then at least.
    pub fn be_patient(&mut self, until: Micros) {
        for (_, entry) in self.book.waiting() {
            entry.until = entry.until.max(until);
        }
    }

    /// When the next place that is kept for a transaction in a pause becomes free, if somebody
    /// waits: nothing that calls him need happen by then. To be told ([`Self::tick`]) at that time.
    #[must_use]
    pub fn place_freed(&self) -> Option<Micros> {
        let matters = self.law.is_some() && self.fair.waiting(Lane::Short) > 0;
        let first = self.pausing.first().filter(|_| matters)?;
        Some(self.book.at(first).since + self.pulse.pause())
    }

    /// Another cap from now on; what is above it ends by itself.
    pub fn set_cap(&mut self, cap: u32) {
        self.cap = cap;
    }

    /// So many connections can be had, counting those that may be opened now.
    pub fn set_reach(&mut self, reach: u32) {
        self.reach = reach;
    }

    /// So many connections are used for something else, for a moment.
    pub fn set_aside(&mut self, connections: u32) {
        self.aside = connections;
    }

    /// So many backends wait for locks, if somebody looked.
    pub fn set_blocked(&mut self, blocked: Option<f64>) {
        self.blocked = blocked;
    }

    /// This is our part of what executes on the database from now on; for a law to hear.
    pub fn take_part(&mut self, part: Part, now: Micros) {
        if let Some(law) = &mut self.law {
            self.decision = law.take_part(part, now);
        }
    }

    /// The limit of all who share the database, if a law finds it.
    #[must_use]
    pub fn total(&self) -> Option<u32> {
        self.law.as_ref().map(|law| law.total())
    }

    /// From now on nobody begins.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// The end of a pause.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Whether there is a pause.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// All dynos that were introduced.
    pub fn dynos(&self) -> impl Iterator<Item = DynoId> {
        self.fair.tenants().iter().map(|tenant| tenant.dyno)
    }

    /// How it stands.
    #[must_use]
    pub fn levels(&self) -> Levels {
        let ceiling = self.most();
        Levels {
            limit: self.decision.limit.min(ceiling),
            long_limit: self.decision.long,
            ceiling,
            counts: self.counts,
            waiting: self.waiting(),
        }
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        Lane::ALL.iter().map(|lane| self.fair.waiting(*lane)).sum()
    }

    /// How many hold a connection.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.counts.held()
    }

    /// Who holds connections, most first.
    #[must_use]
    pub fn holders(&self) -> Vec<(DynoId, u32)> {
        let tenants = self.fair.tenants().iter().filter(|tenant| tenant.leased > 0);
        let mut holders: Vec<_> = tenants.map(|tenant| (tenant.dyno, tenant.leased)).collect();
        holders.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        holders
    }

    /// The last change of the limit, if it was not told yet.
    pub fn untold(&mut self) -> Option<LimitChanged> {
        self.law.as_mut()?.untold()
    }

    /// The last change of the limit, and what is to be remembered across restarts of ours.
    #[must_use]
    pub fn found(&self) -> (Option<LimitChanged>, Option<u32>) {
        let law = self.law.as_ref();
        (law.and_then(|law| law.change()), law.and_then(|law| law.knee()))
    }
}
