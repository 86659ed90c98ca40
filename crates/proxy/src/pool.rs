//! Server connections that nobody holds, and how many are open in all.
//!
//! Pure: generic over the connection. The one rule that everything rests on: a lease holds at most
//! one connection, and there are at most `limit` leases; so whoever has a lease finds an idle
//! connection, or room to open one, or an idle one of another kind to close for it.

use crate::sequences::{Owner, SequenceUser};
use crate::settings::{Settings, Way};

/// What a connection is good for.
pub(crate) trait Kinds {
    /// Whether it can serve sessions of this kind (database and parameters).
    fn fits(&self, key: &Key) -> bool;
    /// What it takes until it has these settings.
    fn way_to(&self, settings: &Settings) -> Way;
    /// Whether it knows custom settings that a session with these settings does not.
    fn knows_others_settings(&self, settings: &Settings) -> bool;
    /// Whose sequences it knows, to this session.
    fn sequences_of(&self, user: &SequenceUser) -> Owner;
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

/// What a request needs of its server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing more than that it is of the session's kind.
    Any,
    /// That it knows no custom settings but the session's own, since the request reads such.
    OwnSettings,
    /// The same, as long as that takes no connection from others: it begins a transaction, and what
    /// that will read is not known yet.
    OwnSettingsIfRoom,
    /// That it knows the session's sequences, if any does.
    OwnSequences,
    /// That it is opened now: no session has used it.
    New,
}

/// Who asks for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) key: &'a Key,
    pub(crate) settings: &'a Settings,
    pub(crate) sequences: &'a SequenceUser,
    pub(crate) worker: usize,
    pub(crate) need: Need,
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

/// So many of the idle connections that were used last count as warm, and half as many as are in
/// use. Each further backend that takes part in turn has caches of its own to fill: with 8 at work
/// out of 30 that costs more than another name does before each request
/// (docs/design/004-session-state.md).
const WARM_LEAST: usize = 4;

