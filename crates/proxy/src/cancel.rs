//! Cancel requests.
//!
//! In `observe` mode a client has its server connection's own key; it is remembered only to know
//! which server it belongs to. In `regulate` mode a session's key is made up by the proxy. A cancel
//! request reaches exactly the backend that the session holds at that moment: whoever delivers one
//! keeps the session from giving its server connection away until it is delivered, so that it can
//! never hit the next session's request.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use wire::backend::BackendKey;

use crate::authenticate::is_same;
use crate::backend::{self, CancelKey};
use crate::call::{Call, Turn};
use crate::timer::timeout;
use crate::{Database, Upstream};

/// How long a cancel request is held up for what the proxy itself sent ahead of a session's
/// request. The server tells of its end only together with the request's, so time must do: a
/// `BEGIN` takes a thousandth of this.
const FIRST: Duration = Duration::from_millis(20);
/// Cancel requests that may wait to be passed on to another process; more are dropped, as
/// PostgreSQL drops those it cannot serve.
const STRAYS_MAX: usize = 64;

/// What a session does, as far as a cancel request is concerned.
#[derive(Debug)]
enum Holds {
    /// Nothing to cancel.
    Nothing,
    /// It waits for a server connection.
    Place,
    /// A server connection on which something of ours runs first, for a moment.
    Soon(Arc<CancelKey>),
    /// A server connection.
    Backend(Arc<CancelKey>),
}

#[derive(Debug)]
struct State {
    holds: Holds,
    /// Cancel requests on their way to the backend.
    under_way: u32,
}

/// Where a session can be hit.
#[derive(Debug)]
pub(crate) struct Target {
    state: Mutex<State>,
    database: Mutex<Arc<Database>>,
    /// A cancel request was delivered.
    delivered: Notify,
    /// Where the session is called while it waits.
    pub(crate) call: Arc<Call>,
    /// It is no longer [`Holds::Soon`].
    settled: Notify,
}

impl Target {
    fn new(database: Arc<Database>) -> Self {
        Self {
            database: Mutex::new(database),
            state: Mutex::new(State { holds: Holds::Nothing, under_way: 0 }),
            delivered: Notify::new(),
            call: Arc::default(),
            settled: Notify::new(),
        }
    }

    /// A server connection is opened for the session: whether a cancel request came meanwhile, its
    /// call says.
    pub(crate) fn opens(&self) {
        self.call.begin();
        self.wait();
    }

    /// From now on the session's server connections are to this server.
    pub(crate) fn aim(&self, database: Arc<Database>) {
        *self.database.lock() = database;
    }

    /// The session waits for a server connection.
    pub(crate) fn wait(&self) {
        self.state.lock().holds = Holds::Place;
    }

    /// The session has a server connection, which is about something of ours first: a cancel
    /// request that comes now is held up for a moment.
    pub(crate) fn attach_soon(&self, key: &Arc<CancelKey>) {
        self.state.lock().holds = Holds::Soon(Arc::clone(key));
    }

    /// The session has a server connection.
    pub(crate) fn attach(&self, key: &Arc<CancelKey>) {
        self.settle(&mut self.state.lock(), Holds::Backend(Arc::clone(key)));
    }

    fn settle(&self, state: &mut State, holds: Holds) {
        if let Holds::Soon(_) = std::mem::replace(&mut state.holds, holds) {
            self.settled.notify_waiters();
        }
    }

    /// The session gives up its place or server connection. Returns once no cancel request is under
    /// way any more: at once, but for the rare case.
    pub(crate) async fn detach(&self) {
        loop {
            let delivered = {
                let mut state = self.state.lock();
                self.settle(&mut state, Holds::Nothing);
                if state.under_way == 0 {
                    return;
                }
                // Created under the lock: a delivery that ends now is not missed.
                self.delivered.notified()
            };
            delivered.await;
        }
    }

    async fn hit(&self) {
        let mut is_patient = true;
        let key = loop {
            let settled = {
                let mut state = self.state.lock();
                match &state.holds {
                    Holds::Nothing => return,
                    Holds::Place => {
                        self.call.tell(Turn::CalledOff);
                        return;
                    }
                    // Created under the lock: what is settled now is not missed.
                    Holds::Soon(_) if is_patient => self.settled.notified(),
                    Holds::Soon(key) | Holds::Backend(key) => {
                        let key = Arc::clone(key);
                        state.under_way += 1;
                        break key;
                    }
                }
            };
            is_patient = timeout(FIRST, settled).await.is_ok();
        };
        let _under_way = UnderWay(self);
        let database = Arc::clone(&self.database.lock());
        backend::cancel(&database.upstream, &key).await;
    }
}

