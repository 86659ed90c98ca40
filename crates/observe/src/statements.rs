//! What each statement cost so far: `pg_stat_statements`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Row, Statement};
use trace::{Clock, Event, Fingerprint, Micros, Sink, StatementSampled};

use crate::connection::Connection;
use crate::error::Error;
use crate::seen::Seen;

/// Totals without texts, which the server need then not read from its file. `{schema}` is where the
/// extension lives; `{time}` is `total_exec_time`, before version 13 `total_time`.
const TOTALS: &str = "
    SELECT queryid, calls, ({time} * 1000)::bigint, rows, shared_blks_hit + shared_blks_read
    FROM {schema}.pg_stat_statements(false)
    WHERE queryid IS NOT NULL
      AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Texts of statements not yet known.
const TEXTS: &str = "
    SELECT queryid, query
    FROM {schema}.pg_stat_statements(true)
    WHERE query IS NOT NULL AND queryid = ANY($1)";

/// Texts are asked for at most so often: the server reads a file of all texts for it.
const TEXTS_PERIOD: Duration = Duration::from_secs(5);
/// Statements known by identifier; beyond, new ones are not told.
const MOST_STATEMENTS: usize = 20_000;

/// The prepared questions, and what was told last.
#[derive(Debug)]
pub(crate) struct Statements {
    totals: Statement,
    texts: Statement,
    texts_asked: Option<Instant>,
    by_query_id: HashMap<i64, Fingerprint>,
    told: HashMap<Fingerprint, StatementSampled>,
}

/// Whether to ask for new texts though it was done a moment ago.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texts {
    WhenDue,
    Now,
}

/// The schema of the extension, quoted; `None` if it is not installed in this database.
pub(crate) async fn schema(connection: &Connection) -> Result<Option<String>, Error> {
    let rows = connection
        .ask(
            "SELECT quote_ident(n.nspname) FROM pg_extension e
             JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'",
            &[],
        )
        .await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The name of the column with the time of execution.
pub(crate) fn time_column(version: i32) -> &'static str {
    if version >= 130_000 { "total_exec_time" } else { "total_time" }
}

impl Statements {
    /// `None` if the extension is not installed.
    pub(crate) async fn prepare(
        connection: &Connection,
        version: i32,
    ) -> Result<Option<Self>, Error> {
        let Some(schema) = schema(connection).await? else { return Ok(None) };
        let question =
            |text: &str| text.replace("{schema}", &schema).replace("{time}", time_column(version));
        Ok(Some(Self {
            totals: connection.prepare(&question(TOTALS)).await?,
            texts: connection.prepare(&question(TEXTS)).await?,
            texts_asked: None,
            by_query_id: HashMap::new(),
            told: HashMap::new(),
        }))
    }

    /// Statements by the server's own identifier.
    pub(crate) fn by_query_id(&self) -> &HashMap<i64, Fingerprint> {
        &self.by_query_id
    }

    /// Samples once; only statements that were called since are told.
    pub(crate) async fn sample(
        &mut self,
        connection: &Connection,
        texts: Texts,
        seen: &Seen,
        clock: Clock,
        sink: &dyn Sink,
    ) -> Result<(), Error> {
        let rows = connection.query(&self.totals, &[]).await?;
        let at = clock.now();
        self.learn_texts(connection, &rows, texts, seen, clock, sink).await?;
        // Several rows are one statement for us: other roles, other lengths of a list.
        let mut totals: BTreeMap<Fingerprint, StatementSampled> = BTreeMap::new();
        for row in &rows {
            if let Some(&statement) = self.by_query_id.get(&row.get(0)) {
                add(totals.entry(statement).or_insert(none_yet(statement)), row);
            }
        }
        for (statement, sample) in totals {
            if self.told.get(&statement) != Some(&sample) {
                let event = StatementSampled { at, ..sample.clone() };
                sink.record(Event::StatementSampled(Box::new(event)));
                self.told.insert(statement, sample);
            }
        }
        Ok(())
    }

    async fn learn_texts(
        &mut self,
        connection: &Connection,
        rows: &[Row],
        texts: Texts,
        seen: &Seen,
        clock: Clock,
        sink: &dyn Sink,
    ) -> Result<(), Error> {
        let unknown: Vec<i64> = rows
            .iter()
            .map(|row| row.get(0))
            .filter(|query_id| !self.by_query_id.contains_key(query_id))
            .collect();
        let due = texts == Texts::Now
            || self.texts_asked.is_none_or(|asked| asked.elapsed() >= TEXTS_PERIOD);
        if unknown.is_empty() || !due || self.by_query_id.len() >= MOST_STATEMENTS {
            return Ok(());
        }
        self.texts_asked = Some(Instant::now());
        for row in connection.query(&self.texts, &[&unknown]).await? {
            let text: &str = row.get(1);
            // `<insufficient privilege>`: the role is no member of pg_read_all_stats.
            if !text.starts_with('<') {
                self.by_query_id.insert(row.get(0), seen.meet(text, clock, sink));
            }
        }
        Ok(())
    }
}

/// Without its time, so that two samples can be compared.
fn none_yet(statement: Fingerprint) -> StatementSampled {
    StatementSampled {
        at: Micros::ZERO,
        statement,
        calls: 0,
        exec: Micros::ZERO,
        rows: 0,
        blocks: 0,
    }
}

fn add(total: &mut StatementSampled, row: &Row) {
    let count = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    total.calls += count(1);
    total.exec = total.exec + Micros(count(2));
    total.rows += count(3);
    total.blocks += count(4);
}
