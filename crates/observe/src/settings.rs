//! The server's settings that a diagnosis needs.

use trace::{Clock, Event, Sink};

use crate::connection::Connection;
use crate::error::Error;

/// Those that a version does not know are left out.
const NAMES: &[&str] = &[
    "server_version",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "shared_buffers",
    "effective_cache_size",
    "work_mem",
    "random_page_cost",
    "max_parallel_workers_per_gather",
    "max_worker_processes",
    "statement_timeout",
    "lock_timeout",
    "deadlock_timeout",
    "idle_in_transaction_session_timeout",
    "default_transaction_isolation",
    "synchronous_commit",
    "track_activity_query_size",
    "shared_preload_libraries",
];

const SETTINGS: &str = "
    SELECT name, current_setting(name, true)
    FROM unnest($1::text[]) AS name
    WHERE current_setting(name, true) IS NOT NULL";

/// Tells the settings as a new session of our role has them. Ask before the session is restrained.
pub(crate) async fn tell(
    connection: &Connection,
    clock: Clock,
    sink: &dyn Sink,
) -> Result<(), Error> {
    for row in connection.ask(SETTINGS, &[&NAMES]).await? {
        let (name, value): (&str, &str) = (row.get(0), row.get(1));
        let (name, value) = (name.into(), value.into());
        sink.record(Event::SettingSeen { at: clock.now(), name, value });
    }
    Ok(())
}

/// The version as a number: 150004 is 15.4.
pub(crate) async fn version(connection: &Connection) -> Result<i32, Error> {
    let rows = connection.ask("SELECT current_setting('server_version_num')::int", &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}
