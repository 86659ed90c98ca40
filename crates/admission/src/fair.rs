//! Start-time fair queueing between dynos, paid for afterwards (Goyal, Vin, Cheng 1996).
//!
//! Each dyno has a finish tag in each lane: how far its share is used up, in seconds of the server
//! divided by its weight. The dyno with the lowest is next; its tag then rises by what its
//! transaction is expected to cost, and at the end by what it cost more, or less. A dyno that has
//! asked for nothing starts where the others are: nobody saves up, and nobody is punished for what
//! he took while nobody else wanted it. Nor is anybody shut out for what he owes.
//!
//! Whoever has just been served may go on for a short *turn* before the one who is next: its
//! connection has its settings, and those of another dyno (its `application_name`, at least) must
//! be set first, for which PostgreSQL takes a third of what a point read takes. The service of
//! dynos that wait differs by a turn at most, as a quantum does in deficit round robin (Shreedhar,
//! Varghese 1995).

use trace::{DynoId, Micros};

use crate::book::{Book, Chain, Entry, Lane, NONE};

/// A dyno is impatient by evidence when of its last requests in a queue so many left it unserved.
const IMPATIENT: f32 = 0.1;

/// How many that are, about.
const LAST: f32 = 32.0;

/// A turn, in seconds of the server: about a hundred times a change of settings.
const TURN: f64 = 0.002;

/// How a dyno is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Its share, beside those of the others.
    pub weight: u32,
    /// Whether its clients give up soon: in a queue that stands, its newest requests come first and
    /// older ones are refused early. A dyno whose clients are seen to leave the queue is treated so
    /// in any case.
    pub is_impatient: bool,
    /// How long its requests may wait, if that is not for whoever asks to say.
    pub patience: Option<Micros>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { weight: 1, is_impatient: false, patience: None }
    }
}

/// A dyno's part of one lane.
#[derive(Clone, Debug)]
struct Share {
    finish: f64,
    queue: Chain,
    /// When it was served last, or began to wait after that.
    since: Micros,
    /// Its place in the heap, while somebody waits.
    place: u32,
}

/// One dyno.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) dyno: DynoId,
    pub(crate) manner: Manner,
    pub(crate) leased: u32,
    /// How many of its requests leave the queue unserved: a decaying mean.
    leaving: f32,
    /// Since when somebody waits.
    waits_since: Micros,
    waiting: u32,
    shares: [Share; 2],
}

impl Tenant {
    fn weight(&self) -> f64 {
        f64::from(self.manner.weight.max(1))
    }

    fn is_impatient(&self) -> bool {
        self.manner.is_impatient || self.leaving > IMPATIENT
    }

    /// Whether it is treated as who gives up soon: it does, and somebody has been waiting for so
    /// long without a break.
    pub(crate) fn is_hurried(&self, now: Micros, long: impl FnOnce() -> Micros) -> bool {
        self.is_impatient() && self.waiting > 0 && now - self.waits_since > long()
    }
}

/// One lane: which dynos wait, and how far the service is.
#[derive(Debug, Default)]
struct Order {
    /// The start tag of the last that was served.
    clock: f64,
    /// Dynos that wait, a heap by finish tag.
    heap: Vec<u32>,
    /// Whose transaction has ended just now: its connection is the one that is free.
    last: Option<u32>,
    waiting: u32,
}

/// All dynos and both lanes.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    tenants: Vec<Tenant>,
    /// Which of them is a dyno's, by its id.
    by_dyno: Vec<u32>,
    orders: [Order; 2],
}

impl Fair {
    pub(crate) fn find(&self, dyno: DynoId) -> Option<u32> {
        self.by_dyno.get(usize::from(dyno.0)).copied().filter(|index| *index != NONE)
    }

