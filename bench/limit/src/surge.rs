//! An open loop: requests come when they come, and their clients give up.
//!
//! Latency runs from when a request was due. A client that gives up closes its connection, as apps
//! do; whoever comes next takes one that is free, or a new one.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bench_kit::poolers::Pooler;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Answer, Client};
use crate::work::Work;

/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Dynos that requests come from in turn.
const DYNOS: usize = 8;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered(Duration),
    /// By an error, in most cases 53300.
    Refused,
    GaveUp,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Since the beginning.
    pub(crate) due: Duration,
    pub(crate) fate: Fate,
}

impl Request {
    pub(crate) fn answered_ms(&self) -> Option<f64> {
        match self.fate {
            Fate::Answered(took) => Some(took.as_secs_f64() * 1e3),
            Fate::Refused | Fate::GaveUp => None,
        }
    }
}

/// Where and what.
#[derive(Debug)]
pub(crate) struct Surge<'a> {
    pub(crate) pooler: &'a Pooler,
    pub(crate) work: Work,
    pub(crate) seed: u64,
}

/// Connections that are free, by dyno.
type Free = Rc<RefCell<Vec<Vec<Client>>>>;

impl Surge<'_> {
    /// So many requests a second for so long each, one after the other.
    pub(crate) async fn run(&self, rates: &[(f64, Duration)]) -> anyhow::Result<Vec<Request>> {
        let free: Free = Rc::new(RefCell::new((0..DYNOS).map(|_| Vec::new()).collect()));
        let seen: Rc<RefCell<Vec<Request>>> = Rc::default();
        let mut tasks = JoinSet::new();
        let mut chance = ChaCha8Rng::seed_from_u64(self.seed);
        let start = Instant::now();
        let (mut due, mut end, mut number) = (Duration::ZERO, Duration::ZERO, 0);
        for (rate, span) in rates {
            end += *span;
            loop {
                // Arrivals of many who know nothing of each other.
                let gap = -chance.random_range(f64::MIN_POSITIVE..1.0).ln() / rate;
                due += Duration::from_secs_f64(gap);
                if due >= end {
                    due = end;
                    break;
                }
                tokio::time::sleep_until(start + due).await;
                while tasks.try_join_next().is_some() {}
                number += 1;
                let chance = ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(number));
                let dyno = usize::try_from(number).unwrap_or(0) % DYNOS;
                tasks.spawn_local(self.request((start, due), dyno, &free, &seen, chance));
            }
        }
        while tasks.join_next().await.is_some() {}
        Ok(seen.take())
    }

    fn request(
        &self,
        (start, due): (Instant, Duration),
        dyno: usize,
        free: &Free,
        seen: &Rc<RefCell<Vec<Request>>>,
        mut chance: ChaCha8Rng,
    ) -> impl Future<Output = ()> + use<> {
        let (address, user, work) = (self.pooler.address, self.pooler.user.clone(), self.work);
        let (free, seen) = (Rc::clone(free), Rc::clone(seen));
        async move {
            let answer = tokio::time::timeout_at(start + due + PATIENCE, async {
                let idle = free.borrow_mut().get_mut(dyno).and_then(Vec::pop);
                let mut client = match idle {
                    Some(client) => client,
                    None => Client::connect(address, &user, &format!("web.{}", dyno + 1)).await?,
                };
                let answer = work.run(&mut client, &mut chance, &mut String::new()).await?;
                if let Some(all) = free.borrow_mut().get_mut(dyno) {
                    all.push(client);
                }
                anyhow::Ok(answer)
            });
            let fate = match answer.await {
                Ok(Ok(Answer::Done)) => Fate::Answered(start.elapsed().saturating_sub(due)),
                Ok(_) => Fate::Refused,
                Err(_) => Fate::GaveUp,
            };
            seen.borrow_mut().push(Request { due, fate });
        }
    }
}
