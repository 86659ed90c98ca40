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

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use trace::{Micros, Outcome};

use crate::access::{Credential, Doorman, Secret};
use crate::answer::Answer;
use crate::backend::{self, Backend, Opening};
use crate::buffer::Outbox;
use crate::call::Turn;
use crate::cancel;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::gate::{Asked, Gate, Lease, Waiting};
use crate::journal::Journal;
use crate::kill::Kill;
use crate::pool::{Key, Take};
use crate::pump::{End, Judge, Lanes, pump};
use crate::settings::{self, Reported};
use crate::statements;
use crate::{Config, Database, Upstream};

mod authenticate;
mod block;
mod enter;
mod failure;
mod leased;
mod local;
mod lookup;
mod notice;
mod notify;
mod plain;
mod question;
mod residue;
mod talk;
mod tidying;

use failure::Failure;
use leased::Leased;
use local::Local;
use notify::Exchange;
use talk::Talk;

/// Server connections that may turn out to be dead, one after the other, for one request.
const REPEATS_MAX: u32 = 3;

/// What all sessions of one database share in `regulate` mode.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) gate: Arc<Gate>,
    cancels: Arc<cancel::Registry>,
    statements: statements::Registry,
    settings: settings::Registry,
    /// What the server says of its settings, by kind of connection.
    greetings: Mutex<HashMap<Arc<Key>, Arc<Reported>>>,
    pub(crate) exchange: Exchange,
    /// The URL's own password, which then logs in to the server whoever the client is.
    own: Option<Arc<Secret>>,
    doorman: Arc<Doorman>,
    database: Database,
    connect_timeout: Duration,
    journal: Arc<Journal>,
}

impl House {
    pub(crate) fn new(
        config: &Config,
        database: &Database,
        doorman: &Arc<Doorman>,
        journal: &Arc<Journal>,
        cancels: &Arc<cancel::Registry>,
    ) -> Self {
        let limit = database.limit.unwrap_or(config.limit);
        let gate = Gate::new(limit.get(), config.queue_timeout, Arc::clone(journal));
        let own =
            database.upstream.password().map(|secret| Arc::new(Secret::plain(secret.clone())));
        Self {
            gate: Arc::new(gate),
            cancels: Arc::clone(cancels),
            statements: statements::Registry::default(),
            settings: settings::Registry::default(),
            greetings: Mutex::default(),
            exchange: Exchange::default(),
            own,
            doorman: Arc::clone(doorman),
            database: database.clone(),
            connect_timeout: config.connect_timeout,
            journal: Arc::clone(journal),
        }
    }

    fn upstream(&self) -> &Upstream {
        &self.database.upstream
    }
}

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
    /// What logs in to the server as `key.user`.
    credential: Arc<Credential>,
    entry: cancel::Entry,
    kill: Kill,
}

/// Carries one session from its startup packet to its end.
pub(crate) async fn serve(
    client: Client,
    packet: Vec<u8>,
    conversation: Conversation,
    arrived: Micros,
    (house, worker): (&Arc<House>, usize),
    kill: &CancellationToken,
) {
    let talk = Talk::new(conversation, Arc::clone(&house.journal), &house.settings);
    let session = Session {
        house: Arc::clone(house),
        worker,
        client,
        to_server: Outbox::default(),
        may_speak: true,
        talk,
        key: Arc::default(),
        credential: Arc::new(Credential::None),
        entry: house.cancels.enter(house.upstream()),
        kill: Kill::new(kill),
    };
    // Each in a box of its own, gone when it is done: what logging in takes is not kept for as long
    // as the session lives.
    if let Some(session) = Box::pin(session.enter(packet, arrived)).await {
        Box::pin(session.run()).await;
    }
}