    /// A dyno is treated like this from now on.
    pub(crate) fn introduce(&mut self, dyno: DynoId, manner: Manner) -> u32 {
        if let Some(index) = self.find(dyno) {
            self.tenants[index as usize].manner = manner;
            return index;
        }
        let index = u32::try_from(self.tenants.len()).unwrap_or(NONE);
        let (finish, queue, since) = (0.0, Chain::default(), Micros::ZERO);
        let share = Share { finish, queue, since, place: NONE };
        self.tenants.push(Tenant {
            dyno,
            manner,
            leased: 0,
            leaving: 0.0,
            waits_since: Micros::ZERO,
            waiting: 0,
            shares: [share.clone(), share],
        });
        let id = usize::from(dyno.0);
        if self.by_dyno.len() <= id {
            self.by_dyno.resize(id + 1, NONE);
        }
        self.by_dyno[id] = index;
        index
    }

    pub(crate) fn tenant(&self, index: u32) -> &Tenant {
        &self.tenants[index as usize]
    }

    pub(crate) fn tenant_mut(&mut self, index: u32) -> &mut Tenant {
        &mut self.tenants[index as usize]
    }

    pub(crate) fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    pub(crate) fn waiting(&self, lane: Lane) -> u32 {
        self.orders[lane as usize].waiting
    }

    /// A transaction waits; one that was granted before goes back to where it was.
    pub(crate) fn wait(&mut self, book: &mut Book, index: u32, now: Micros, returns: bool) {
        let Entry { tenant, lane, .. } = *book.at(index);
        let one = &mut self.tenants[tenant as usize];
        if one.waiting == 0 {
            one.waits_since = now;
        }
        one.waiting += 1;
        let share = &mut one.shares[lane as usize];
        let was_empty = share.queue.is_empty();
        if returns {
            share.queue.put_back(book, index);
        } else {
            share.queue.push(book, index);
        }
        self.orders[lane as usize].waiting += 1;
        if was_empty {
            share.since = now;
            self.join(lane, tenant);
        }
    }

    /// A transaction waits no longer.
    pub(crate) fn leave(&mut self, book: &mut Book, index: u32) {
        let Entry { tenant, lane, .. } = *book.at(index);
        let one = &mut self.tenants[tenant as usize];
        one.waiting -= 1;
        let share = &mut one.shares[lane as usize];
        share.queue.remove(book, index);
        let is_empty = share.queue.is_empty();
        self.orders[lane as usize].waiting -= 1;
        if is_empty {
            self.part(lane, tenant);
        }
    }

    /// Who is next: of the dyno whose turn it still is, else of the one that has used least of its
    /// share. Within a dyno the oldest; but the newest where the queue stands for so long and the
    /// dyno is impatient.
    pub(crate) fn next(
        &self,
        book: &Book,
        lane: Lane,
        now: Micros,
        long: impl FnOnce() -> Micros,
    ) -> Option<u32> {
        let order = &self.orders[lane as usize];
        let first = *order.heap.first()?;
        let goes_on = |last: &u32| {
            let one = self.tenant(*last);
            let cost = one.shares[lane as usize].queue.first().map(|index| book.at(index).charged);
            let until = |cost| self.tag(lane, *last) + (cost - TURN) / one.weight();
            cost.is_some_and(|cost| until(cost) < self.tag(lane, first))
        };
        let tenant = self.tenant(order.last.filter(goes_on).unwrap_or(first));
        let queue = &tenant.shares[lane as usize].queue;
        if tenant.is_hurried(now, long) { queue.last() } else { queue.first() }
    }

    /// A transaction is served: its dyno pays in advance.
    pub(crate) fn serve(&mut self, tenant: u32, lane: Lane, cost: f64, now: Micros) {
        let waits = self.orders[lane as usize].heap.first().map(|first| self.tag(lane, *first));
        let one = &mut self.tenants[tenant as usize];
        one.leased += 1;
        let (weight, order) = (one.weight(), &mut self.orders[lane as usize]);
        order.last = None;
        let share = &mut one.shares[lane as usize];
        let start = order.clock.max(share.finish);
        share.finish = start + cost / weight;
        share.since = now;
        // Never past one who waits: it is behind by as much as others went on in their turns.
        order.clock = order.clock.max(waits.map_or(start, |waits| waits.min(start)));
        self.settle(lane, tenant);
    }

    /// A dyno's transaction is over, and its connection free.
    pub(crate) fn ended(&mut self, tenant: u32, lane: Lane) {
        self.orders[lane as usize].last = Some(tenant);
    }

