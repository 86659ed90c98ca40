//! A session in `regulate` mode: it holds a server connection only while a transaction runs.
//!
//! ```text
//!   enter ─▶ ┌─ no lease: `local` answers what needs no server ──────────────┐
//!            │      │ a request                                              │
//!            │      ▼                                                        │
//!            │   obtain: queue (deadline) ─▶ pool ─▶ open ── refused: say why ┤
//!            │      │                                                        │
//!            │      ▼                                                        │
//!            └─ hold: pump + `Leased`, until the transaction is over ────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sql::{Kind, SessionEffect};
use trace::{Fingerprint, Micros, Outcome};

use crate::access::Credential;
use crate::answer::Answer;
use crate::backend::{Backend, Opening};
use crate::buffer::Outbox;
use crate::cancel;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::gate::{Asked, Last, Lease};
use crate::journal::{Reading, Scribe};
use crate::kill::Kill;
use crate::login;
use crate::pool::{Asker, Key, Need, Take};
use crate::pump::End;
use crate::roster::Card;

mod authenticate;
mod block;
mod catalogue;
mod confer;
mod enter;
mod failure;
mod greeting_cache;
mod hold;
mod house;
mod leased;
mod local;
mod names;
mod notice;
mod notify;
mod plain;
mod question;
mod residue;
mod room;
mod talk;
mod tidying;
mod wait;

use block::Block;
use failure::Failure;
pub(crate) use house::House;
use local::Local;
use talk::Talk;
use wait::Connected;

/// Server connections that may turn out to be dead, one after the other, for one request.
const REPEATS_MAX: u32 = 3;

/// One client's session.
struct Session {
    house: Arc<House>,
    worker: usize,
    client: Client,
    /// Empty while no server connection is held.
    to_server: Outbox,
    /// Whether the client was sent whole messages only, so that a word of ours may follow.
    may_speak: bool,
    talk: Talk,
    key: Arc<Key>,
    /// What the client's own login is worth towards the server.
    own: Arc<Credential>,
    /// What logs in to the server as `key.user`.
    credential: Arc<Credential>,
    /// The generation of the house that the key and the credential are of.
    generation: u64,
    entry: cancel::Entry,
    kill: Kill,
    /// What the request at hand needs of its server connection.
    need: Need,
    /// The arrival of the request whose client was told that it waits; or of its login, in which it
    /// is told nothing.
    told: Micros,
}

/// Carries one session from its startup packet to its end.
pub(crate) fn serve(
    client: Client,
    packet: Vec<u8>,
    (house, worker): (&Arc<House>, usize),
    card: &Arc<Card>,
) -> impl Future<Output = ()> + use<> {
    let session = Session::new(client, (house, worker), (card, login::key_length(&packet)));
    let connected = card.badge.connected;
    // Each in a box of its own, gone when it is done: what logging in takes is not kept for as long
    // as the session lives.
    async move {
        if let Some(session) = Box::pin(session.enter(packet, connected)).await {
            Box::pin(session.run()).await;
        }
    }
}

impl Session {
    /// In a box from its beginning, and not in the future that carries it: there are many of them.
    fn new(
        client: Client,
        (house, worker): (&Arc<House>, usize),
        (card, key_length): (&Arc<Card>, usize),
    ) -> Box<Self> {
        let scribe = Scribe::new(&house.journal, card);
        let conversation = Conversation::new(card.badge.session, card.badge.dyno);
        let talk = Talk::new(conversation, scribe, &house.settings);
        Box::new(Self {
            house: Arc::clone(house),
            worker,
            client,
            to_server: Outbox::default(),
            may_speak: true,
            talk,
            key: Arc::default(),
            own: Arc::new(Credential::None),
            credential: Arc::new(Credential::None),
            generation: house.generation(),
            entry: house.cancels.enter(house.database(), key_length),
            kill: Kill::new(&card.end),
            need: Need::Any,
            told: card.badge.connected,
        })
    }

    async fn run(mut self: Box<Self>) {
        let end = loop {
            match self.local() {
                Ok(Local::Done) => {
                    if let Err(end) = self.listen().await {
                        break end;
                    }
                }
                Ok(Local::NeedsServer) => match self.serve_request().await {
                    Ok(()) => {}
                    Err(end) => break end,
                },
                Ok(Local::NeedsNews) => self.catch_up().await,
                Ok(Local::NeedsListener) if self.house.gate.is_draining() => {
                    break self.ends_unserved(End::dismissed(Answer::shutting_down()));
                }
                Ok(Local::NeedsListener) => match self.subscribe().await {
                    Ok(()) => {}
                    Err(end) => break end,
                },
                Err(end) => break end,
            }
        };
        let last_word = match end {
            End::Dismissed(answer) => Some(*answer),
            End::ServerBroken(error) => Some(Answer::protocol(&error)),
            End::ServerGone | End::Unsent if !self.talk.heard_fatal() => {
                Some(Answer::server_gone())
            }
            End::ServerGone
            | End::Unsent
            | End::Done
            | End::NeedsNews
            | End::Terminated
            | End::ClientGone => None,
        };
        match last_word.filter(|_| self.may_speak) {
            Some(answer) => Box::pin(self.client.dismiss(&answer)).await,
            None => Box::pin(self.client.part()).await,
        }
    }

