//! Every transaction that waits or runs, in one slab; chains through it for the queues and for what
//! executes, so that any of them is left in constant time.

use trace::Micros;

use crate::Cost;

/// A transaction's place: it keeps it from its request to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is the index")]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    fn generation(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(u32::MAX)
    }
}

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The place is free.
    Free,
    /// It waits for its turn.
    Waiting,
    /// A statement executes.
    Executing,
    /// A statement executes in the lane of long ones.
    Long,
    /// It is open, and nothing executes; but only for so short a time that it keeps its place.
    Pausing,
    /// It is open, and nothing executes.
    Idle,
}

impl State {
    /// Whether it is open and nothing executes.
    pub(crate) fn idles(self) -> bool {
        matches!(self, Self::Pausing | Self::Idle)
    }
}

/// Which queue a transaction waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Short,
    Long,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::Short, Self::Long];
}

/// One transaction.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    generation: u32,
    before: u32,
    after: u32,
    pub(crate) state: State,
    pub(crate) lane: Lane,
    /// It was told to wait no longer.
    pub(crate) is_told: bool,
    /// A statement of it was long.
    pub(crate) was_long: bool,
    /// Whose it is: an index of the tenants.
    pub(crate) tenant: u32,
    /// Earlier ones have lower numbers.
    pub(crate) order: u64,
    /// When it was asked for.
    pub(crate) arrived: Micros,
    /// How long it may wait.
    pub(crate) until: Micros,
    /// When it was granted.
    pub(crate) granted: Micros,
    /// Since when it does what it does.
    pub(crate) since: Micros,
    /// What its dyno was charged in advance, in seconds.
    pub(crate) charged: f64,
    /// What it has really used of each lane, in seconds.
    pub(crate) used: [f64; 2],
    /// The base costs of its statements so far, in seconds.
    pub(crate) work: Cost,
}

/// No index.
pub(crate) const NONE: u32 = u32::MAX;

/// The slab.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: Vec<Entry>,
    free: Vec<u32>,
    orders: u64,
}

impl Book {
    /// A new transaction that waits; the caller fills in the rest.
    pub(crate) fn open(&mut self, tenant: u32, lane: Lane, arrived: Micros) -> Ticket {
        self.orders += 1;
        let entry = Entry {
            generation: 0,
            before: NONE,
            after: NONE,
            state: State::Waiting,
            lane,
            is_told: false,
            was_long: lane == Lane::Long,
            tenant,
            order: self.orders,
            arrived,
            until: Micros(u64::MAX),
            granted: arrived,
            since: arrived,
            charged: 0.0,
            used: [0.0; 2],
            work: Cost::default(),
        };
        match self.free.pop() {
            Some(index) => {
                let place = &mut self.entries[index as usize];
                let generation = place.generation.wrapping_add(1);
                *place = Entry { generation, ..entry };
                Ticket::new(index, generation)
            }
            None => {
                let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
                self.entries.push(entry);
                Ticket::new(index, 0)
            }
        }
    }

    /// Whether the ticket is still good.
    pub(crate) fn has(&self, ticket: Ticket) -> bool {
        let entry = self.entries.get(ticket.index() as usize);
        entry.is_some_and(|entry| {
            entry.generation == ticket.generation() && entry.state != State::Free
        })
    }

    pub(crate) fn close(&mut self, ticket: Ticket) {
        self.at_mut(ticket.index()).state = State::Free;
        self.free.push(ticket.index());
    }

    pub(crate) fn ticket(&self, index: u32) -> Ticket {
        Ticket::new(index, self.at(index).generation)
    }

    pub(crate) fn at(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    pub(crate) fn at_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    /// All that wait, in no order.
    pub(crate) fn waiting(&mut self) -> impl Iterator<Item = (u32, &mut Entry)> {
        let all = (0_u32..).zip(&mut self.entries);
        all.filter(|(_, entry)| entry.state == State::Waiting)
    }
}

/// Entries in a row; each is in one chain at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl Chain {
    pub(crate) fn first(&self) -> Option<u32> {
        Some(self.first).filter(|index| *index != NONE)
    }

    pub(crate) fn last(&self) -> Option<u32> {
        Some(self.last).filter(|index| *index != NONE)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    pub(crate) fn push(&mut self, book: &mut Book, index: u32) {
        self.insert(book, self.last, index);
    }

    /// Puts an entry back where its order wants it: near the front, where it was once.
    pub(crate) fn put_back(&mut self, book: &mut Book, index: u32) {
        let order = book.at(index).order;
        let (mut before, mut next) = (NONE, self.first);
        while next != NONE && book.at(next).order < order {
            (before, next) = (next, book.at(next).after);
        }
        self.insert(book, before, index);
    }

    /// Behind `before`, or first of all.
    fn insert(&mut self, book: &mut Book, before: u32, index: u32) {
        let after = if before == NONE { self.first } else { book.at(before).after };
        let entry = book.at_mut(index);
        (entry.before, entry.after) = (before, after);
        match before {
            NONE => self.first = index,
            before => book.at_mut(before).after = index,
        }
        match after {
            NONE => self.last = index,
            after => book.at_mut(after).before = index,
        }
    }

    pub(crate) fn remove(&mut self, book: &mut Book, index: u32) {
        let Entry { before, after, .. } = *book.at(index);
        match before {
            NONE => self.first = after,
            before => book.at_mut(before).after = after,
        }
        match after {
            NONE => self.last = before,
            after => book.at_mut(after).before = before,
        }
        let entry = book.at_mut(index);
        (entry.before, entry.after) = (NONE, NONE);
    }
}
