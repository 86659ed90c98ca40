//! What each client's backend does: `pg_stat_activity`.

use std::collections::HashMap;

use tokio_postgres::{Row, Statement};
use trace::{ActivitySampled, BackendPid, BackendSample, Clock, Event, Fingerprint, Micros, Sink};

use crate::connection::Connection;
use crate::error::Error;
use crate::seen::Seen;

/// `{query_id}` is 0 where the version has none (before 14).
///
/// A text as long as the server keeps at most was cut: its end is missing.
const ACTIVITY: &str = "
    SELECT pid,
           coalesce(state, ''),
           coalesce(wait_event_type || ':' || wait_event, ''),
           coalesce(extract(epoch FROM clock_timestamp() - xact_start) * 1e6, 0)::bigint,
           coalesce(query, ''),
           octet_length(query) >= pg_size_bytes(current_setting('track_activity_query_size')) - 1,
           {query_id},
           coalesce(application_name, '')
    FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// The prepared question.
#[derive(Debug)]
pub(crate) struct Activity {
    statement: Statement,
}

/// What the sampler must know of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockWaits {
    None,
    Some,
}

impl Activity {
    pub(crate) async fn prepare(connection: &Connection, version: i32) -> Result<Self, Error> {
        let query_id = if version >= 140_000 { "coalesce(query_id, 0)" } else { "0::bigint" };
        let statement = connection.prepare(&ACTIVITY.replace("{query_id}", query_id)).await?;
        Ok(Self { statement })
    }

    /// Samples once. `by_query_id` tells statements whose text the server has cut.
    pub(crate) async fn sample(
        &self,
        connection: &Connection,
        by_query_id: &HashMap<i64, Fingerprint>,
        seen: &Seen,
        clock: Clock,
        sink: &dyn Sink,
    ) -> Result<LockWaits, Error> {
        let rows = connection.query(&self.statement, &[]).await?;
        let at = clock.now();
        let mut lock_waits = LockWaits::None;
        let backends = rows.iter().map(|row| {
            let statement = statement(row, by_query_id, seen, clock, sink);
            let sample = backend(row, statement);
            if sample.wait.starts_with("Lock:") {
                lock_waits = LockWaits::Some;
            }
            if &*sample.state == "active" {
                seen.at_work(statement);
            }
            sample
        });
        let backends = backends.collect();
        sink.record(Event::ActivitySampled(Box::new(ActivitySampled { at, backends })));
        Ok(lock_waits)
    }
}

fn backend(row: &Row, statement: Fingerprint) -> BackendSample {
    let text = |column: usize| row.get::<_, &str>(column).into();
    BackendSample {
        pid: BackendPid(row.get(0)),
        state: text(1),
        wait: text(2),
        // Negative only if the server's clock was set back.
        transaction_age: Micros(u64::try_from(row.get::<_, i64>(3)).unwrap_or(0)),
        statement,
        application: text(7),
    }
}

fn statement(
    row: &Row,
    by_query_id: &HashMap<i64, Fingerprint>,
    seen: &Seen,
    clock: Clock,
    sink: &dyn Sink,
) -> Fingerprint {
    let text: &str = row.get(4);
    let is_cut: Option<bool> = row.get(5);
    // The server says `<insufficient privilege>` and the like where we may not read.
    if text.is_empty() || text.starts_with('<') {
        return Fingerprint::NONE;
    }
    if is_cut == Some(true) {
        return by_query_id.get(&row.get(6)).copied().unwrap_or_default();
    }
    seen.meet(text, clock, sink)
}
