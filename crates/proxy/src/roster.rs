//! Who is here: every session and every server connection, with what each has done so far.
//!
//! A session counts for itself ([`Counters`]: one writer, plain stores, nothing shared between
//! workers); whoever asks adds up. What a session has counted is added to the past when it ends, so
//! that sums never go down. The lock is taken when a connection begins or ends and when somebody
//! asks, never by a request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trace::{BackendPid, DynoId, Micros, PinCause, SessionId, SqlState};

use crate::answer::Answer;

mod counters;
mod sight;

pub(crate) use counters::Counters;
pub use counters::{BOUNDS, Histogram, Totals};
pub(crate) use sight::Sight;
pub use sight::{Client, Server};

/// Pairs of database and user, and dynos, whose past is kept apart; those beyond share one entry,
/// so that made-up names cannot make memory grow.
const KEPT_MAX: usize = 1000;

/// The name of that entry.
const OTHERS: &str = "(others)";

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It asks for nothing.
    Idle,
    /// It waits for a server connection.
    Waiting,
    /// It holds a server connection.
    Active,
}

/// Why a session is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The proxy shuts down.
    Shutdown,
    /// `KILL` or `KILL_CLIENT`.
    Killed,
    /// Its database is no longer configured.
    Removed,
}

/// What a session is, from its startup packet and its socket.
#[derive(Clone, Debug)]
pub(crate) struct Badge {
    pub(crate) session: SessionId,
    pub(crate) dyno: DynoId,
    pub(crate) dyno_name: Box<str>,
    /// The entry of the configuration that it came to.
    pub(crate) entry: Box<str>,
    /// The database that it asked for.
    pub(crate) database: Box<str>,
    pub(crate) user: Box<str>,
    pub(crate) application: Box<str>,
    /// Where it comes from, and where it came to.
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) local: Option<std::net::SocketAddr>,
    pub(crate) connected: Micros,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) badge: Badge,
    pub(crate) counters: Counters,
    /// Ends the session.
    pub(crate) end: CancellationToken,
    ended: AtomicU8,
    doing: AtomicU8,
    since: AtomicU64,
    backend: AtomicI32,
}

impl Card {
    fn new(badge: Badge, end: CancellationToken) -> Self {
        Self {
            badge,
            counters: Counters::default(),
            end,
            ended: AtomicU8::new(Ended::Shutdown as u8),
            doing: AtomicU8::new(Doing::Idle as u8),
            since: AtomicU64::new(0),
            backend: AtomicI32::new(0),
        }
    }

    /// It waits for a server connection.
    pub(crate) fn waits(&self, since: Micros) {
        self.since.store(since.0, Ordering::Relaxed);
        self.doing.store(Doing::Waiting as u8, Ordering::Relaxed);
    }

    /// It holds this server connection.
    pub(crate) fn holds(&self, backend: BackendPid, since: Micros) {
        self.backend.store(backend.0, Ordering::Relaxed);
        self.since.store(since.0, Ordering::Relaxed);
        self.doing.store(Doing::Active as u8, Ordering::Relaxed);
    }

    /// It asks for nothing.
    pub(crate) fn rests(&self) {
        self.doing.store(Doing::Idle as u8, Ordering::Relaxed);
        self.backend.store(0, Ordering::Relaxed);
    }

    pub(crate) fn doing(&self) -> Doing {
        match self.doing.load(Ordering::Relaxed) {
            1 => Doing::Waiting,
            2 => Doing::Active,
            _ => Doing::Idle,
        }
    }

    /// Ends the session.
    pub(crate) fn end(&self, why: Ended) {
        self.ended.store(why as u8, Ordering::Release);
        self.end.cancel();
    }

    /// What its client is told at the end.
    pub(crate) fn farewell(&self) -> Answer {
        let text = match self.ended.load(Ordering::Acquire) {
            1 => "surgetank: terminating connection due to administrator command",
            2 => "surgetank: this database is no longer configured",
            _ => return Answer::shutting_down(),
        };
        Answer::new(SqlState::ADMIN_SHUTDOWN, text)
    }

