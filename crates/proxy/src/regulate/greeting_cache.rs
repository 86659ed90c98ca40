//! What clients are told of the server's settings when they log in, kept for each kind of server
//! connection so that a login costs the server nothing.
//!
//! ```text
//!   login ──▶ find ─┬─▶ Known: from the cache
//!                   ├─▶ Refresh: on one connection, an open one asked or a new one opened
//!                   └─▶ Wait: another session of the kind refreshes
//!   once a second: the signature of the settings is asked on open connections ──▶ note
//! ```
//!
//! * A greeting is what a server connection was told at its own login, and is kept together with
//!   the signature that was asked on the same connection right after it.
//! * When another signature is seen the greeting is dropped. If `ALTER ROLE … SET` or
//!   `ALTER DATABASE … SET` changed it, the connections opened before are outdated: PostgreSQL
//!   applies these at login only.
//! * A greeting that says that the server is read-only is never served without asking the server
//!   after the client has arrived: `target_session_attrs=read-write` looks at nothing else, and
//!   whoever is told so leaves without a query from which a promotion would be noticed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use trace::Micros;

use crate::backend::{Backend, Outdated};
use crate::pool::{Key, Need};
use crate::settings::Reported;

mod check;
mod signature;

use signature::Signature;

/// Kinds of server connection that are remembered, beside those that are open.
const KINDS_MAX: usize = 256;

/// How long a greeting is good without a look at a connection of its kind, as long as others are
/// looked at; and how long without any look at all.
const GREETING_AGE_MAX: Micros = Micros::from_secs(30);
const UNCHECKED_AGE_MAX: Micros = Micros::from_secs(2);

/// Connections of one kind are not renewed more often than this: where an address leads to several
/// servers with different settings, each look might find another.
const RENEWAL_GAP: Micros = Micros::from_secs(5);

/// When a session refreshes a greeting for so long the next one does so too: the first may be of a
/// dyno that has more patience.
pub(super) const REFRESH_TIME_MAX: Micros = Micros::from_secs(2);

/// Parameters whose value `on` keeps clients away that want to write.
const READ_ONLY: [&[u8]; 2] = [b"in_hot_standby", b"default_transaction_read_only"];

/// The greetings of one database.
#[derive(Debug, Default)]
pub(super) struct GreetingCache {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kinds: HashMap<Arc<Key>, Kind>,
    /// When the signature was last asked, for whichever kind.
    checked: Micros,
}

/// What is known of one kind of server connection.
#[derive(Debug, Default)]
struct Kind {
    greeting: Option<Greeting>,
    /// The two parts of the signature, as seen last; nothing while they are not known.
    role_settings: Option<Box<str>>,
    values: Option<Box<str>>,
    /// Of connections that are opened now.
    outdated: Outdated,
    /// Whether connections are to be renewed, and when they were last.
    is_renewal_due: bool,
    renewed: Micros,
    /// When the signature was last asked.
    checked: Micros,
    /// When another value was last seen: a connection that was not heard since may have news.
    changed: Micros,
    /// The server did not answer the question.
    is_unanswered: bool,
    /// Since when a session refreshes the greeting; fires when it is done.
    refresh: Option<(Micros, Arc<Notify>)>,
}

#[derive(Debug)]
struct Greeting {
    reported: Arc<Reported>,
    is_read_only: bool,
    /// It held at this time.
    confirmed: Micros,
}

/// What a session that logs in finds.
pub(super) enum Found {
    /// It is greeted with this.
    Known(Arc<Reported>),
    /// The session is to refresh the greeting, on such a connection.
    Refresh(Refresh, Need),
    /// Another one does. Fires when it is done; after [`REFRESH_TIME_MAX`] look again.
    Wait(OwnedNotified),
}

/// The right to refresh a greeting. Dropped, the next session may.
pub(super) struct Refresh {
    cache: Arc<GreetingCache>,
    key: Arc<Key>,
    done: Arc<Notify>,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        if let Some(kind) = self.cache.state.lock().kinds.get_mut(&self.key)
            && kind.refresh.as_ref().is_some_and(|(_, done)| Arc::ptr_eq(done, &self.done))
        {
            kind.refresh = None;
        }
        self.done.notify_waiters();
    }
}

impl State {
    fn kind(&mut self, key: &Arc<Key>) -> &mut Kind {
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(key) {
            self.kinds.retain(|_, kind| kind.outdated.is_shared() || kind.refresh.is_some());
        }
        self.kinds.entry(Arc::clone(key)).or_default()
    }

    /// What a connection with this mark answered that was asked at `asked`.
    fn note(
        &mut self,
        key: &Arc<Key>,
        outdated: &mut Outdated,
        answer: &Signature,
        (need, asked, now): (Need, Micros, Micros),
    ) -> bool {
        if outdated.is_set() {
            return false;
        }
        self.checked = self.checked.max(asked);
        let kind = self.kind(key);
        (kind.is_unanswered, kind.checked) = (false, asked);
        if differs(kind.role_settings.as_deref(), &answer.role_settings) {
            (kind.greeting, kind.values, kind.is_renewal_due) = (None, None, true);
        }
        kind.role_settings = Some(answer.role_settings.clone());
        let renews = kind.is_renewal_due && now - kind.renewed >= RENEWAL_GAP;
        // In the values of a connection opened before are other settings of the role.
        let is_exact = need == Need::New || !kind.is_renewal_due;
        if renews {
            std::mem::take(&mut kind.outdated).set();
            (kind.greeting, kind.is_renewal_due, kind.renewed) = (None, false, now);
        }
        if need == Need::New {
            *outdated = kind.outdated.clone();
        }
        if !is_exact {
            return renews;
        }
        let are_values_changed = differs(kind.values.as_deref(), &answer.values);
        kind.values = Some(answer.values.clone());
        if let Some(greeting) = kind.greeting.as_mut() {
            greeting.confirmed = asked;
        }
        if are_values_changed {
            // Of the configuration of the whole server, most likely.
            for kind in self.kinds.values_mut() {
                (kind.greeting, kind.changed) = (None, now);
            }
        }
        renews
    }

