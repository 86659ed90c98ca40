//! Speaking with other proxies of the database, through the database: the thin driver of
//! [`admission::alliance`].
//!
//! It has a connection of its own, as long as the pool has any: a session's settings move between
//! the pool's connections, and what is said here must stay. The connection counts as one of ours.
//! On it the server is also asked for its room: once a second while nobody else is there, four
//! times a second among others.

mod look;

use std::sync::Arc;
use std::time::Duration;

use admission::alliance::{Alliance, Ladder, Plan, Rank};
use tokio::task::JoinSet;
use trace::{Micros, SessionId};

use super::House;
use crate::access::Credential;
use crate::backend::{Backend, OpenError, Opening};
use crate::pool::Key;
use crate::timer::{sleep, timeout};
use look::{ask, look_at};

/// How often it speaks, alone and among others.
const ALONE: Duration = Duration::from_millis(1000);
const TOGETHER: Duration = Duration::from_millis(250);

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often something new is said in a row: what was claimed, and what is not claimed any more.
const ROUNDS: usize = 4;

/// After a connection was lost, or could not be had, the next is tried after so long, twice as long
/// each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where there is no way to speak with others, it is looked for again after so long.
const ALONE_FOR: Duration = Duration::from_secs(60);

/// On whose behalf the connection is opened: whoever last opened one of the pool's.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    key: Arc<Key>,
    credential: Arc<Credential>,
    session: SessionId,
}

impl Voice {
    /// The settings that a session asked for are its own.
    pub(super) fn new(key: &Key, credential: &Arc<Credential>, session: SessionId) -> Self {
        let key = Key { parameters: Vec::new(), ..key.clone() };
        Self { key: Arc::new(key), credential: Arc::clone(credential), session }
    }
}

/// Why nothing more is said on a connection.
#[derive(Debug)]
enum End {
    /// There is nobody to speak for, or the server is another.
    Over,
    /// The connection cannot be used any more, or there is none.
    Lost(OpenError),
    /// There is no way to speak with others, and why.
    Alone(String),
}

impl From<OpenError> for End {
    fn from(error: OpenError) -> Self {
        Self::Lost(error)
    }
}

impl House {
    /// Speaks with the others whenever there is something to agree on. Never returns.
    pub(crate) async fn confer(self: Arc<Self>, worker: usize) {
        let mut speaker =
            Speaker { id: rand::random(), worker, house: &self, closing: JoinSet::new() };
        let mut pause = PAUSE_MIN;
        loop {
            while !self.gate.is_concerned() {
                self.gate.falls_silent();
                self.gate.concern_changed().await;
            }
            let since = self.journal.now();
            match speaker.speak().await {
                End::Over => {
                    self.gate.falls_silent();
                    pause = PAUSE_MIN;
                }
                End::Lost(error) => {
                    tracing::debug!(?error, "the other proxies cannot be heard");
                    self.gate.lost_touch();
                    if self.journal.now() - since > Micros::from_secs(1) {
                        pause = PAUSE_MIN;
                    }
                    let woken = self.gate.concern_changed();
                    let _ = timeout(pause, woken).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                End::Alone(why) => {
                    let database = self.database();
                    let database = database.label();
                    tracing::warn!(database, why, "limits are not agreed on with other proxies");
                    self.gate.goes_alone();
                    sleep(ALONE_FOR).await;
                    self.gate.tries_again();
                }
            }
        }
    }
}

/// Who speaks for a gate.
struct Speaker<'a> {
    id: u32,
    worker: usize,
    house: &'a Arc<House>,
    /// Connections that others need more; closing them takes as long as it takes.
    closing: JoinSet<()>,
}

impl Speaker<'_> {
    /// From one connection's beginning to its end.
    async fn speak(&mut self) -> End {
        let generation = self.house.generation();
        let Some(voice) = self.house.voice() else {
            // The first connection of the pool is just being opened.
            self.house.gate.concern_changed().await;
            return End::Over;
        };
        self.house.gate.will_speak();
        let mut backend = match self.open(&voice).await {
            Ok(backend) => backend,
            Err(error) if error.may_pass() => return error.into(),
            Err(error) => return End::Alone(error.answer().message),
        };
        let mut alliance = Alliance::join(self.id, self.house.gate.own().open);
        loop {
            match self.rounds(&mut backend, &mut alliance).await {
                Ok(plan) => {
                    let among = plan.proxies > 1 || plan.rank != Rank::Leader;
                    self.rest(if among { TOGETHER } else { ALONE }).await;
                }
                // The server does not know what is asked: it will not tomorrow.
                Err(End::Lost(OpenError::Impossible(words))) => return End::Alone(words),
                Err(End::Lost(error)) => return End::Lost(error),
                Err(end) => {
                    backend.close().await;
                    return end;
                }
            }
            while self.closing.try_join_next().is_some() {}
            if !self.house.gate.is_concerned() || self.house.generation() != generation {
                backend.close().await;
                return End::Over;
            }
        }
    }

    async fn open(&self, voice: &Voice) -> Result<Box<Backend>, OpenError> {
        let house = self.house;
        let database = house.database();
        Backend::open(Opening {
            upstream: &database.upstream,
            credential: &voice.credential,
            limit: house.connect_timeout(),
            key: &voice.key,
            worker: self.worker,
            session: voice.session,
            journal: &house.journal,
            settings: &house.settings,
        })
        .await
    }

    /// Waits for the next time to speak, or for what cannot wait: not all proxies at one moment.
    async fn rest(&self, time: Duration) {
        let time = time.mul_f64(0.8 + 0.4 * rand::random::<f64>());
        let over = async {
            while self.house.gate.is_concerned() {
                self.house.gate.concern_changed().await;
            }
        };
        let _ = timeout(time, over).await;
    }

    /// Speaks, looks, and does what follows, until nothing new is to be said.
    async fn rounds(
        &mut self,
        backend: &mut Box<Backend>,
        alliance: &mut Alliance,
    ) -> Result<Plan, End> {
        let mut left = ROUNDS;
        loop {
            let plan = self.round(backend, alliance).await?;
            left -= 1;
            if !plan.again || left == 0 {
                return Ok(plan);
            }
        }
    }

    async fn round(
        &mut self,
        backend: &mut Box<Backend>,
        alliance: &mut Alliance,
    ) -> Result<Plan, End> {
        let gate = &self.house.gate;
        let said = alliance.speak(gate.own());
        let answer = in_time(ask(backend, &self.house.settings, &said)).await?;
        let (look, blocked) =
            look_at(&answer).ok_or(OpenError::Impossible("no sense in the answer".to_owned()))?;
        if look.me != backend.cancel_key.pid.0 {
            // What is said on one connection of another pooler is said on any.
            return Err(End::Alone("another pooler stands before the database".to_owned()));
        }
        let plan = alliance.hear(&look, self.house.journal.now());
        let surplus = gate.agreed(&plan, blocked);
        if !surplus.is_empty() {
            let gate = Arc::clone(gate);
            self.closing.spawn(async move { gate.close(surplus).await });
        }
        let order = match plan.ladder {
            Ladder::Stay => return Ok(plan),
            Ladder::Take(rung) => look::take(rung),
            Ladder::Leave(rung) => look::leave(rung),
        };
        in_time(backend.ask(&self.house.settings, order.as_bytes())).await?;
        Ok(plan)
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let late = |_| OpenError::Unreachable("no answer in time".to_owned());
    timeout(PATIENCE, answer).await.map_err(late)?
}