    fn sight(&self) -> Client {
        let badge = &self.badge;
        Client {
            id: badge.session,
            dyno: badge.dyno_name.clone(),
            entry: badge.entry.clone(),
            database: badge.database.clone(),
            user: badge.user.clone(),
            application: badge.application.clone(),
            peer: badge.peer,
            local: badge.local,
            connected: badge.connected,
            doing: self.doing(),
            since: Micros(self.since.load(Ordering::Relaxed)),
            last: self.counters.last(),
            backend: BackendPid(self.backend.load(Ordering::Relaxed)),
            totals: self.counters.totals(),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionId, Arc<Card>>,
    /// How many there were so far.
    entered: u64,
    servers: BTreeMap<u64, Server>,
    last_server: u64,
    /// Of sessions that have ended, by database and user. Whoever enters has a place here, or is
    /// one of the others for good: what is told of a name never goes down.
    past: HashMap<(Box<str>, Box<str>), Totals>,
    past_dynos: HashMap<Box<str>, Totals>,
    pins: BTreeMap<PinCause, u64>,
    refusals: BTreeMap<SqlState, u64>,
    periods: Periods,
}

/// Sums by database at the two last ends of a period, for averages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Periods {
    pub(crate) before: (Micros, HashMap<Box<str>, Totals>),
    pub(crate) last: (Micros, HashMap<Box<str>, Totals>),
}

/// All sessions and server connections of one proxy.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    inner: Mutex<Inner>,
    lost: AtomicU64,
    /// Fires when a session has left.
    pub(crate) left: Notify,
}

/// Makes a place for a name, if there is room.
fn make_place<K: std::hash::Hash + Eq>(past: &mut HashMap<K, Totals>, key: K) {
    if past.len() < KEPT_MAX {
        past.entry(key).or_default();
    }
}

/// Adds to what is kept by name, or to the others.
fn keep<K: std::hash::Hash + Eq>(past: &mut HashMap<K, Totals>, key: K, others: K, more: &Totals) {
    let key = if past.contains_key(&key) { key } else { others };
    past.entry(key).or_default().add(more);
}

impl Roster {
    /// A session is here until its seat is dropped.
    pub(crate) fn enter(self: &Arc<Self>, badge: Badge, end: CancellationToken) -> Seat {
        let card = Arc::new(Card::new(badge, end));
        let badge = &card.badge;
        let mut inner = self.inner.lock();
        make_place(&mut inner.past, (badge.database.clone(), badge.user.clone()));
        make_place(&mut inner.past_dynos, badge.dyno_name.clone());
        inner.entered += 1;
        inner.sessions.insert(badge.session, Arc::clone(&card));
        drop(inner);
        Seat { roster: Arc::clone(self), card }
    }

    fn leave(&self, card: &Card) {
        let totals = card.counters.totals();
        let badge = &card.badge;
        let mut inner = self.inner.lock();
        inner.sessions.remove(&badge.session);
        let pair = (badge.database.clone(), badge.user.clone());
        keep(&mut inner.past, pair, (OTHERS.into(), OTHERS.into()), &totals);
        keep(&mut inner.past_dynos, badge.dyno_name.clone(), OTHERS.into(), &totals);
        drop(inner);
        self.left.notify_waiters();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().sessions.len()
    }

    /// A server connection was opened for a session; gives its number.
    pub(crate) fn server_opened(
        &self,
        backend: BackendPid,
        session: SessionId,
        opened: Micros,
    ) -> u64 {
        let mut inner = self.inner.lock();
        inner.last_server += 1;
        let id = inner.last_server;
        let (entry, database, user) = match inner.sessions.get(&session) {
            Some(card) => {
                let badge = &card.badge;
                (badge.entry.clone(), badge.database.clone(), badge.user.clone())
            }
            None => Default::default(),
        };
        inner.servers.insert(id, Server { id, backend, entry, database, user, opened });
        id
    }