    /// The server did not understand the question, or did not answer.
    fn note_unanswered(&mut self, key: &Arc<Key>, at: Micros) {
        let kind = self.kind(key);
        (kind.is_unanswered, kind.checked) = (true, at);
    }
}

impl Greeting {
    fn new(reported: &Arc<Reported>, confirmed: Micros) -> Self {
        let nothing = Reported::default();
        let mut on = reported.unlike(&nothing).filter(|(_, value)| *value == b"on");
        let is_read_only = on.any(|(name, _)| READ_ONLY.contains(&name));
        Self { reported: Arc::clone(reported), is_read_only, confirmed }
    }
}

impl Kind {
    /// The greeting, if it may be served to a client that arrived then.
    fn valid(&self, arrived: Micros, age_max: Option<Micros>, now: Micros) -> Option<&Greeting> {
        let greeting = self.greeting.as_ref()?;
        let is_young = age_max.is_none_or(|age_max| now - greeting.confirmed <= age_max);
        let is_valid = greeting.confirmed >= arrived
            || !greeting.is_read_only && (self.is_unanswered || is_young);
        is_valid.then_some(greeting)
    }
}

impl GreetingCache {
    /// The greeting for a client that arrived then. Without time to ask the server an old one must
    /// do, if it does not say that the server is read-only.
    pub(super) fn find(
        self: &Arc<Self>,
        key: &Arc<Key>,
        (arrived, now): (Micros, Micros),
        has_time: bool,
    ) -> Found {
        let mut state = self.state.lock();
        let is_checked = now - state.checked <= UNCHECKED_AGE_MAX;
        let age_max = if is_checked { GREETING_AGE_MAX } else { UNCHECKED_AGE_MAX };
        let kind = state.kind(key);
        if let Some(greeting) = kind.valid(arrived, has_time.then_some(age_max), now) {
            return Found::Known(Arc::clone(&greeting.reported));
        }
        let is_young = |since: Micros| now - since < REFRESH_TIME_MAX;
        if let Some((_, done)) = kind.refresh.as_ref().filter(|(since, _)| is_young(*since)) {
            // Created under the lock: an end that comes now is not missed.
            return Found::Wait(Arc::clone(done).notified_owned());
        }
        let done = Arc::default();
        kind.refresh = Some((now, Arc::clone(&done)));
        let is_new = kind.greeting.is_none() || kind.is_unanswered || kind.is_renewal_due;
        let need = if is_new { Need::New } else { Need::Any };
        let refresh = Refresh { cache: Arc::clone(self), key: Arc::clone(key), done };
        Found::Refresh(refresh, need)
    }

    /// The mark for a connection of this kind that is about to be opened.
    pub(super) fn outdated(&self, key: &Arc<Key>) -> Outdated {
        self.state.lock().kind(key).outdated.clone()
    }

    /// A connection was opened for a request: if it was told something else, the greeting is no
    /// longer true.
    pub(super) fn opened(&self, backend: &Backend) {
        let mut state = self.state.lock();
        let kind = state.kind(backend.key());
        if kind.greeting.as_ref().is_some_and(|known| known.reported != backend.state.reported) {
            kind.greeting = None;
        }
    }

    /// What a connection answered that was asked in passing. `true` if connections of its kind are
    /// outdated now.
    fn note(&self, backend: &mut Backend, answer: &Signature, now: Micros) -> bool {
        let (key, asked) = (Arc::clone(backend.key()), backend.asked.at);
        let mut state = self.state.lock();
        state.note(&key, &mut backend.outdated, answer, (Need::Any, asked, now))
    }

    /// What a connection answered, if it did, that was asked for a login. One that was opened for
    /// that gives the greeting, unless it is outdated already.
    fn refresh(&self, backend: &mut Backend, answer: Option<&Signature>, need: Need, now: Micros) {
        let (key, asked) = (Arc::clone(backend.key()), backend.asked.at);
        let mut state = self.state.lock();
        match answer {
            Some(answer) => {
                state.note(&key, &mut backend.outdated, answer, (need, asked, now));
            }
            None => state.note_unanswered(&key, asked),
        }
        if need == Need::New && !backend.outdated.is_set() {
            let greeting = Greeting::new(&backend.state.reported, asked);
            state.kind(&key).greeting = Some(greeting);
        }
    }

    /// How urgently a connection is to be asked, the lowest first; nothing if it need not be. All
    /// kinds are to be asked since then.
    fn urgency(&self, backend: &Backend, since: Micros) -> Option<Micros> {
        let state = self.state.lock();
        let Some(kind) = state.kinds.get(backend.key()) else { return Some(Micros::ZERO) };
        let is_due = kind.checked < since || backend.heard() < kind.changed;
        is_due.then_some(kind.checked)
    }

    /// The server is another: nothing of what is known holds.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        state.kinds.values().for_each(|kind| kind.outdated.set());
        *state = State::default();
    }
}

fn differs(known: Option<&str>, answer: &str) -> bool {
    known.is_some_and(|known| known != answer)
}

#[cfg(test)]
mod tests;
