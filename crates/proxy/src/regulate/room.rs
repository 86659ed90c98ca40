//! Once a second: for how many connections of ours the server has room, and how many wait for
//! locks, asked on a connection of the pool; and what else is due then.
//!
//! Only what every role may see is asked for: `pg_stat_database` counts the connections of all
//! databases, while `pg_stat_activity` hides the kind of others' backends.

use std::sync::Arc;
use std::time::Duration;

use admission::alliance::SPARE;

use super::House;
use crate::backend::OpenError;
use crate::gate::Said;
use crate::timer::timeout;

/// How long waiting for a connection and for the answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// One row: what the server has for ordinary roles, how many connections there are, the same for
/// the role (-1: no limit) and the database; and who of the database waits for a lock.
const QUESTION: &[u8] = b"SELECT \
    pg_catalog.current_setting('max_connections')::int \
    - pg_catalog.current_setting('superuser_reserved_connections')::int \
    - coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0), \
    (SELECT pg_catalog.sum(numbackends) FROM pg_catalog.pg_stat_database), \
    r.rolconnlimit, \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid), \
    d.datconnlimit, \
    pg_catalog.pg_stat_get_db_numbackends(d.oid), \
    (SELECT pg_catalog.count(DISTINCT l.pid) FROM pg_catalog.pg_locks l \
     JOIN pg_catalog.pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datid = d.oid) \
    FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
    WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()";

impl House {
    /// Asks the server for its room, if a law needs to know, and for what new sessions would be
    /// told, and closes connections that nobody needs. Cancellation safe.
    pub(crate) async fn tend(self: &Arc<Self>, worker: usize) {
        // Where it is agreed on with others, whoever speaks with them asks.
        if !self.gate.confers() {
            let said = match self.gate.standing().adaptive {
                true => self.ask_server(worker).await,
                false => None,
            };
            self.gate.heed(said);
        }
        self.check_settings(worker).await;
        self.gate.tend().await;
    }

    async fn ask_server(&self, worker: usize) -> Option<Said> {
        let mut borrowed = timeout(PATIENCE, self.gate.borrow()).await.ok().flatten()?;
        let open = self.gate.holding().open;
        // Not one limit for both: a connection that comes late would be closed for it.
        let answer = timeout(PATIENCE, borrowed.adopt(worker)?.ask(&self.settings, QUESTION)).await;
        let late = |_| OpenError::Unreachable("no answer in time".to_owned());
        match answer.map_err(late).flatten() {
            Ok(row) => {
                borrowed.give_back();
                let row: Option<Vec<i64>> = row.iter().map(|word| word.parse().ok()).collect();
                said(&row?, open)
            }
            Err(error) => {
                tracing::debug!(?error, "the server was not asked for its room");
                if let OpenError::Impossible(_) = error {
                    borrowed.give_back();
                }
                None
            }
        }
    }
}

/// What the row says to us, who have so many open.
fn said(row: &[i64], open: u32) -> Option<Said> {
    let [slots, all, role_limit, of_role, database_limit, of_database, blocked] = *row else {
        return None;
    };
    let ours = i64::from(open);
    let left =
        |limit: i64, used: i64| if limit < 0 { i64::MAX } else { limit - (used - ours).max(0) };
    let room = left(slots - i64::from(SPARE), all)
        .min(left(role_limit, of_role))
        .min(left(database_limit, of_database));
    let blocked = u32::try_from(blocked).ok()?;
    Some(Said { room: u32::try_from(room.max(1)).ok()?, blocked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_three_limits_less_what_others_use() {
        let room = |row: [i64; 6], open| {
            let [slots, all, role_limit, of_role, database_limit, of_database] = row;
            let row = [slots, all, role_limit, of_role, database_limit, of_database, 3];
            let said = said(&row, open).expect("a whole row");
            assert_eq!(said.blocked, 3);
            said.room
        };
        // Of 97 slots others use 10.
        assert_eq!(room([97, 15, -1, 5, -1, 5], 5), 85);
        // The role may have 20, of which others use 2.
        assert_eq!(room([97, 15, 20, 7, -1, 5], 5), 18);
        assert_eq!(room([97, 15, 20, 7, 9, 6], 5), 8);
        // One at least: whoever gets it finds out.
        assert_eq!(room([7, 30, -1, 5, -1, 5], 5), 1);
        // Being opened, they are ours but not yet the server's.
        assert_eq!(room([97, 2, -1, 2, -1, 2], 4), 95);
        assert_eq!(said(&[97, 2], 4), None);
    }
}