impl Session {
    async fn run(mut self) {
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
                Ok(Local::NeedsListener) => match self.subscribe().await {
                    Ok(()) => {}
                    Err(end) => break end,
                },
                Err(end) => break end,
            }
        };
        let last_word = match end {
            End::Dismissed(answer) => Some(answer),
            End::ServerBroken(error) => Some(Answer::protocol(&error)),
            End::ServerGone | End::Unsent if !self.talk.heard_fatal() => {
                Some(Answer::server_gone())
            }
            End::ServerGone | End::Unsent | End::Done | End::Terminated | End::ClientGone => None,
        };
        match last_word.filter(|_| self.may_speak) {
            Some(answer) => self.client.dismiss(&answer).await,
            None => self.client.part().await,
        }
    }

    /// Gets a server connection and holds it as long as it takes; or says why there is none.
    async fn serve_request(&mut self) -> Result<(), End> {
        let arrived = self.house.journal.now();
        let mut repeats = 0;
        loop {
            let end = self.try_request(arrived).await;
            if end != Err(End::Unsent) {
                return end;
            }
            if repeats == REPEATS_MAX {
                self.refuse(None, Outcome::ServerGone);
                return end;
            }
            repeats += 1;
        }
    }

    async fn try_request(&mut self, arrived: Micros) -> Result<(), End> {
        self.talk.arrives(arrived);
        match self.obtain(arrived).await {
            Ok((lease, backend)) => self.hold(lease, backend).await,
            Err(Failure::Over(end)) => {
                let outcome = match &end {
                    End::Dismissed(answer) => Outcome::Error(answer.code),
                    _ => Outcome::ClientGone,
                };
                self.refuse(None, outcome);
                Err(end)
            }
            Err(failure) => {
                self.entry.target.detach().await;
                let (answer, outcome) = self.explain(&failure, arrived);
                self.refuse(Some(&answer), outcome);
                Ok(())
            }
        }
    }

    /// Waits for a lease, then for a connection; all within the one deadline. From its end on the
    /// session is assigned its backend.
    async fn obtain(&mut self, arrived: Micros) -> Result<(Lease, Box<Backend>), Failure> {
        let (_, dyno) = self.talk.who();
        let mut asked = self.house.gate.request(dyno, arrived, &self.entry.target.call);
        let mut waited = false;
        loop {
            let lease = match asked {
                Asked::Granted(lease) => lease,
                Asked::Queued(waiting) => {
                    waited = true;
                    self.wait(waiting).await?
                }
            };
            match self.connect(lease, arrived).await? {
                Connected::Yes(lease, backend, opened) => {
                    let at = if waited || opened { self.house.journal.now() } else { arrived };
                    self.talk.assigned(backend.cancel_key.pid, at);
                    return Ok((lease, backend));
                }
                Connected::BackInLine(waiting) => asked = Asked::Queued(waiting),
            }
        }
    }

    async fn wait(&mut self, waiting: Waiting) -> Result<Lease, Failure> {
        let Self { client, entry, kill, .. } = self;
        entry.target.wait();
        loop {
            tokio::select! {
                biased;
                turn = waiting.turn() => match turn {
                    Turn::Granted => break,
                    Turn::Late => return Err(Failure::Late),
                    Turn::CalledOff => return Err(Failure::CalledOff),
                },
                () = &mut *kill => {
                    return Err(Failure::Over(End::Dismissed(Answer::shutting_down())));
                }
                alive = client.listen() => if !alive {
                    return Err(Failure::Over(End::ClientGone));
                },
            }
        }
        waiting.into_lease().ok_or(Failure::Late)
    }

    async fn connect(&mut self, mut lease: Lease, arrived: Micros) -> Result<Connected, Failure> {
        loop {
            match lease.take(&self.key, &self.talk.settings, self.worker) {
                Take::Idle(backend) => match backend.adopt(self.worker) {
                    Some(backend) => return Ok(Connected::Yes(lease, backend, false)),
                    None => lease.lost(),
                },
                Take::Replace(victim) => {
                    victim.close().await;
                    return self.open(lease, arrived).await;
                }
                Take::Open => return self.open(lease, arrived).await,
            }
        }
    }

    async fn open(&mut self, mut lease: Lease, arrived: Micros) -> Result<Connected, Failure> {
        let house = &self.house;
        let (session, _) = self.talk.who();
        let opening = Opening {
            upstream: house.upstream(),
            credential: &self.credential,
            limit: house.connect_timeout,
            key: &self.key,
            worker: self.worker,
            session,
            journal: &house.journal,
            settings: &house.settings,
        };
        match Box::pin(Backend::open(opening)).await {
            Ok(backend) => {
                house.keep_greeting(&self.key, &backend.state.reported);
                lease.opened();
                Ok(Connected::Yes(lease, backend, true))
            }
            Err(error) if error.may_pass() => {
                let waiting = lease.refused(error, arrived, &self.entry.target.call);
                waiting.map(Connected::BackInLine).ok_or(Failure::Late)
            }
            Err(error) => {
                lease.lost();
                Err(Failure::Open(error))
            }
        }
    }

    /// Relays until the transaction is over and gives the connection back; else the session ends.
    async fn hold(&mut self, lease: Lease, mut backend: Box<Backend>) -> Result<(), End> {
        self.moves_in(backend.cancel_key.pid).await;
        let Self { client, talk, entry, kill, house, to_server, .. } = self;
        let mark = (client.inbox.mark(), client.outbox.len());
        let assigned = talk.assigned_at();
        let mailbox = talk.listening.as_ref().map(notify::Listening::mailbox);
        let place = (&*entry.target, &backend.cancel_key);
        let mut judge = Leased::new(talk, &mut backend.state, house, place);
        judge.begin(to_server, &mut client.outbox);
        let begun = judge.hears_client().then_some(assigned);
        let lanes = Lanes {
            client,
            server: &mut backend.stream,
            from_server: &mut backend.inbox,
            to_server,
        };
        let end = tokio::select! {
            biased;
            end = pump(lanes, &mut judge, &house.journal, begun) => end,
            answer = notify::doomed(mailbox.as_deref()) => End::Dismissed(answer),
            () = kill => End::Dismissed(Answer::shutting_down()),
        };
        let unfit = judge.unfit.take();
        if end == End::Unsent {
            self.client.inbox.rewind(mark.0);
            self.client.outbox.cut_back(mark.1);
            self.to_server.clear();
            self.talk.conversation.unsay();
            self.backend_ends(backend.cancel_key.pid);
            self.entry.target.detach().await;
            return Err(end);
        }
        self.may_speak = backend.inbox.at_boundary();
        backend.inbox.settle(&mut self.client.outbox);
        if end == End::Done {
            self.moves_out().await;
            self.entry.target.detach().await;
            if backend.state.settings.is_some() {
                lease.give_back(backend);
            } else {
                backend.close().await;
                drop(lease);
            }
            if let Some(answer) = unfit {
                self.refuse(Some(&answer), Outcome::Error(answer.code));
            }
            return Ok(());
        }
        self.abandon(lease, backend, &end).await;
        Err(end)
    }

    /// The session ends while it holds a server connection, which nobody may use again: what it
    /// runs is cancelled, and the lease lasts until the backend is gone.
    async fn abandon(&mut self, lease: Lease, backend: Box<Backend>, end: &End) {
        let may_cancel = self.talk.conversation.may_cancel();
        self.talk.give_up(match end {
            End::Done | End::Terminated | End::ClientGone => Outcome::ClientGone,
            End::ServerGone | End::Unsent | End::ServerBroken(_) => Outcome::ServerGone,
            End::Dismissed(answer) => Outcome::Error(answer.code),
        });
        self.backend_ends(backend.cancel_key.pid);
        self.entry.target.detach().await;
        if *end != End::ServerGone {
            if may_cancel {
                backend::cancel(self.house.upstream(), &backend.cancel_key).await;
            }
            backend.close().await;
        }
        drop(lease);
    }
}

/// What opening a server connection led to.
enum Connected {
    /// Here it is; whether it had to be opened.
    Yes(Lease, Box<Backend>, bool),
    /// PostgreSQL had no room, or cannot be reached: the place in the queue is kept.
    BackInLine(Waiting),
}
