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
use trace::{Micros, Outcome, SqlState};

use crate::access::{Credential, Doorman, Secret};
use crate::answer::Answer;
use crate::backend::{self, Backend, OpenError, Opening};
use crate::buffer::Outbox;
use crate::call::Turn;
use crate::cancel;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::gate::{Asked, Gate, Lease, Waiting};
use crate::journal::Journal;
use crate::kill::Kill;
use crate::pool::{Key, Take};
use crate::pump::{End, Lanes, pump};
use crate::statements;
use crate::{Config, Database, Upstream};

mod authenticate;
mod enter;
mod leased;
mod local;
mod lookup;
mod talk;

use leased::Leased;
use local::Local;
use talk::Talk;

/// Kinds of server connection whose greeting is remembered.
const GREETINGS_MAX: usize = 256;

/// What all sessions of one database share in `regulate` mode.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) gate: Arc<Gate>,
    cancels: Arc<cancel::Registry>,
    statements: statements::Registry,
    /// The server's `ParameterStatus` messages by kind of connection.
    greetings: Mutex<HashMap<Arc<Key>, Arc<[u8]>>>,
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
            greetings: Mutex::default(),
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

    fn greeting(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.greetings.lock().get(key).cloned()
    }

    /// Keeps the greeting of the server connection opened last: settings may change.
    fn keep_greeting(&self, key: &Arc<Key>, greeting: Vec<u8>) {
        let mut greetings = self.greetings.lock();
        if greetings.len() >= GREETINGS_MAX && !greetings.contains_key(key) {
            greetings.clear();
        }
        greetings.insert(Arc::clone(key), greeting.into());
    }
}

/// Why a session has no server connection.
#[derive(Debug)]
enum Failure {
    /// Its deadline has passed.
    Late,
    /// A cancel request hit it while it waited.
    CalledOff,
    /// Opening one failed, and waiting would not help.
    Open(OpenError),
    /// The session ends anyway.
    Over(End),
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
    let talk = Talk::new(conversation, Arc::clone(&house.journal));
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
    if let Some(session) = session.enter(packet, arrived).await {
        session.run().await;
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
                Err(end) => break end,
            }
        };
        let last_word = match end {
            End::Dismissed(answer) => Some(answer),
            End::ServerBroken(error) => Some(Answer::protocol(&error)),
            End::ServerGone if !self.talk.heard_fatal() => Some(Answer::server_gone()),
            End::ServerGone | End::Done | End::Terminated | End::ClientGone => None,
        };
        match last_word.filter(|_| self.may_speak) {
            Some(answer) => self.client.dismiss(&answer).await,
            None => self.client.part().await,
        }
    }

    async fn listen(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            alive = self.client.listen() => if alive { Ok(()) } else { Err(End::ClientGone) },
            () = &mut self.kill => Err(End::Dismissed(Answer::shutting_down())),
        }
    }

    /// Gets a server connection and holds it as long as it takes; or says why there is none.
    async fn serve_request(&mut self) -> Result<(), End> {
        let arrived = self.house.journal.now();
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

    /// What the client is told, and what is recorded.
    fn explain(&self, failure: &Failure, since: Micros) -> (Answer, Outcome) {
        let gate = &self.house.gate;
        match failure {
            Failure::Late => {
                let (session, dyno) = self.talk.who();
                let outcome =
                    gate.refused_since(since).map_or(Outcome::QueueTimeout, Outcome::Error);
                (gate.refuse(session, dyno, self.house.journal.now() - since), outcome)
            }
            Failure::CalledOff => {
                let code = SqlState::QUERY_CANCELED;
                let text = "surgetank: canceled by the user while waiting for a server connection";
                (Answer::new(code, text), Outcome::Error(code))
            }
            Failure::Open(error) => {
                let outcome = match error {
                    OpenError::Unreachable(_) => Outcome::ServerUnreachable,
                    OpenError::Refused(code, _) => Outcome::Error(*code),
                };
                (error.answer(), outcome)
            }
            Failure::Over(_) => (Answer::shutting_down(), Outcome::ClientGone),
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
            match lease.take(&self.key, self.worker) {
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
        };
        match Box::pin(Backend::open(opening)).await {
            Ok(opened) => {
                house.keep_greeting(&self.key, opened.greeting);
                Ok(Connected::Yes(lease, opened.backend, true))
            }
            Err(OpenError::Refused(code, words)) if backend::may_pass(code) => {
                let call = &self.entry.target.call;
                let waiting = lease.refused((code, words), arrived, call);
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
        let Self { client, talk, entry, kill, house, to_server, .. } = self;
        entry.target.attach(&backend.cancel_key);
        let lanes = Lanes {
            client,
            server: &mut backend.stream,
            from_server: &mut backend.inbox,
            to_server,
        };
        let at = talk.assigned_at();
        let mut judge = Leased::new(talk, &mut backend.statements, &house.statements);
        let end = tokio::select! {
            biased;
            end = pump(lanes, &mut judge, &house.journal, Some(at)) => end,
            () = kill => End::Dismissed(Answer::shutting_down()),
        };
        self.may_speak = backend.inbox.at_boundary();
        backend.inbox.settle(&mut self.client.outbox);
        if end == End::Done {
            self.entry.target.detach().await;
            lease.give_back(backend);
            return Ok(());
        }
        self.abandon(lease, backend, &end).await;
        Err(end)
    }

    /// The session ends while it holds a server connection, which nobody may use again: what it
    /// runs is cancelled, and the lease lasts until the backend is gone.
    async fn abandon(&mut self, lease: Lease, backend: Box<Backend>, end: &End) {
        let is_busy = !self.talk.is_quiet();
        self.talk.give_up(match end {
            End::Done | End::Terminated | End::ClientGone => Outcome::ClientGone,
            End::ServerGone | End::ServerBroken(_) => Outcome::ServerGone,
            End::Dismissed(answer) => Outcome::Error(answer.code),
        });
        self.entry.target.detach().await;
        if *end != End::ServerGone {
            if is_busy {
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
    /// PostgreSQL had no room: the place in the queue is kept.
    BackInLine(Waiting),
}
