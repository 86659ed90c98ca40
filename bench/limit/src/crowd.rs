//! Clients in a closed loop: each thinks a little, asks, and waits for its answer.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bench_kit::poolers::Pooler;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::board::Board;
use crate::client::{Answer, Client};
use crate::work::Work;

/// What a refusal is called (`too_many_connections`).
pub(crate) const REFUSED: &str = "53300";

/// A dyno and its clients.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) dyno: String,
    pub(crate) clients: u32,
    pub(crate) work: Work,
    /// A client thinks twice this at most, anything between as likely.
    pub(crate) think: Duration,
}

/// What all clients think between two transactions where nothing else is said.
pub(crate) const THINK: Duration = Duration::from_millis(5);

/// The crowd of most experiments: two hundred clients in eight dynos.
pub(crate) fn dynos(work: Work) -> Vec<Group> {
    let dyno = |number| Group { dyno: format!("web.{number}"), clients: 25, work, think: THINK };
    (1..=8).map(dyno).collect()
}

/// How often it is looked whether all rest.
const LOOK: Duration = Duration::from_millis(5);

/// Half of the time in which a crowd that comes in bursts has come and gone.
const HALF: Duration = Duration::from_millis(500);

/// Clients at work; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Crowd {
    board: Rc<Board>,
    works: Vec<Rc<Cell<Work>>>,
    calm: watch::Sender<Calm>,
    /// How many are in a transaction.
    busy: Rc<Cell<u32>>,
    tasks: JoinSet<()>,
}

/// Why nobody asks for anything.
#[derive(Clone, Copy, Debug, Default)]
struct Calm {
    /// All were told to rest.
    rests: bool,
    /// They come in bursts, and this is between two.
    ebbs: bool,
}

/// Where a client connects, and as whom.
#[derive(Clone, Debug)]
struct Door {
    address: SocketAddr,
    user: String,
    dyno: String,
}

impl Door {
    async fn open(&self) -> anyhow::Result<Client> {
        Client::connect(self.address, &self.user, &self.dyno).await
    }
}

impl Crowd {
    /// Connects all of them, then lets them begin.
    pub(crate) async fn gather(
        pooler: &Pooler,
        groups: &[Group],
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut works = Vec::new();
        let mut clients = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let (address, user, dyno) = (pooler.address, pooler.user.clone(), group.dyno.clone());
            let door = Door { address, user, dyno };
            let work = Rc::new(Cell::new(group.work));
            for _ in 0..group.clients {
                let client = door.open().await.with_context(|| pooler.name.clone())?;
                clients.push((client, number, door.clone(), Rc::clone(&work), group.think));
            }
            works.push(work);
        }
        let board = Rc::new(Board::new(groups.len())?);
        let (calm, busy) = (watch::Sender::new(Calm::default()), Rc::new(Cell::new(0)));
        let mut tasks = JoinSet::new();
        for (place, (client, number, door, work, think)) in clients.into_iter().enumerate() {
            let mut chance = ChaCha8Rng::seed_from_u64(seed);
            chance.set_stream(u64::try_from(place).unwrap_or(u64::MAX));
            let (group, board) = (number, Rc::clone(&board));
            let (calm, busy) = (calm.subscribe(), Rc::clone(&busy));
            let one = One { client, door, work, think, group, board, chance, calm, busy };
            tasks.spawn_local(one.live());
        }
        Ok(Self { board, works, calm, busy, tasks })
    }

    /// What they have seen.
    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// They begin, or go on.
    pub(crate) fn work(&self) {
        self.calm.send_modify(|calm| calm.rests = false);
    }

    /// They begin nothing any more.
    pub(crate) fn cease(&self) {
        self.calm.send_modify(|calm| calm.rests = true);
    }

    /// The same, and the transactions that they are in have ended.
    pub(crate) async fn rest(&self) {
        self.cease();
        while self.busy.get() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// From now on all rest for the second half of each second.
    pub(crate) fn come_in_bursts(&mut self) {
        let calm = self.calm.clone();
        self.tasks.spawn_local(async move {
            loop {
                tokio::time::sleep(HALF).await;
                calm.send_modify(|calm| calm.ebbs = !calm.ebbs);
            }
        });
    }

    /// From their next transaction on all do this.
    pub(crate) fn switch(&self, to: Work) {
        for work in &self.works {
            work.set(to);
        }
    }
}

/// One client.
struct One {
    client: Client,
    door: Door,
    work: Rc<Cell<Work>>,
    think: Duration,
    group: usize,
    board: Rc<Board>,
    chance: ChaCha8Rng,
    calm: watch::Receiver<Calm>,
    busy: Rc<Cell<u32>>,
}

/// How long a client waits that could not connect.
const RETRY: Duration = Duration::from_millis(100);

impl One {
    async fn live(mut self) {
        let mut text = String::with_capacity(256);
        // Before they think: those who rested together do not come together.
        while self.calm.wait_for(|calm| !calm.rests && !calm.ebbs).await.is_ok() {
            if !self.think.is_zero() {
                let think = self.chance.random_range(Duration::ZERO..2 * self.think);
                tokio::time::sleep(think).await;
            }
            let began = Instant::now();
            let work = self.work.get();
            self.busy.set(self.busy.get() + 1);
            let answer = work.run(&mut self.client, &mut self.chance, &mut text).await;
            self.busy.set(self.busy.get() - 1);
            match answer {
                Ok(Answer::Done) => self.board.done(self.group, began),
                Ok(Answer::Error(code, _)) if code == REFUSED => self.board.refused(),
                Ok(Answer::Error(code, message)) => self.board.failed(&format!("{code} {message}")),
                Err(error) => {
                    self.board.failed(&format!("{error:#}"));
                    while let Err(error) = self.door.open().await.map(|new| self.client = new) {
                        self.board.failed(&format!("{error:#}"));
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    }
}
