//! Who waits for whose lock: `pg_locks` and `pg_blocking_pids`.
//!
//! `pg_locks` stops all lock managers for a moment, so it is read only when the sample of activity
//! has somebody who waits.

use tokio_postgres::Statement;
use trace::{BackendPid, Clock, Event, LockWaitSampled, Sink};

use crate::connection::Connection;
use crate::error::Error;

/// A waiter for a row waits for the transaction that holds it, and `transactionid` says nothing of
/// the table; but the first in the row's queue holds its `tuple` lock, and that does.
const LOCK_WAITS: &str = "
    WITH locks AS MATERIALIZED (
        SELECT pid, granted, locktype, mode,
               CASE WHEN database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    THEN relation END AS relation
        FROM pg_locks
        WHERE NOT granted OR locktype = 'tuple'
    )
    SELECT waiter.pid, pg_blocking_pids(waiter.pid), waiter.mode,
           coalesce(n.nspname || '.' || c.relname, waiter.locktype)
    FROM locks waiter
    LEFT JOIN locks row_queue
           ON row_queue.pid = waiter.pid AND row_queue.granted AND waiter.locktype = 'transactionid'
    LEFT JOIN pg_class c ON c.oid = coalesce(waiter.relation, row_queue.relation)
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT waiter.granted";

/// The prepared question.
#[derive(Debug)]
pub(crate) struct Locks {
    statement: Statement,
}

impl Locks {
    pub(crate) async fn prepare(connection: &Connection) -> Result<Self, Error> {
        Ok(Self { statement: connection.prepare(LOCK_WAITS).await? })
    }

    /// Samples once.
    pub(crate) async fn sample(
        &self,
        connection: &Connection,
        clock: Clock,
        sink: &dyn Sink,
    ) -> Result<(), Error> {
        let rows = connection.query(&self.statement, &[]).await?;
        let at = clock.now();
        for row in rows {
            let blockers: Vec<i32> = row.get(1);
            // 0 stands for a prepared transaction, which has no backend.
            let blockers = blockers.into_iter().map(BackendPid).collect();
            sink.record(Event::LockWaitSampled(Box::new(LockWaitSampled {
                at,
                waiter: BackendPid(row.get(0)),
                blockers,
                mode: row.get::<_, &str>(2).into(),
                target: row.get::<_, &str>(3).into(),
            })));
        }
        Ok(())
    }
}
