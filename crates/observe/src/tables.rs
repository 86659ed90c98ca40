//! How tables are read: `pg_stat_user_tables`.

use std::collections::HashMap;

use tokio_postgres::{Row, Statement};
use trace::{Clock, Event, Micros, Sink, TableSampled};

use crate::connection::Connection;
use crate::error::Error;

/// The most read tables of a database with very many.
const TABLES: &str = "
    SELECT schemaname || '.' || relname,
           coalesce(seq_scan, 0), coalesce(seq_tup_read, 0), coalesce(idx_scan, 0),
           coalesce(n_live_tup, 0)
    FROM pg_stat_user_tables
    ORDER BY coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) DESC, 1
    LIMIT 1000";

/// The prepared question, and what was told last.
#[derive(Debug)]
pub(crate) struct Tables {
    statement: Statement,
    told: HashMap<Box<str>, TableSampled>,
}

impl Tables {
    pub(crate) async fn prepare(connection: &Connection) -> Result<Self, Error> {
        Ok(Self { statement: connection.prepare(TABLES).await?, told: HashMap::new() })
    }

    /// Samples once; only tables that changed are told.
    pub(crate) async fn sample(
        &mut self,
        connection: &Connection,
        clock: Clock,
        sink: &dyn Sink,
    ) -> Result<(), Error> {
        let rows = connection.query(&self.statement, &[]).await?;
        let at = clock.now();
        for row in &rows {
            // Compared without its time.
            let sample = table(row);
            if self.told.get(&sample.table) != Some(&sample) {
                sink.record(Event::TableSampled(Box::new(TableSampled { at, ..sample.clone() })));
                self.told.insert(sample.table.clone(), sample);
            }
        }
        Ok(())
    }
}

fn table(row: &Row) -> TableSampled {
    let count = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    TableSampled {
        at: Micros::ZERO,
        table: row.get::<_, &str>(0).into(),
        seq_scans: count(1),
        seq_rows_read: count(2),
        index_scans: count(3),
        live_rows: count(4),
    }
}
