//! `SHOW LIMIT`: how many may execute, how many do, and why it is so many.

use super::super::table::{Cell, Table};
use super::moment;
use crate::Snapshot;
use crate::control::{DatabaseState, LimitState, Rank};

pub(super) fn limit(seen: &Snapshot) -> Table {
    let mut table = Table::new(
        "database adaptive limit:4 executing:4 long_limit:4 long:4 idle_in_transaction:4 held:4 \
         waiting:4 ceiling:4 room:4 open:4 idle:4 paused:4 knee:4 changed changed_from:4 \
         changed_to:4 reason elasticity error \
         rank proxies:4 share total:4 shared_room:4",
    );
    for state in &seen.databases {
        let DatabaseState { open, idle, leased, waiting, paused, executing, .. } = state;
        let LimitState { adaptive, limit, long_limit, ceiling, room, long, knee, change, .. } =
            *executing;
        let word = if adaptive { "yes" } else { "no" };
        let or_null = |number: Option<u32>| number.map_or(Cell::Null, Into::into);
        let mut row: Vec<Cell> = vec![
            state.database.label().into(),
            word.into(),
            limit.into(),
            executing.executing.into(),
            if adaptive { long_limit.into() } else { Cell::Null },
            long.into(),
            executing.idle.into(),
            (*leased).into(),
            (*waiting).into(),
            ceiling.into(),
            or_null(room),
            (*open).into(),
            (*idle).into(),
            (*paused).into(),
            or_null(knee),
        ];
        match change {
            Some(change) => row.extend([
                moment(change.at),
                change.from.into(),
                change.to.into(),
                change.cause.as_str().into(),
                thousandths(change.elasticity_milli.into()).into(),
                thousandths(change.error_milli.into()).into(),
            ]),
            None => row.extend(std::iter::repeat_n(Cell::Null, 6)),
        }
        match executing.alliance {
            Some(alliance) => row.extend([
                rank(alliance.rank).into(),
                alliance.proxies.into(),
                thousandths(alliance.share_milli.into()).into(),
                alliance.total.into(),
                alliance.room.into(),
            ]),
            None => row.extend(std::iter::repeat_n(Cell::Null, 5)),
        }
        table.row(row);
    }
    table
}

/// Who a proxy is among others, in a word.
fn rank(rank: Rank) -> &'static str {
    match rank {
        Rank::Leader => "leader",
        Rank::Follower => "follower",
        Rank::Leaderless => "leaderless",
    }
}

/// Thousandths as a decimal number.
fn thousandths(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", number.abs() / 1000, number.abs() % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_readable() {
        let texts = [-1200, -7, 0, 60, 1000].map(thousandths);
        assert_eq!(texts, ["-1.200", "-0.007", "0.000", "0.060", "1.000"]);
    }
}