/// As long as fewer are open, a session does not get the one on which another has taken its last
/// number from a sequence: `lastval` works without a pin where sessions are few.
const SPARSE_MAX: u32 = 4;

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

    /// A connection for a lease.
    pub(crate) fn take(&mut self, asker: Asker<'_>) -> Take<C> {
        let found = match asker.need {
            Need::OwnSettingsIfRoom => {
                let own = self.find(Asker { need: Need::OwnSettings, ..asker });
                let has_room = self.open < self.limit;
                own.or_else(|| self.find(Asker { need: Need::Any, ..asker }).filter(|_| !has_room))
            }
            _ => self.find(asker),
        };
        match found {
            Some(index) => Take::Idle(self.idle.remove(index)),
            None => self.take_new(),
        }
    }

    /// Where the best of the idle connections is. Of the warm ones one that has the session's
    /// settings comes before all others, then one of the same worker, then the one used last. The
    /// others may age; of them one is taken only if the request had to wait for the settings of any
    /// that is warm.
    fn find(&self, asker: Asker<'_>) -> Option<usize> {
        let Asker { key, settings, sequences, worker, need } = asker;
        // As long as few are open, none loses what it knows of another's sequences.
        let is_sparse = self.open < self.limit.min(SPARSE_MAX);
        let best_owner = sequences.best_owner();
        let warm = self.idle.len().saturating_sub(self.warm());
        let mut best: Option<((Owner, Way, Owner, bool), usize)> = None;
        for (index, connection) in self.idle.iter().enumerate().rev() {
            let is_warm = index >= warm;
            let is_settled = best.is_some_and(|((_, way, ..), _)| way > Way::Awaited);
            if !is_warm && is_settled && need != Need::OwnSequences {
                break;
            }
            // The same worker alone is no reason for one that is not warm.
            let owner = connection.sequences_of(sequences);
            let first = if need == Need::OwnSequences { owner } else { Owner::Own };
            let is_near = is_warm && connection.worker() == worker;
            let rank = (first, connection.way_to(settings), owner, is_near);
            let serves = || match need {
                Need::Any | Need::OwnSettingsIfRoom => owner != Owner::Another || !is_sparse,
                Need::OwnSequences => true,
                Need::OwnSettings => !connection.knows_others_settings(settings),
                Need::New => false,
            };
            if best.is_none_or(|(found, _)| rank > found) && connection.fits(key) && serves() {
                best = Some((rank, index));
                if rank == (Owner::Own, Way::Nothing, best_owner, true) {
                    break;
                }
            }
        }
        best.map(|(_, index)| index)
    }

    /// A connection for a lease that needs one that is opened now.
    pub(crate) fn take_new(&mut self) -> Take<C> {
        // A lease granted before the limit was lowered finds no room below it, but is still good
        // for a connection: the others that are open are leased.
        if self.open < self.limit || self.idle.is_empty() {
            self.open += 1;
            return Take::Open;
        }
        Take::Replace(self.idle.remove(0))
    }

    /// How many of the idle connections are warm.
    fn warm(&self) -> usize {
        let open = usize::try_from(self.open).unwrap_or(usize::MAX);
        (open.saturating_sub(self.idle.len()) / 2).max(WARM_LEAST)
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

    /// The idle connection of the lowest rank, and its place; of equals the one used last. One
    /// without a rank is not taken.
    pub(crate) fn take_lowest<R: Ord>(
        &mut self,
        rank: impl Fn(&C) -> Option<R>,
    ) -> Option<(usize, C)> {
        let ranked = self.idle.iter().enumerate().rev();
        let ranked = ranked.filter_map(|(index, connection)| Some((rank(connection)?, index)));
        let (_, index) = ranked.min_by(|(one, _), (other, _)| one.cmp(other))?;
        Some((index, self.idle.remove(index)))
    }

    /// Puts a connection back into the place that it was taken from: it is not idle since now.
    pub(crate) fn restore(&mut self, place: usize, connection: C) {
        self.idle.insert(place.min(self.idle.len()), connection);
    }

    /// The longest idle ones that are too old, as long as more than `keep` are open. They count as
    /// open until [`Self::closed`] is told of each.
    pub(crate) fn expired(&mut self, keep: u32, is_old: impl Fn(&C) -> bool) -> Vec<C> {
        let surplus = usize::try_from(self.open.saturating_sub(keep)).unwrap_or(usize::MAX);
        let old = self.idle.iter().take(surplus).take_while(|one| is_old(one)).count();
        self.idle.drain(..old).collect()
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
    use std::sync::Arc;

    use super::*;
    use crate::settings::{CustomNames, Registry};

    #[derive(Debug, PartialEq, Eq)]
    struct Fake(u32, Key, usize, Arc<Settings>);

    impl Kinds for Fake {
        fn fits(&self, key: &Key) -> bool {
            self.1 == *key
        }

        fn way_to(&self, settings: &Settings) -> Way {
            self.3.way_to(settings, &CustomNames::default())
        }

        fn knows_others_settings(&self, _: &Settings) -> bool {
            false
        }

        fn sequences_of(&self, _: &SequenceUser) -> Owner {
            Owner::Nobody
        }

        fn worker(&self) -> usize {
            self.2
        }
    }

    fn nobody() -> &'static SequenceUser {
        static NOBODY: std::sync::LazyLock<SequenceUser> =
            std::sync::LazyLock::new(Default::default);
        &NOBODY
    }

    fn asker<'a>(key: &'a Key, settings: &'a Settings, worker: usize) -> Asker<'a> {
        Asker { key, settings, sequences: nobody(), worker, need: Need::Any }
    }

    fn named(name: &str) -> Arc<Settings> {
        Registry::default().only_name(name.as_bytes())
    }

    fn key(database: &str) -> Key {
        Key { database: database.as_bytes().into(), user: Box::default(), parameters: Vec::new() }
    }

    #[test]
    fn settings_come_before_worker_and_worker_before_age() {
        let mut pool = Pool::new(9);
        let (web, job) = (named("web"), named("job"));
        for worker in [0, 0, 1, 1] {
            assert_eq!(pool.take(asker(&key("a"), &web, worker)), Take::Open);
        }
        for (number, worker, settings) in [(1, 0, &web), (2, 0, &web), (3, 1, &web), (4, 0, &job)] {
            pool.put(Fake(number, key("a"), worker, Arc::clone(settings)));
        }
        let taken: Vec<u32> = (0..4)
            .map(|_| match pool.take(asker(&key("a"), &web, 0)) {
                Take::Idle(fake) => fake.0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(taken, [2, 1, 3, 4]);
        assert_eq!(pool.open(), 4);
    }

    /// A pool with so many idle ones, all of them named like this.
    fn idle(count: u32, settings: &Arc<Settings>) -> Pool<Fake> {
        let mut pool = Pool::new(count);
        (0..count).for_each(|_| assert_eq!(pool.take(asker(&key("a"), settings, 0)), Take::Open));
        (0..count).for_each(|n| pool.put(Fake(n, key("a"), 0, Arc::clone(settings))));
        pool
    }

    #[test]
    fn of_many_that_are_open_few_take_turns() {
        let registry = Registry::default();
        let names: Vec<_> = (1..=8).map(|n| registry.only_name(&[b'0' + n])).collect();
        let mut pool = idle(30, &names[0]);
        for (fake, name) in pool.idle.iter_mut().zip(names.iter().cycle()) {
            fake.3 = Arc::clone(name);
        }
        let mut used = std::collections::BTreeSet::new();
        let mut at_work = std::collections::VecDeque::new();
        for turn in 0..1000_usize {
            // In no order that would suit so many by itself.
            let name = &names[turn * turn / 7 % 8];
            let Take::Idle(mut taken) = pool.take(asker(&key("a"), name, 0)) else {
                panic!("all busy")
            };
            taken.3 = Arc::clone(name);
            used.insert(taken.0);
            at_work.push_back(taken);
            if at_work.len() > 7 {
                at_work.pop_front().into_iter().for_each(|done| pool.put(done));
            }
        }
        assert!((8..=8 + WARM_LEAST).contains(&used.len()), "{used:?}");
    }

    #[test]
    fn an_old_one_serves_whoever_would_have_to_wait_for_the_settings_of_a_warm_one() {
        let registry = Registry::default();
        let set = |name: &str, zone: &str| {
            let pairs = [("application_name", name), ("timezone", zone)];
            registry.settings(pairs.map(|(n, v)| (n.as_bytes().into(), v.as_bytes().into())).into())
        };
        let (web, job, rome) = (set("web", "UTC"), set("job", "UTC"), set("web", "Rome"));
        let mut pool = idle(9, &web);
        let old = pool.idle.first_mut().expect("nine are idle");
        old.3 = Arc::clone(&rome);
        let mut take = |settings| match pool.take(asker(&key("a"), settings, 0)) {
            Take::Idle(fake) => fake.0,
            other => panic!("{other:?}"),
        };
        assert_eq!([take(&job), take(&rome), take(&rome)], [8, 0, 7]);
    }

    #[test]
    fn a_full_pool_closes_the_longest_idle_one_of_another_kind() {
        let mut pool = Pool::new(2);
        let web = named("web");
        for database in ["a", "b"] {
            assert_eq!(pool.take(asker(&key(database), &web, 0)), Take::Open);
            pool.put(Fake(0, key(database), 0, Arc::clone(&web)));
        }
        let Take::Replace(victim) = pool.take(asker(&key("c"), &web, 0)) else { panic!("no room") };
        assert_eq!(victim.1, key("a"));
        assert_eq!(pool.open(), 2, "the new one stands in for the old");
    }

    #[test]
    fn under_a_lower_limit_the_longest_idle_ones_must_go() {
        let mut pool = Pool::new(3);
        let web = named("web");
        let fake = |number| Fake(number, key("a"), 0, Arc::clone(&web));
        for _ in 0..3 {
            assert_eq!(pool.take(asker(&key("a"), &web, 0)), Take::Open);
        }
        (0..3).for_each(|number| pool.put(fake(number)));
        let leased = pool.take(asker(&key("a"), &web, 0));
        pool.set_limit(1);
        let surplus: Vec<u32> = pool.surplus().iter().map(|fake| fake.0).collect();
        assert_eq!((surplus, leased), (vec![0, 1], Take::Idle(fake(2))));
        assert_eq!(pool.open(), 3, "until they are closed");
        assert!(pool.surplus().is_empty());
        assert_eq!(
            pool.take(asker(&key("a"), &web, 0)),
            Take::Open,
            "its lease is older than the limit"
        );
    }

    #[test]
    fn old_ones_go_but_for_the_reserve() {
        let mut pool = Pool::new(9);
        let web = named("web");
        for _ in 0..5 {
            assert_eq!(pool.take(asker(&key("a"), &web, 0)), Take::Open);
        }
        (0..5).for_each(|number| pool.put(Fake(number, key("a"), 0, Arc::clone(&web))));
        let mut expire = |keep, below| -> Vec<u32> {
            pool.expired(keep, |fake| fake.0 < below).iter().map(|fake| fake.0).collect()
        };
        assert_eq!(expire(4, 5), [0]);
        assert_eq!(expire(0, 3), [1, 2]);
        let last = pool.take_lowest(|_| Some(()));
        assert_eq!(last.map(|(_, fake)| fake.0), Some(4));
    }

    #[test]
    fn one_that_was_borrowed_comes_back_to_its_place() {
        let mut pool = idle(4, &named("web"));
        let order = |pool: &Pool<Fake>| pool.idle.iter().map(|fake| fake.0).collect::<Vec<_>>();
        let (place, fake) = pool.take_lowest(|_| Some(())).expect("four are idle");
        assert_eq!((place, fake.0), (3, 3), "of equals the one used last");
        pool.restore(place, fake);
        let (place, fake) = pool.take_lowest(|fake| (fake.0 != 0).then_some(fake.0)).expect("one");
        assert_eq!((fake.0, order(&pool)), (1, vec![0, 2, 3]));
        pool.restore(place, fake);
        assert_eq!(order(&pool), [0, 1, 2, 3]);
        assert_eq!(pool.take_lowest(|_| None::<()>), None);
        pool.restore(9, Fake(7, key("a"), 0, named("web")));
        assert_eq!(order(&pool), [0, 1, 2, 3, 7]);
    }

    #[test]
    fn a_new_one_is_opened_within_the_limit_though_one_is_idle() {
        let mut pool = idle(2, &named("web"));
        pool.set_limit(3);
        assert_eq!(pool.take_new(), Take::Open);
        let Take::Replace(victim) = pool.take_new() else { panic!("no room for a fourth") };
        assert_eq!((victim.0, pool.open()), (0, 3));
    }

    #[test]
    fn dead_ones_are_taken_out_and_not_counted() {
        let mut pool = Pool::new(2);
        let web = named("web");
        let opened = [pool.take(asker(&key("a"), &web, 0)), pool.take(asker(&key("a"), &web, 0))];
        assert_eq!(opened, [Take::Open, Take::Open]);
        pool.put(Fake(0, key("a"), 0, Arc::clone(&web)));
        pool.put(Fake(1, key("a"), 0, web));
        assert_eq!(pool.remove_dead(|fake| fake.0 == 0).len(), 1);
        assert_eq!(pool.open(), 1);
    }
}