    /// Gets a server connection and holds it as long as it takes; or says why there is none.
    async fn serve_request(&mut self) -> Result<(), End> {
        let arrived = self.house.journal.now();
        let mut repeats = 0;
        self.need = self.needs();
        loop {
            self.talk.arrives(arrived);
            let end = match self.obtain(arrived, self.need).await {
                Ok((lease, backend)) => self.hold(lease, backend).await,
                Err(failure) => Box::pin(self.fail(failure, arrived)).await,
            };
            self.talk.journal.card.rests();
            if !matches!(end, Err(End::Unsent)) {
                return end;
            }
            if repeats == REPEATS_MAX {
                self.refuse(None, Outcome::ServerGone);
                return end;
            }
            repeats += 1;
        }
    }

    /// What the next request needs of its server connection.
    fn needs(&mut self) -> Need {
        if !self.house.custom_settings.load(Ordering::Relaxed) {
            return Need::Any;
        }
        let begins = self.talk.block != Block::Closed;
        let Some(Reading { fingerprint, effects, kind, .. }) = self.first_reading() else {
            return Need::Any;
        };
        let reads = effects.has(SessionEffect::ReadsSettings)
            || effects.has(SessionEffect::Anything)
            || self.house.reaches.reads_settings(fingerprint);
        match reads {
            true => Need::OwnSettings,
            false if begins || kind == Kind::Begin => Need::OwnSettingsIfRoom,
            false => Need::Any,
        }
    }

    /// There is no server connection: says why, unless the session ends.
    async fn fail(&mut self, failure: Failure, arrived: Micros) -> Result<(), End> {
        if let Failure::Over(end) = failure {
            return Err(self.ends_unserved(end));
        }
        self.entry.target.detach().await;
        let (answer, outcome) = self.explain(&failure, arrived);
        self.refuse(Some(&answer), outcome);
        Ok(())
    }

    /// Waits for a lease, then for a connection; all within the one deadline. From its end on the
    /// session is assigned its backend.
    async fn obtain(
        &mut self,
        arrived: Micros,
        need: Need,
    ) -> Result<(Lease, Box<Backend>), Failure> {
        let who = (self.talk.who().1, self.first_statement());
        let mut asked = self.house.gate.request(who, arrived, &self.entry.target.call);
        let mut waited = false;
        loop {
            let lease = match asked {
                Asked::Granted(lease) => lease,
                Asked::Queued(waiting) => {
                    waited = true;
                    self.wait(waiting).await?
                }
            };
            self.follow();
            match self.connect(lease, need).await? {
                Connected::Yes(lease, backend, opened) => {
                    let at = if waited || opened { self.house.journal.now() } else { arrived };
                    self.talk.assigned(backend.cancel_key.pid, at);
                    return Ok((lease, backend));
                }
                Connected::BackInLine(waiting) => asked = Asked::Queued(waiting),
            }
        }
    }

    /// After a change of the configuration the session needs another kind of server connection.
    fn follow(&mut self) {
        let generation = self.house.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let database = self.house.database();
        let badge = &self.talk.journal.card.badge;
        let mut key = database.key(badge.database.as_bytes(), badge.user.as_bytes());
        key.parameters.clone_from(&self.key.parameters);
        self.key = Arc::new(key);
        self.credential = self.house.forced().unwrap_or_else(|| Arc::clone(&self.own));
        self.entry.target.aim(Arc::clone(&database));
    }

    async fn connect(&mut self, mut lease: Lease, need: Need) -> Result<Connected, Failure> {
        loop {
            let asker = Asker {
                key: &self.key,
                settings: &self.talk.settings,
                sequences: &self.talk.sequences,
                worker: self.worker,
                need,
            };
            match lease.take(asker) {
                Take::Idle(backend) => match backend.adopt(self.worker) {
                    Some(backend) => return Ok(Connected::Yes(lease, backend, false)),
                    None => lease.lost(),
                },
                Take::Replace(victim) => {
                    self.entry.target.opens();
                    Box::pin(victim.close()).await;
                    return self.open(lease, need).await;
                }
                Take::Open => {
                    self.entry.target.opens();
                    return self.open(lease, need).await;
                }
            }
        }
    }

    async fn open(&mut self, mut lease: Lease, need: Need) -> Result<Connected, Failure> {
        let house = &self.house;
        let (session, _) = self.talk.who();
        let database = house.database();
        let opening = Opening {
            upstream: &database.upstream,
            credential: &self.credential,
            limit: house.connect_timeout(),
            key: &self.key,
            worker: self.worker,
            session,
            journal: &house.journal,
            settings: &house.settings,
        };
        let outdated = house.greetings.outdated(&self.key);
        let opened = Box::pin(Backend::open(opening)).await;
        let is_called_off = self.entry.target.call.is_called_off();
        match opened {
            Ok(backend) if house.generation() != self.generation => {
                // It leads where the configuration no longer does.
                Box::pin(backend.close()).await;
                lease.lost();
                if is_called_off {
                    return Err(Failure::CalledOff);
                }
                self.follow();
                Box::pin(self.connect(lease, need)).await
            }
            Ok(mut backend) => {
                backend.outdated = outdated;
                house.greetings.opened(&backend);
                if house.gate.confers() {
                    house.keep_voice(confer::Voice::new(&self.key, &self.credential, session));
                }
                lease.opened();
                if is_called_off {
                    // Whoever is next may have it.
                    let last = Last { statement: Fingerprint::NONE, at: house.journal.now() };
                    lease.give_back(backend, last).await;
                    return Err(Failure::CalledOff);
                }
                Ok(Connected::Yes(lease, backend, true))
            }
            Err(error) if error.may_pass() && !is_called_off => {
                let waiting = lease.refused(error, &self.entry.target.call);
                waiting.map(Connected::BackInLine).ok_or(Failure::Late)
            }
            Err(error) => {
                lease.lost();
                Err(if is_called_off { Failure::CalledOff } else { Failure::Open(error) })
            }
        }
    }
}