/// A cancel request on its way.
struct UnderWay<'a>(&'a Target);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
        self.0.delivered.notify_waiters();
    }
}

/// A session's secret, and where to hit it.
type Known = (Box<[u8]>, Arc<Target>);

/// All sessions that can be cancelled.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    sessions: Mutex<HashMap<i32, Known>>,
    /// `observe` mode: whose keys the servers' own are.
    passed: Mutex<HashMap<Passed, Upstream>>,
    /// Who knows the sessions that this process does not.
    elsewhere: Mutex<Option<mpsc::Sender<Stray>>>,
}

/// A cancel request whose key fits no session of this process.
pub struct Stray {
    /// The key's process id.
    pub pid: i32,
    /// The key's secret.
    pub key: Box<[u8]>,
    /// Told, or dropped, when the request was delivered: its client waits for that.
    pub delivered: oneshot::Sender<()>,
}

impl fmt::Debug for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stray").finish_non_exhaustive()
    }
}

/// A server's own key: process id and secret.
type Passed = (i32, Box<[u8]>);

impl Registry {
    /// Makes up a key for a new session, with a secret of so many bytes.
    pub(crate) fn enter(self: &Arc<Self>, database: Arc<Database>, length: usize) -> Entry {
        let target = Arc::new(Target::new(database));
        let secret: Box<[u8]> = (0..length).map(|_| rand::random::<u8>()).collect();
        let mut sessions = self.sessions.lock();
        let pid = loop {
            // Positive, as process ids are; above those that Linux gives out.
            let pid = rand::random_range(1 << 22..i32::MAX);
            if !sessions.contains_key(&pid) {
                break pid;
            }
        };
        sessions.insert(pid, (secret.clone(), Arc::clone(&target)));
        drop(sessions);
        Entry { registry: Arc::clone(self), pid, secret, target }
    }

    /// Remembers which server gave a client this key, until the guard is dropped.
    pub(crate) fn pass(self: &Arc<Self>, key: &BackendKey<'_>, upstream: &Upstream) -> PassedOn {
        let key: Passed = (key.pid, key.key.into());
        self.passed.lock().insert(key.clone(), upstream.clone());
        PassedOn { registry: Arc::clone(self), key }
    }

    /// Delivers a cancel request, if its key fits a session; never says whether it did.
    pub(crate) async fn cancel(&self, pid: i32, key: &[u8]) {
        let target = {
            let sessions = self.sessions.lock();
            let known = sessions.get(&pid).filter(|(secret, _)| is_same(secret, key));
            known.map(|(_, target)| Arc::clone(target))
        };
        if let Some(target) = target {
            return target.hit().await;
        }
        let passed = self.passed.lock().get(&(pid, Box::from(key))).cloned();
        if let Some(upstream) = passed {
            return backend::cancel(&upstream, &CancelKey::new(pid, key)).await;
        }
        let elsewhere = self.elsewhere.lock().clone();
        if let Some(elsewhere) = elsewhere {
            let (delivered, told) = oneshot::channel();
            let stray = Stray { pid, key: key.into(), delivered };
            if elsewhere.try_send(stray).is_ok() {
                let _ = told.await;
            }
        }
    }

    /// From now on, cancel requests for sessions of nobody come out here.
    pub(crate) fn strays(&self) -> mpsc::Receiver<Stray> {
        let (sender, receiver) = mpsc::channel(STRAYS_MAX);
        *self.elsewhere.lock() = Some(sender);
        receiver
    }
}

/// A server's key that a client has.
#[derive(Debug)]
pub(crate) struct PassedOn {
    registry: Arc<Registry>,
    key: Passed,
}

impl Drop for PassedOn {
    fn drop(&mut self) {
        self.registry.passed.lock().remove(&self.key);
    }
}

/// A session's entry; dropped, its key means nothing any more.
#[derive(Debug)]
pub(crate) struct Entry {
    registry: Arc<Registry>,
    pid: i32,
    secret: Box<[u8]>,
    pub(crate) target: Arc<Target>,
}

impl Entry {
    /// The `BackendKeyData` that the client is given.
    pub(crate) fn key(&self) -> BackendKey<'_> {
        BackendKey { pid: self.pid, key: &self.secret }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.sessions.lock().remove(&self.pid);
    }
}
