//! How a client gets in: protocol version, who it is, and what the server would greet it with.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::futures::OwnedNotified;
use trace::{Fingerprint, Micros, Outcome, RequestKind, SqlState};
use wire::backend::{self, Authentication};
use wire::startup::{self, Startup};

use super::greeting_cache::{Found, REFRESH_TIME_MAX};
use super::notice;
use super::talk::Notices;
use super::{Failure, House, Session};
use crate::answer::Answer;
use crate::authenticate::Stopped;
use crate::gate::Last;
use crate::login;
use crate::pool::{Key, Need, Parameter};
use crate::pump::End;
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
        login::negotiate(&wish, self.client.outbox.bytes());
        let authentication = Box::pin(self.authenticate(wish.user(), wish.database()));
        self.own = match timeout(login::LOGIN_TIME, authentication).await {
            Ok(own) => Arc::new(own?),
            Err(_) => return Err(Stopped::Gone),
        };
        if wish.parameter(b"replication").is_some_and(|value| !is_false(value)) {
            return Err(Stopped::refused(Answer::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "surgetank: replication needs observe mode, not regulate",
            )));
        }
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

    /// What the server says to sessions of this kind: from the cache, or after the server was
    /// asked. The first of a kind gets a server connection to learn it, and so learns whether the
    /// database exists at all.
    async fn greeting(&mut self, arrived: Micros) -> Result<Arc<Reported>, Stopped> {
        let house = Arc::clone(&self.house);
        loop {
            self.follow();
            let has_time = house.gate.would_grant();
            let times = (arrived, house.journal.now());
            match house.greetings.find(&self.key, times, has_time) {
                Found::Known(greeting) => return Ok(greeting),
                Found::Wait(done) => self.wait_for_refresh(done, arrived).await?,
                Found::Refresh(refresh, need) => {
                    Box::pin(self.refresh(need, arrived)).await?;
                    drop(refresh);
                }
            }
        }
    }

    /// Another session refreshes the greeting.
    async fn wait_for_refresh(
        &mut self,
        done: OwnedNotified,
        arrived: Micros,
    ) -> Result<(), Stopped> {
        let Self { client, kill, talk, .. } = self;
        let card = &talk.journal.card;
        card.waits(arrived);
        let mut done = pin!(timeout(REFRESH_TIME_MAX.to_duration(), done));
        loop {
            tokio::select! {
                biased;
                _ = &mut done => {
                    card.rests();
                    return Ok(());
                }
                () = &mut *kill => return Err(End::dismissed(card.farewell()).into()),
                alive = client.listen() => if !alive {
                    return Err(Stopped::Gone);
                },
            }
        }
    }

    /// Gets a server connection, asks it for what sessions are told, and gives it back.
    async fn refresh(&mut self, need: Need, arrived: Micros) -> Result<(), Stopped> {
        match self.obtain(arrived, need).await {
            Ok((lease, mut backend)) => {
                self.entry.target.detach().await;
                let house = &self.house;
                let is_usable = house.refresh_greeting(&mut backend, need).await
                    && house.look_if_outdated(&mut backend).await;
                let (statement, at) = (Fingerprint::NONE, house.journal.now());
                if is_usable {
                    lease.give_back(backend, Last { statement, at }).await;
                } else {
                    backend.close().await;
                    drop(lease);
                }
                house.gate.close_outdated().await;
                self.talk.journal.card.rests();
                Ok(())
            }
            Err(Failure::Over(end)) => Err(end.into()),
            Err(failure) => {
                self.entry.target.detach().await;
                let (answer, outcome) = self.explain(&failure, arrived);
                Err(Stopped::With(answer, outcome))
            }
        }
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
