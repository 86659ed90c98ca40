//! Server connections that nobody holds, and how many are open in all.
//!
//! Pure: generic over the connection. The one rule that everything rests on: a lease holds at most
//! one connection, and there are at most `limit` leases; so whoever has a lease finds an idle
//! connection, or room to open one, or an idle one of another kind to close for it.

/// What a connection is good for.
pub(crate) trait Kinds {
    /// Whether it can serve sessions of this kind (database and parameters).
    fn fits(&self, key: &Key) -> bool;
    /// The worker whose runtime it lives in: another one must move it first.
    fn worker(&self) -> usize;
}

/// A startup parameter and its value.
pub(crate) type Parameter = (Box<[u8]>, Box<[u8]>);

/// The kind of a server connection: sessions may share one only if these are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The database, as the server calls it.
    pub(crate) database: Box<[u8]>,
    /// Who we are to the server.
    pub(crate) user: Box<[u8]>,
    /// All startup parameters but user, database, `application_name` and our own; sorted by name.
    pub(crate) parameters: Vec<Parameter>,
}

/// What a lease yields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Take<C> {
    /// This one.
    Idle(C),
    /// Open one; it is counted as open already.
    Open,
    /// Close this one, wait until it is gone, then open one in its place.
    Replace(C),
}

/// The idle connections, in the order in which they became idle.
#[derive(Debug)]
pub(crate) struct Pool<C> {
    idle: Vec<C>,
    open: u32,
    limit: u32,
}

impl<C: Kinds> Pool<C> {
    pub(crate) fn new(limit: u32) -> Self {
        Self { idle: Vec::new(), open: 0, limit }
    }

    /// A connection for a lease. The one used last comes first (its backend's caches are warm, and
    /// the others may age); of the same worker before all others.
    pub(crate) fn take(&mut self, key: &Key, worker: usize) -> Take<C> {
        let own = |c: &C| c.worker() == worker && c.fits(key);
        let found =
            self.idle.iter().rposition(own).or_else(|| self.idle.iter().rposition(|c| c.fits(key)));
        if let Some(index) = found {
            return Take::Idle(self.idle.remove(index));
        }
        // A lease granted before the limit was lowered finds no room below it, but is still good
        // for a connection: the others that are open are leased.
        if self.open < self.limit || self.idle.is_empty() {
            self.open += 1;
            return Take::Open;
        }
        Take::Replace(self.idle.remove(0))
    }

    /// A connection is idle.
    pub(crate) fn put(&mut self, connection: C) {
        self.idle.push(connection);
    }

    /// A connection is gone, or could not be opened.
    pub(crate) fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Another limit from now on.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// The longest idle ones, as many as there are too many. They count as open until
    /// [`Self::closed`] is told of each.
    pub(crate) fn surplus(&mut self) -> Vec<C> {
        let surplus = usize::try_from(self.open.saturating_sub(self.limit)).unwrap_or(usize::MAX);
        self.idle.drain(..surplus.min(self.idle.len())).collect()
    }

    /// Takes out idle connections to be closed. They count as open until [`Self::closed`] is told
    /// of each.
    pub(crate) fn withdraw(&mut self, which: impl FnMut(&mut C) -> bool) -> Vec<C> {
        self.idle.extract_if(.., which).collect()
    }

    /// How many are idle.
    pub(crate) fn idle(&self) -> u32 {
        u32::try_from(self.idle.len()).unwrap_or(u32::MAX)
    }

    /// Whether more are open than may be.
    pub(crate) fn is_over(&self) -> bool {
        self.open > self.limit
    }

    /// How many are open, idle or not, or being opened.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Takes out all idle connections that `is_dead` says are.
    pub(crate) fn remove_dead(&mut self, is_dead: impl FnMut(&mut C) -> bool) -> Vec<C> {
        let dead: Vec<C> = self.idle.extract_if(.., is_dead).collect();
        let count = u32::try_from(dead.len()).unwrap_or(u32::MAX);
        self.open = self.open.saturating_sub(count);
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Fake(u32, Key, usize);

    impl Kinds for Fake {
        fn fits(&self, key: &Key) -> bool {
            self.1 == *key
        }

        fn worker(&self) -> usize {
            self.2
        }
    }

    fn key(database: &str) -> Key {
        Key { database: database.as_bytes().into(), user: Box::default(), parameters: Vec::new() }
    }

    #[test]
    fn the_last_one_of_the_same_worker_comes_first() {
        let mut pool = Pool::new(9);
        for worker in [0, 0, 1] {
            assert_eq!(pool.take(&key("a"), worker), Take::Open);
        }
        for (number, worker) in [(1, 0), (2, 0), (3, 1)] {
            pool.put(Fake(number, key("a"), worker));
        }
        let taken: Vec<u32> = (0..3)
            .map(|_| match pool.take(&key("a"), 0) {
                Take::Idle(fake) => fake.0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(taken, [2, 1, 3]);
        assert_eq!(pool.open(), 3);
    }

    #[test]
    fn a_full_pool_closes_the_longest_idle_one_of_another_kind() {
        let mut pool = Pool::new(2);
        for database in ["a", "b"] {
            assert_eq!(pool.take(&key(database), 0), Take::Open);
            pool.put(Fake(0, key(database), 0));
        }
        let Take::Replace(victim) = pool.take(&key("c"), 0) else { panic!("no room") };
        assert_eq!(victim.1, key("a"));
        assert_eq!(pool.open(), 2, "the new one stands in for the old");
    }

    #[test]
    fn dead_ones_are_taken_out_and_not_counted() {
        let mut pool = Pool::new(2);
        let opened = [pool.take(&key("a"), 0), pool.take(&key("a"), 0)];
        assert_eq!(opened, [Take::Open, Take::Open]);
        pool.put(Fake(0, key("a"), 0));
        pool.put(Fake(1, key("a"), 0));
        assert_eq!(pool.remove_dead(|fake| fake.0 == 0).len(), 1);
        assert_eq!(pool.open(), 1);
    }
}
