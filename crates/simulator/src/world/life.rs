//! What becomes of a transaction: it waits, it holds a connection, its statements take turns on
//! processor and disk, it may wait for a row, its client may give up.

use admission::{Ask, Ticket, Verdict};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use trace::DynoId;

use super::{Door, What, World};
use crate::meter::micros;
use crate::scenario::Group;
use crate::transaction::{Stage, Transaction, fingerprint};

impl<'a> World<'a> {
    /// A client wants a transaction (again).
    pub(super) fn asks(&mut self, group: usize, asked: f64, tries: u32) {
        let Some((phase, of)) = self.groups.get(group).copied() else { return };
        if phase != self.phase {
            return;
        }
        let proxy = self.chance.random_range(0..self.gates.len());
        let who = self.free.pop().unwrap_or_else(|| {
            self.transactions.push(Transaction::default());
            u32::try_from(self.transactions.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        let serial = transaction.serial + 1;
        *transaction = Transaction { serial, group, proxy, asked, tries, ..Transaction::default() };
        self.queues(who, of);
        if of.patience_ms > 0.0 {
            self.after(of.patience_ms / 1e3, What::GivesUp { who, serial });
        }
        self.admit(proxy);
    }

    /// At the door.
    fn queues(&mut self, who: u32, of: &Group) {
        let tau = self.tau();
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        let statement = fingerprint(&of.name, 0);
        match &mut self.door {
            Door::Pool(_) => {
                let long = self.costs.base(statement) > tau;
                transaction.long = long;
                let Some(gate) = self.gates.get_mut(transaction.proxy) else { return };
                let queue = if long { &mut gate.long } else { &mut gate.short };
                queue.push_back((who, transaction.serial));
                gate.waiting[usize::from(long)] += 1;
            }
            Door::Admission(admission) => {
                let now = micros(self.now);
                let patience = if of.patience_ms > 0.0 { of.patience_ms / 1e3 } else { 3600.0 };
                let until = micros(self.now + patience);
                let dyno = DynoId(u16::try_from(transaction.group).unwrap_or(u16::MAX));
                let (ticket, granted) =
                    match admission.request(Ask { dyno, statement, arrived: now, until }, now) {
                        Verdict::Granted(ticket) => (ticket, true),
                        Verdict::Queued(ticket) => (ticket, false),
                    };
                transaction.ticket = Some(ticket);
                self.tickets.insert(ticket, who);
                if granted {
                    self.enters(who);
                }
            }
        }
    }

    /// It has waited too long in the opinion of the admission: its client is told so.
    pub(super) fn refused(&mut self, ticket: Ticket) {
        let who = self.tickets.get(&ticket).copied();
        let Some(who) = who else { return };
        if let Some(serial) = self.transactions.get(who as usize).map(|t| t.serial) {
            self.gives_up(who, serial);
        }
    }

    /// A client has waited for as long as it would, in the queue or for the server.
    pub(super) fn gives_up(&mut self, who: u32, serial: u32) {
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        if transaction.serial != serial || transaction.abandoned {
            return;
        }
        transaction.abandoned = true;
        let (group, asked, tries) = (transaction.group, transaction.asked, transaction.tries);
        if transaction.stage == Stage::Queued {
            let (long, proxy) = (transaction.long, transaction.proxy);
            transaction.serial += 1;
            self.free.push(who);
            match (&mut self.door, transaction.ticket) {
                (Door::Admission(admission), Some(ticket)) => {
                    self.tickets.remove(&ticket);
                    let _was_waiting = admission.withdraw(ticket, micros(self.now));
                }
                _ => {
                    if let Some(gate) = self.gates.get_mut(proxy) {
                        gate.waiting[usize::from(long)] -= 1;
                    }
                }
            }
        }
        let Some((_, of)) = self.groups.get(group).copied() else { return };
        if tries < of.retries {
            let wait = self.exponential(of.retry_ms / 1e3 * f64::from(1 << tries.min(6)));
            self.after(wait, What::Asks { group, asked, tries: tries + 1 });
        } else {
            self.tally.given_up += 1;
            self.thinks(group, of);
        }
    }

    /// The client of a closed group thinks about its next transaction.
    fn thinks(&mut self, group: usize, of: &Group) {
        if of.clients > 0 {
            let asked = self.now + self.exponential(of.think_ms / 1e3);
            self.push(asked, What::Asks { group, asked, tries: 0 });
        }
    }

    pub(super) fn admit_all(&mut self) {
        for proxy in 0..self.gates.len() {
            self.admit(proxy);
        }
    }

    /// Who may begin, begins.
    fn admit(&mut self, proxy: usize) {
        while let Some(who) = self.next(proxy) {
            self.enters(who);
        }
        if let Door::Admission(admission) = &self.door
            && !self.awaits_place
            && let Some(at) = admission.place_freed()
        {
            self.awaits_place = true;
            // A microsecond later: it must not be too early by a rounding.
            self.push((at + micros(1e-6)).as_secs_f64().max(self.now), What::PlaceFreed);
        }
    }

    fn next(&mut self, proxy: usize) -> Option<u32> {
        let limiter = match &mut self.door {
            Door::Pool(limiter) => limiter,
            Door::Admission(admission) => {
                let ticket = admission.next(micros(self.now))?;
                return self.tickets.get(&ticket).copied();
            }
        };
        let counts = limiter.counts();
        let gate = self.gates.get_mut(proxy)?;
        loop {
            let (who, serial) = if gate.waiting[1] > 0 && gate.admits_long(counts) {
                gate.long.pop_front()?
            } else if gate.waiting[0] > 0 && gate.admits(counts) {
                gate.short.pop_front()?
            } else {
                return None;
            };
            let transaction = self.transactions.get(who as usize)?;
            if transaction.serial == serial && transaction.stage == Stage::Queued {
                gate.waiting[usize::from(transaction.long)] -= 1;
                return Some(who);
            }
        }
    }

    /// It has its connection.
    fn enters(&mut self, who: u32) {
        if let Some(transaction) = self.transactions.get_mut(who as usize) {
            transaction.held = self.now;
        }
        self.statement_begins(who);
    }

    fn statement_begins(&mut self, who: u32) {
        let rtt = self.rtt();
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        let continues = transaction.stage == Stage::Idle;
        transaction.stage = Stage::Executing;
        transaction.since = self.now;
        match (&mut self.door, transaction.ticket) {
            (Door::Admission(admission), Some(ticket)) if continues => {
                admission.works(ticket, micros(self.now));
            }
            (Door::Admission(_), _) => {}
            (Door::Pool(_), _) => {
                let which = (transaction.serial, transaction.statement);
                let Some(gate) = self.gates.get_mut(transaction.proxy) else { return };
                if transaction.long {
                    gate.counts.long += 1;
                } else {
                    gate.counts.executing += 1;
                    self.begun.push_back((self.now, who, which));
                }
            }
        }
        self.after(rtt / 2.0, What::ReachesServer(who));
    }

    /// A statement that runs for long changes lanes, if it still runs.
    pub(super) fn grows_long(&mut self, who: u32, which: (u32, usize)) {
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        let same = (transaction.serial, transaction.statement) == which;
        if same && transaction.stage == Stage::Executing && !transaction.long {
            transaction.long = true;
            if let Some(gate) = self.gates.get_mut(transaction.proxy) {
                gate.counts.executing -= 1;
                gate.counts.long += 1;
            }
        }
    }

    pub(super) fn reaches_server(&mut self, who: u32) {
        let Some(of) = self.group_of(who) else { return };
        let rows = of.hot_rows;
        let turns = of.turns.max(1);
        let row = if rows > 0 { Some(self.chance.random_range(0..rows)) } else { None };
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        transaction.turns = turns;
        if let Some(row) = row
            && transaction.statement == 0
        {
            transaction.row = Some(row);
            if let Some(row) = self.rows.get_mut(row) {
                if row.held {
                    row.waiting.push_back(who);
                    self.blocked += 1;
                    return;
                }
                row.held = true;
            }
        }
        self.turn(who);
    }

    /// The next turn of a statement begins: first on the processor.
    fn turn(&mut self, who: u32) {
        let Some(of) = self.group_of(who) else { return };
        let cpu = self.demand(of.cpu_ms, of);
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        let seconds = cpu + std::mem::take(&mut transaction.wake);
        self.cores.enter(self.now, who, seconds);
    }

    /// Has been on the processor: then on the disk.
    pub(super) fn computed(&mut self, who: Option<u32>) {
        let Some((who, of)) = who.and_then(|who| Some((who, self.group_of(who)?))) else { return };
        if of.io_ms > 0.0 {
            let seconds = self.demand(of.io_ms, of);
            self.disk.enter(self.now, who, seconds);
        } else {
            self.turned(who);
        }
    }

    /// Has been on the disk.
    pub(super) fn read(&mut self, who: Option<u32>) {
        if let Some(who) = who {
            self.turned(who);
        }
    }

    /// A turn is over; after the last turn of the last statement the row is free.
    fn turned(&mut self, who: u32) {
        let rtt = self.rtt();
        let Some(of) = self.group_of(who) else { return };
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        transaction.turns -= 1;
        if transaction.turns > 0 {
            self.turn(who);
            return;
        }
        let row =
            if transaction.statement + 1 == of.statements { transaction.row.take() } else { None };
        self.after(rtt / 2.0, What::IsBack(who));
        if let Some(row) = row {
            self.unlock(row);
        }
    }

    /// Who has waited longest gets the row, and pays for the crowd that is woken with it.
    fn unlock(&mut self, row: usize) {
        let wake = self.scenario.database.wake_ms / 1e3;
        let Some(row) = self.rows.get_mut(row) else { return };
        let Some(next) = row.waiting.pop_front() else {
            row.held = false;
            return;
        };
        let crowd = u32::try_from(row.waiting.len()).unwrap_or(u32::MAX);
        self.blocked -= 1;
        if let Some(transaction) = self.transactions.get_mut(next as usize) {
            transaction.wake = wake * f64::from(crowd);
        }
        self.turn(next);
    }

    /// The proxy has the answer of a statement.
    pub(super) fn is_back(&mut self, who: u32) {
        let Some(of) = self.group_of(who) else { return };
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        let proxy = transaction.proxy;
        transaction.stage = Stage::Idle;
        let statement = fingerprint(&of.name, transaction.statement);
        transaction.statement += 1;
        let over = transaction.statement == of.statements;
        match (&mut self.door, transaction.ticket) {
            (Door::Admission(admission), Some(ticket)) if over => {
                self.tickets.remove(&ticket);
                admission.end(ticket, Some(statement), micros(self.now));
            }
            (Door::Admission(admission), Some(ticket)) => {
                admission.rests(ticket, statement, micros(self.now));
            }
            _ => {
                transaction.work += self.costs.observe(statement, self.now - transaction.since);
                let Some(gate) = self.gates.get_mut(proxy) else { return };
                if transaction.long {
                    gate.counts.long -= 1;
                } else {
                    gate.counts.executing -= 1;
                }
                gate.counts.idle += u32::from(!over);
            }
        }
        if over {
            self.ends(who, of);
        } else {
            let first = transaction.statement == 1;
            transaction.long = false;
            let idles = first && self.chance.random_bool(of.idle_share);
            let gap =
                self.exponential(of.gap_ms / 1e3) + if idles { of.idle_ms / 1e3 } else { 0.0 };
            self.after(gap, What::Continues(who));
        }
        self.admit(proxy);
    }

    /// The client sends its next statement.
    pub(super) fn continues(&mut self, who: u32) {
        let Some(transaction) = self.transactions.get(who as usize) else { return };
        if let (Door::Pool(_), Some(gate)) = (&self.door, self.gates.get_mut(transaction.proxy)) {
            gate.counts.idle -= 1;
        }
        self.statement_begins(who);
    }

    fn ends(&mut self, who: u32, of: &'a Group) {
        let Some(transaction) = self.transactions.get_mut(who as usize) else { return };
        let held = self.now - transaction.held;
        let (group, asked) = (transaction.group, transaction.asked);
        let (abandoned, long, work) = (transaction.abandoned, transaction.long, transaction.work);
        transaction.serial += 1;
        self.free.push(who);
        if !long {
            self.meter.done(work, held);
            self.usual += 0.01 * (held - self.usual);
        }
        if of.report {
            self.tally.reports += 1;
        } else if !abandoned {
            self.tally.done(self.now, self.now - asked);
        }
        if !abandoned {
            self.thinks(group, of);
        }
    }

    pub(super) fn tau(&self) -> f64 {
        (20.0 * self.usual).clamp(0.25, 10.0)
    }

    fn rtt(&self) -> f64 {
        self.scenario.phases.get(self.phase).map_or(0.0, |phase| phase.rtt_ms / 1e3)
    }

    fn group_of(&self, who: u32) -> Option<&'a Group> {
        let transaction = self.transactions.get(who as usize)?;
        self.groups.get(transaction.group).map(|(_, group)| *group)
    }

    /// A share of a transaction's time for one turn of one statement, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    fn demand(&mut self, of_all_ms: f64, of: &Group) -> f64 {
        let parts = (of.statements * of.turns.max(1)) as f64;
        let normal: f64 = StandardNormal.sample(&mut self.chance);
        of_all_ms / 1e3 / parts * (of.spread * normal - of.spread * of.spread / 2.0).exp()
    }
}
