//! What all experiments need: the ground, the chance, the time each may take, and the goals.

use std::cell::RefCell;
use std::time::Duration;

use bench_kit::poolers::Pooler;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::crowd::{Crowd, Group};
use crate::goals::Goals;
use crate::ground::{Arm, Ground, Watch};
use crate::machine::Busy;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of one block.
    pub(crate) block: Duration,
    /// Blocks of each arm.
    pub(crate) rounds: usize,
    /// All sizes, or those near what is known to be best.
    pub(crate) thorough: bool,
    /// Whether all that is seen of a limit is told on stderr.
    pub(crate) tells: bool,
    pub(crate) seed: u64,
}

/// The bench.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) ground: Ground,
    pub(crate) plan: Plan,
    pub(crate) goals: Goals,
    chance: RefCell<ChaCha8Rng>,
}

/// Time for a fixed pool to fill, and for what was queued before to pass.
pub(crate) const SETTLE: Duration = Duration::from_millis(1500);
/// Time for the law to find the limit of a load that it has seen before.
const RECALL: Duration = Duration::from_secs(2);

/// What one block showed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block {
    /// Transactions a second.
    pub(crate) rate: f64,
    /// The mean limit.
    pub(crate) limit: f64,
    /// Percent of each core in use, and taken by the host.
    pub(crate) busy: [f64; 3],
    pub(crate) failed: u64,
}

impl Bench {
    pub(crate) fn new(ground: Ground, plan: Plan) -> Self {
        let chance = RefCell::new(ChaCha8Rng::seed_from_u64(plan.seed));
        Self { ground, plan, goals: Goals::default(), chance }
    }

    /// A seed for something.
    pub(crate) fn seed(&self) -> u64 {
        self.chance.borrow_mut().random()
    }

    /// In an order left to chance.
    pub(crate) fn shuffled<T: Clone>(&self, all: &[T]) -> Vec<T> {
        let mut all = all.to_vec();
        all.shuffle(&mut *self.chance.borrow_mut());
        all
    }

    /// One arm under one load; `running` is that arm's proxy where it keeps what it has learnt.
    pub(crate) async fn block(
        &self,
        arm: Arm,
        running: Option<&Pooler>,
        groups: &[Group],
    ) -> anyhow::Result<Block> {
        let started;
        let pooler = match running {
            Some(pooler) => pooler,
            None => {
                started = self.ground.start(arm)?;
                &started
            }
        };
        let watch = match arm {
            Arm::PgBouncer(_) => None,
            Arm::Adaptive | Arm::Static(_) => Some(Watch::begin(pooler, self.plan.tells).await?),
        };
        let crowd = Crowd::gather(pooler, groups, self.seed()).await?;
        tokio::time::sleep(if arm == Arm::Adaptive { RECALL } else { SETTLE }).await;
        measure(&crowd, watch.as_ref(), self.plan.block).await
    }
}

/// What a crowd does from now on for so long; what failed is all since it was gathered.
pub(crate) async fn measure(
    crowd: &Crowd,
    watch: Option<&Watch>,
    span: Duration,
) -> anyhow::Result<Block> {
    let watched = || watch.map_or(Duration::ZERO, Watch::elapsed);
    let (from, watched_from, busy) = (crowd.board().elapsed(), watched(), Busy::now()?);
    tokio::time::sleep(span).await;
    let busy = Busy::now()?.since(busy);
    let rate = crowd.board().rate(from, crowd.board().elapsed());
    let limit = watch.map_or(f64::NAN, |watch| watch.limit(watched_from, watch.elapsed()));
    let (failed, refused, _) = crowd.board().failures();
    Ok(Block { rate, limit, busy, failed: failed + refused })
}
