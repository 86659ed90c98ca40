//! How the limit of executing statements stands, and what was found of it.

pub use admission::alliance::Rank;
use trace::LimitChanged;

use super::Control;
use crate::gate::{Seen, Standing};

/// How the limit of a database stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitState {
    /// Whether it is found by measuring.
    pub adaptive: bool,
    /// How many short statements may execute at once.
    pub limit: u32,
    /// How many long ones may execute beside them.
    pub long_limit: u32,
    /// Most server connections just now.
    pub ceiling: u32,
    /// For how many connections of ours the server has room, if that is known.
    pub room: Option<u32>,
    /// Transactions of which a short statement executes.
    pub executing: u32,
    /// Transactions of which a long statement executes.
    pub long: u32,
    /// Transactions that are open, and nothing executes.
    pub idle: u32,
    /// What was found so far, without long statements: of all proxies together.
    pub knee: Option<u32>,
    /// How it stands with other proxies of the database, while they are spoken with.
    pub alliance: Option<AllianceState>,
    /// The last change of the limit.
    pub change: Option<LimitChanged>,
}

/// How a proxy stands with the others of its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllianceState {
    /// Who it is among them.
    pub rank: Rank,
    /// How many there are, this one included.
    pub proxies: u32,
    /// This one's part of the limit, in thousandths.
    pub share_milli: u32,
    /// How many short statements may execute at once, of all together.
    pub total: u32,
    /// For how many connections of all together the server has room, those on which they speak with
    /// one another included.
    pub room: u32,
}

/// What was found of a database: how many statements it does best with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knee {
    /// The name that clients use for the database; `*` for all others.
    pub database: String,
    /// How many short statements may execute at once.
    pub statements: u32,
}

pub(super) fn limit_state(standing: &Standing) -> LimitState {
    let Standing { levels, adaptive, room, change, knee, total, seen } = *standing;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1000")]
    let alliance = seen.map(|Seen { rank, proxies, share, room }| AllianceState {
        rank,
        proxies,
        share_milli: (share * 1e3).round() as u32,
        total: total.unwrap_or_default(),
        room,
    });
    LimitState {
        adaptive,
        limit: levels.limit,
        long_limit: levels.long_limit.min(levels.ceiling),
        ceiling: levels.ceiling,
        room,
        executing: levels.counts.executing,
        long: levels.counts.long,
        idle: levels.counts.idle,
        knee,
        alliance,
        change,
    }
}

impl Control {
    /// `regulate`: what was found of each database so far, for `Config::knees` of a later run.
    #[must_use]
    pub fn knees(&self) -> Vec<Knee> {
        let gates = self.shared.databases.gates();
        gates
            .filter_map(|(database, gate)| {
                Some(Knee { database: database.into(), statements: gate.standing().knee? })
            })
            .collect()
    }
}