    /// A dyno has used so much more, or less, than it has paid for.
    pub(crate) fn correct(&mut self, tenant: u32, lane: Lane, cost: f64) {
        let one = &mut self.tenants[tenant as usize];
        let weight = one.weight();
        one.shares[lane as usize].finish += cost / weight;
        self.settle(lane, tenant);
    }

    /// Whoever has waited for so long without being served at all owes nothing any more. What is
    /// paid for afterwards contains what nobody could help: in a jam of a hundred transactions on
    /// one row one dyno's wait ten seconds longer in all than another's, and it would be shut out
    /// for as long.
    pub(crate) fn forgive(&mut self, now: Micros, long: Micros) {
        for lane in Lane::ALL {
            let Order { clock, heap, .. } = &self.orders[lane as usize];
            let clock = *clock;
            let owes = |tenant: &u32| {
                let share = &self.tenants[*tenant as usize].shares[lane as usize];
                share.finish > clock && share.since + long < now
            };
            let forgiven: Vec<u32> = heap.iter().copied().filter(owes).collect();
            for tenant in forgiven {
                self.share_mut(lane, tenant).finish = clock;
                self.settle(lane, tenant);
            }
        }
    }

    /// One that waited was served or has waited to the end, or it left unserved of its own accord.
    pub(crate) fn note_leaving(&mut self, tenant: u32, left: bool) {
        let one = &mut self.tenants[tenant as usize];
        one.leaving += (if left { 1.0 } else { 0.0 } - one.leaving) / LAST;
    }

    // --- the heap -------------------------------------------------------------------------------

    fn join(&mut self, lane: Lane, tenant: u32) {
        let heap = &mut self.orders[lane as usize].heap;
        let place = heap.len();
        heap.push(tenant);
        self.put(lane, place, tenant);
        self.rise(lane, place);
    }

    fn part(&mut self, lane: Lane, tenant: u32) {
        let place = std::mem::replace(&mut self.share_mut(lane, tenant).place, NONE) as usize;
        let heap = &mut self.orders[lane as usize].heap;
        heap.swap_remove(place);
        if let Some(moved) = heap.get(place).copied() {
            self.put(lane, place, moved);
            self.settle(lane, moved);
        }
    }

    /// A dyno's tag has changed.
    fn settle(&mut self, lane: Lane, tenant: u32) {
        let place = self.share_mut(lane, tenant).place;
        if place != NONE {
            let place = self.rise(lane, place as usize);
            self.sink(lane, place);
        }
    }

    fn rise(&mut self, lane: Lane, mut place: usize) -> usize {
        while place > 0 && self.is_before(lane, place, (place - 1) / 2) {
            self.swap(lane, place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    fn sink(&mut self, lane: Lane, mut place: usize) {
        loop {
            let mut least = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.orders[lane as usize].heap.len()
                    && self.is_before(lane, child, least)
                {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.swap(lane, place, least);
            place = least;
        }
    }

    /// Of equal ones the dyno that was here first.
    fn is_before(&self, lane: Lane, one: usize, other: usize) -> bool {
        let heap = &self.orders[lane as usize].heap;
        let key = |place: usize| {
            let tenant = heap[place];
            (self.tag(lane, tenant), tenant)
        };
        key(one) < key(other)
    }

    /// How far a dyno's share of a lane is used up.
    fn tag(&self, lane: Lane, tenant: u32) -> f64 {
        self.tenants[tenant as usize].shares[lane as usize].finish
    }

    fn swap(&mut self, lane: Lane, one: usize, other: usize) {
        let heap = &mut self.orders[lane as usize].heap;
        heap.swap(one, other);
        let (at_one, at_other) = (heap[one], heap[other]);
        self.put(lane, one, at_one);
        self.put(lane, other, at_other);
    }

    fn put(&mut self, lane: Lane, place: usize, tenant: u32) {
        self.share_mut(lane, tenant).place = u32::try_from(place).unwrap_or(NONE);
    }

    fn share_mut(&mut self, lane: Lane, tenant: u32) -> &mut Share {
        &mut self.tenants[tenant as usize].shares[lane as usize]
    }
}