    pub(crate) fn server_closed(&self, id: u64) {
        self.inner.lock().servers.remove(&id);
    }

    /// The number that the next server connection will have at least.
    pub(crate) fn next_server(&self) -> u64 {
        self.inner.lock().last_server + 1
    }

    pub(crate) fn pinned(&self, cause: PinCause) {
        *self.inner.lock().pins.entry(cause).or_default() += 1;
    }

    pub(crate) fn refused(&self, code: SqlState) {
        *self.inner.lock().refusals.entry(code).or_default() += 1;
    }

    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<Arc<Card>> {
        self.inner.lock().sessions.get(&id).cloned()
    }

    /// The sessions of an entry of the configuration.
    pub(crate) fn of_entry(&self, entry: &str) -> Vec<Arc<Card>> {
        let inner = self.inner.lock();
        inner.sessions.values().filter(|card| &*card.badge.entry == entry).cloned().collect()
    }

    pub(crate) fn servers_before(&self, entry: &str, id: u64) -> usize {
        let inner = self.inner.lock();
        inner.servers.range(..id).filter(|(_, server)| &*server.entry == entry).count()
    }

    /// A period for averages ends.
    pub(crate) fn end_period(&self, now: Micros) {
        let mut sums = HashMap::<Box<str>, Totals>::new();
        let seen = self.look();
        for ((database, _), totals) in seen.by_user() {
            sums.entry(database).or_default().add(&totals);
        }
        let mut inner = self.inner.lock();
        let last = std::mem::replace(&mut inner.periods.last, (now, sums));
        inner.periods.before = last;
    }

    /// All at one moment.
    pub(crate) fn look(&self) -> Sight {
        let inner = self.inner.lock();
        let mut clients: Vec<Client> = inner.sessions.values().map(|card| card.sight()).collect();
        clients.sort_by_key(|client| client.id);
        Sight {
            clients,
            entered: inner.entered,
            servers: inner.servers.values().cloned().collect(),
            opened: inner.last_server,
            past: inner.past.clone(),
            past_dynos: inner.past_dynos.clone(),
            pins: inner.pins.clone(),
            refusals: inner.refusals.clone(),
            lost: self.lost.load(Ordering::Relaxed),
            periods: inner.periods.clone(),
        }
    }
}

/// A session's place on the roster; dropped, the session is gone.
#[derive(Debug)]
pub(crate) struct Seat {
    roster: Arc<Roster>,
    pub(crate) card: Arc<Card>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.leave(&self.card);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn badge(number: u32) -> Badge {
        let name: Box<str> = format!("name-{number}").into();
        Badge {
            session: SessionId(number),
            dyno: DynoId(0),
            dyno_name: name.clone(),
            entry: "*".into(),
            database: name,
            user: "ann".into(),
            application: "".into(),
            peer: None,
            local: None,
            connected: Micros::ZERO,
        }
    }

    #[test]
    fn made_up_names_share_a_place_and_no_sum_goes_down() {
        let roster = Arc::new(Roster::default());
        let count = u32::try_from(KEPT_MAX).unwrap() + 50;
        let mut seats: Vec<Seat> = (0..count)
            .map(|number| roster.enter(badge(number), CancellationToken::new()))
            .collect();
        let names = |sight: &Sight| {
            let users: Vec<_> = sight.by_user().into_keys().map(|(database, _)| database).collect();
            let dynos: Vec<_> = sight.by_dyno().into_keys().collect();
            assert_eq!(users.len(), KEPT_MAX + 1);
            assert_eq!(users, dynos);
            users
        };
        let before = names(&roster.look());
        // Whoever leaves first, kept or not, nobody changes places.
        drop((seats.pop(), seats.swap_remove(3)));
        let sight = roster.look();
        assert_eq!(names(&sight), before);
        assert_eq!((sight.entered, sight.clients.len()), (count.into(), count as usize - 2));
        drop(seats);
        assert_eq!(names(&roster.look()), before);
    }
}
