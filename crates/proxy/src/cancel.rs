//! Cancel requests.
//!
//! In `observe` mode a client has its server connection's own key; it is remembered only to know
//! which server it belongs to. In `regulate` mode a session's key is made up by the proxy. A cancel
//! request reaches exactly the backend that the session holds at that moment: whoever delivers one
//! keeps the session from giving its server connection away until it is delivered, so that it can
//! never hit the next session's request.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use wire::backend::BackendKey;

use crate::Upstream;
use crate::backend::{self, CancelKey};
use crate::call::{Call, Turn};

/// What a session does, as far as a cancel request is concerned.
#[derive(Debug)]
enum Holds {
    /// Nothing to cancel.
    Nothing,
    /// It waits for a server connection.
    Place,
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
    upstream: Mutex<Upstream>,
    /// A cancel request was delivered.
    delivered: Notify,
    /// Where the session is called while it waits.
    pub(crate) call: Arc<Call>,
}

impl Target {
    fn new(upstream: &Upstream) -> Self {
        Self {
            upstream: Mutex::new(upstream.clone()),
            state: Mutex::new(State { holds: Holds::Nothing, under_way: 0 }),
            delivered: Notify::new(),
            call: Arc::default(),
        }
    }

    /// From now on the session's server connections are to this server.
    pub(crate) fn aim(&self, upstream: &Upstream) {
        *self.upstream.lock() = upstream.clone();
    }

    /// The session waits for a server connection.
    pub(crate) fn wait(&self) {
        self.state.lock().holds = Holds::Place;
    }

    /// The session has a server connection.
    pub(crate) fn attach(&self, key: &Arc<CancelKey>) {
        self.state.lock().holds = Holds::Backend(Arc::clone(key));
    }

    /// The session gives up its place or server connection. Returns once no cancel request is under
    /// way any more: at once, but for the rare case.
    pub(crate) async fn detach(&self) {
        loop {
            let delivered = {
                let mut state = self.state.lock();
                state.holds = Holds::Nothing;
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
        let key = {
            let mut state = self.state.lock();
            match &state.holds {
                Holds::Nothing => return,
                Holds::Place => {
                    self.call.tell(Turn::CalledOff);
                    return;
                }
                Holds::Backend(key) => {
                    let key = Arc::clone(key);
                    state.under_way += 1;
                    key
                }
            }
        };
        let _under_way = UnderWay(self);
        let upstream = self.upstream.lock().clone();
        backend::cancel(upstream.endpoint(), &key).await;
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
type Known = ([u8; 4], Arc<Target>);

/// All sessions that can be cancelled.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    sessions: Mutex<HashMap<i32, Known>>,
    /// `observe` mode: whose keys the servers' own are.
    passed: Mutex<HashMap<Passed, Upstream>>,
}

/// A server's own key: process id and secret.
type Passed = (i32, Box<[u8]>);

impl Registry {
    /// Makes up a key for a new session.
    pub(crate) fn enter(self: &Arc<Self>, upstream: &Upstream) -> Entry {
        let target = Arc::new(Target::new(upstream));
        let secret: [u8; 4] = rand::random();
        let mut sessions = self.sessions.lock();
        let pid = loop {
            // Positive, as process ids are; above those that Linux gives out.
            let pid = rand::random_range(1 << 22..i32::MAX);
            if !sessions.contains_key(&pid) {
                break pid;
            }
        };
        sessions.insert(pid, (secret, Arc::clone(&target)));
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
            sessions.get(&pid).filter(|(secret, _)| secret == key).map(|(_, t)| Arc::clone(t))
        };
        if let Some(target) = target {
            return target.hit().await;
        }
        let passed = self.passed.lock().get(&(pid, Box::from(key))).cloned();
        if let Some(upstream) = passed {
            backend::cancel(upstream.endpoint(), &CancelKey::new(pid, key)).await;
        }
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
    secret: [u8; 4],
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
