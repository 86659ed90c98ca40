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

use trace::{Micros, Outcome, SqlState};

use crate::answer::Answer;
use crate::backend::{self, Backend, OpenError, Opening};
use crate::buffer::Outbox;
use crate::call::Turn;
use crate::cancel;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::gate::{Asked, Lease, Waiting};
use crate::journal::Scribe;
use crate::kill::Kill;
use crate::pool::{Key, Take};
use crate::pump::{End, Lanes, pump};
use crate::roster::Card;

mod enter;
mod house;
mod leased;
mod local;
mod talk;

pub(crate) use house::House;
use leased::Leased;
use local::Local;
use talk::Talk;

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
    /// The generation of the house that the key is of.
    generation: u64,
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
    card: &Arc<Card>,
) {
    let talk = Talk::new(conversation, Scribe::new(&house.journal, card));
    let session = Session {
        house: Arc::clone(house),
        worker,
        client,
        to_server: Outbox::default(),
        may_speak: true,
        talk,
        key: Arc::default(),
        generation: house.generation(),
        entry: house.cancels.enter(&house.database().upstream),
        kill: Kill::new(&card.end),
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
            () = &mut self.kill => Err(End::Dismissed(self.talk.journal.card.farewell())),
        }
    }

    /// Gets a server connection and holds it as long as it takes; or says why there is none.
    async fn serve_request(&mut self) -> Result<(), End> {
        let arrived = self.house.journal.now();
        self.talk.arrives(arrived);
        let served = self.try_serve(arrived).await;
        self.talk.journal.card.rests();
        served
    }

    async fn try_serve(&mut self, arrived: Micros) -> Result<(), End> {
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
            Failure::Over(_) => (self.talk.journal.card.farewell(), Outcome::ClientGone),
        }
    }

    /// Waits for a lease, then for a connection; all within the one deadline. From its end on the
    /// session is assigned its backend.
    async fn obtain(&mut self, arrived: Micros) -> Result<(Lease, Box<Backend>), Failure> {
        self.follow();
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

    /// After a change of the configuration the session needs another kind of server connection.
    fn follow(&mut self) {
        let generation = self.house.generation();
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let database = self.house.database();
        let asked = self.talk.journal.card.badge.database.as_bytes();
        let key = database.key(asked, self.key.parameters.clone());
        self.key = Arc::new(key);
        self.entry.target.aim(&database.upstream);
    }

    async fn wait(&mut self, waiting: Waiting) -> Result<Lease, Failure> {
        let Self { client, entry, kill, talk, .. } = self;
        entry.target.wait();
        talk.journal.card.waits(talk.waits_since());
        loop {
            tokio::select! {
                biased;
                turn = waiting.turn() => match turn {
                    Turn::Granted => break,
                    Turn::Late => return Err(Failure::Late),
                    Turn::CalledOff => return Err(Failure::CalledOff),
                },
                () = &mut *kill => {
                    return Err(Failure::Over(End::Dismissed(talk.journal.card.farewell())));
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
        let database = house.database();
        let opening = Opening {
            upstream: &database.upstream,
            limit: house.connect_timeout(),
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
        let card = Arc::clone(&talk.journal.card);
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
            () = kill => End::Dismissed(card.farewell()),
        };
        self.may_speak = backend.inbox.at_boundary();
        backend.inbox.settle(&mut self.client.outbox);
        if end == End::Done {
            self.entry.target.detach().await;
            lease.give_back(backend).await;
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
                let database = self.house.database();
                backend::cancel(database.upstream.endpoint(), &backend.cancel_key).await;
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
