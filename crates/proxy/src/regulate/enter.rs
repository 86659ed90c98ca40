//! How a client gets in: protocol version, who it is, and what the server would greet it with.

use std::sync::Arc;

use trace::{Fingerprint, Micros, Outcome, RequestKind, SqlState};
use wire::backend::{self, Authentication};
use wire::startup::{self, Startup};

use super::notice;
use super::talk::Notices;
use super::{Failure, House, Session};
use crate::answer::Answer;
use crate::authenticate::Stopped;
use crate::gate::Last;
use crate::login;
use crate::pool::{Key, Parameter};
use crate::settings::{APPLICATION_NAME, Reported};
use crate::timer::timeout;

/// The parameter with which a client asks to be told why it is pinned.
const NOTICES: &[u8] = b"surgetank.notices";

impl Session {
    /// Lets the client in and greets it; `None` if it does not get in, which it was told.
    pub(super) async fn enter(
        mut self: Box<Self>,
        packet: Vec<u8>,
        arrived: Micros,
    ) -> Option<Box<Self>> {
        self.talk.arrives(arrived);
        let stopped = self.try_enter(&packet, arrived).await.err();
        let outcome = match &stopped {
            None => Outcome::Ok,
            Some(Stopped::With(_, outcome)) => *outcome,
            Some(Stopped::Gone) => Outcome::ClientGone,
        };
        let bytes = (packet.len(), self.client.outbox.bytes().len());
        self.talk.record_local(RequestKind::Connect, Fingerprint::NONE, bytes, outcome);
        match stopped {
            None => Some(self),
            Some(Stopped::With(answer, _)) => {
                self.client.dismiss(&answer).await;
                None
            }
            Some(Stopped::Gone) => None,
        }
    }

    async fn try_enter(&mut self, packet: &[u8], arrived: Micros) -> Result<(), Stopped> {
        let Startup::Session(wish) = startup::read(packet)? else { return Err(Stopped::Gone) };
        let options = wish.protocol_options();
        if wish.minor > 0 || options.clone().next().is_some() {
            backend::put_negotiate(self.client.outbox.bytes(), 0, options);
        }
        if wish.parameter(b"replication").is_some_and(|value| !is_false(value)) {
            return Err(Stopped::refused(Answer::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "surgetank: replication needs observe mode, not regulate",
            )));
        }
        let authentication = Box::pin(self.authenticate(wish.user(), wish.database()));
        self.own = match timeout(login::LOGIN_TIME, authentication).await {
            Ok(own) => Arc::new(own?),
            Err(_) => return Err(Stopped::Gone),
        };
        self.credential = self.house.forced().unwrap_or_else(|| Arc::clone(&self.own));
        self.key = Arc::new(self.house.key(&wish));
        let greeting = self.greeting(arrived).await?;
        let notice = self.settle_in(&wish, &greeting);
        let out = self.client.outbox.bytes();
        Authentication::Ok.put(out);
        if let Some(notice) = notice {
            notice.put_notice(out);
        }
        for (name, value) in self.talk.told.unlike(&Reported::default()) {
            backend::put_parameter(out, name, value);
        }
        self.entry.key().put(out);
        backend::put_ready(out, b'I');
        Ok(())
    }

    /// What the session has of its own from its beginning; and what its client is told of it, as by
    /// the server.
    fn settle_in(&mut self, wish: &startup::Session<'_>, greeting: &Reported) -> Option<Answer> {
        let registry = &self.house.settings;
        let mut name = login::parameter(wish, APPLICATION_NAME).unwrap_or_default();
        if str::from_utf8(&name).is_err() {
            // A startup packet may hold any bytes, a query may not; PostgreSQL does the same to it.
            name.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
        }
        let notice = notice::truncate(&mut name);
        self.talk.startup = registry.only_name(&name);
        self.talk.settings = Arc::clone(&self.talk.startup);
        self.talk.told = registry.reported_with(greeting, APPLICATION_NAME, &name);
        self.talk.user.clone_from(&self.key.user);
        if login::parameter(wish, NOTICES).is_some_and(|value| !is_false(&value)) {
            self.talk.notices = Notices::On;
        }
        notice
    }

    /// What the server says to sessions of this kind. The first of a kind gets a server connection
    /// to learn it, and so learns whether the database exists at all.
    async fn greeting(&mut self, arrived: Micros) -> Result<Arc<Reported>, Stopped> {
        if let Some(greeting) = self.house.greeting(&self.key) {
            return Ok(greeting);
        }
        match self.obtain(arrived).await {
            Ok((lease, backend)) => {
                self.entry.target.detach().await;
                let (statement, at) = (Fingerprint::NONE, self.house.journal.now());
                lease.give_back(backend, Last { statement, at }).await;
                self.talk.journal.card.rests();
            }
            Err(Failure::Over(end)) => return Err(end.into()),
            Err(failure) => {
                self.entry.target.detach().await;
                let (answer, outcome) = self.explain(&failure, arrived);
                return Err(Stopped::With(answer, outcome));
            }
        }
        // It was kept when a connection of this kind was opened, at the latest just now.
        self.house.greeting(&self.key).ok_or(Stopped::Gone)
    }
}

impl House {
    /// The kind of server connection that a session needs.
    fn key(&self, wish: &startup::Session<'_>) -> Key {
        let own: [&[u8]; 4] = [b"user", b"database", b"application_name", b"replication"];
        let mut parameters: Vec<Parameter> = login::parameters_for_server(wish)
            .into_iter()
            .filter(|(name, _)| !own.contains(&name.as_slice()) && !name.starts_with(b"_pq_."))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        parameters.sort();
        let mut key = self.database().key(wish.database(), wish.user());
        key.parameters = parameters;
        key
    }
}

/// PostgreSQL's words for "no".
fn is_false(value: &[u8]) -> bool {
    let words: [&[u8]; 5] = [b"false", b"off", b"no", b"0", b""];
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}
