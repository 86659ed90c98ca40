//! Two arms in front of one server, which take turns: whole blocks of the same arm differ by up to
//! two where others use the machine, turns beside each other do not.

use std::time::Duration;

use bench_kit::poolers::Pooler;

use crate::bench::{Bench, Block, measure};
use crate::crowd::{Crowd, Group};
use crate::ground::{Arm, Ground, Watch};

/// From a turn's begin until it counts: all have come back.
pub(crate) const LEAD: Duration = Duration::from_millis(500);

/// What counts of a turn, where nothing else is said.
pub(crate) const TURN: Duration = Duration::from_secs(2);

/// An arm with a crowd of its own, which rests while another has its turn.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) arm: Arm,
    pub(crate) crowd: Crowd,
    watch: Watch,
    pooler: Pooler,
}

impl Stand {
    /// Its crowd does not rest yet.
    pub(crate) async fn open(
        bench: &Bench,
        ground: &Ground,
        arm: Arm,
        groups: &[Group],
    ) -> anyhow::Result<Self> {
        let pooler = ground.start(arm)?;
        let watch = Watch::begin(&pooler, bench.plan.tells).await?;
        let crowd = Crowd::gather(&pooler, groups, bench.seed()).await?;
        Ok(Self { arm, crowd, watch, pooler })
    }

    /// Its crowd works for a turn, of which `span` counts, and rests again.
    pub(crate) async fn turn(&self, lead: Duration, span: Duration) -> anyhow::Result<Block> {
        let (failed, refused, _) = self.crowd.board().failures();
        self.crowd.work();
        tokio::time::sleep(lead).await;
        let block = measure(&self.crowd, Some(&self.watch), span).await?;
        self.crowd.rest().await;
        Ok(Block { failed: block.failed - failed - refused, ..block })
    }

    /// Whether it finds the limit for all who stand in front of its server.
    pub(crate) fn leads(&self) -> bool {
        self.watch.leads()
    }

    /// Its pooler is killed, without a word to its clients.
    pub(crate) fn kill(self) {
        self.pooler.kill();
    }
}
