//! What the database says in the app's log: PostgreSQL's own lines, and each minute how it is, in
//! the words of Heroku Postgres ("Heroku Postgres metrics logs").

use std::time::Duration;

use platform::{LogHub, Source};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::{Config, NoTls, Row};

use super::Database;

/// As often as Heroku tells it.
const EVERY: Duration = Duration::from_secs(60);
/// What asks does not count as the app's.
const OURS: &str = "surgetank samples";

/// No transaction id is used up by asking. Rates are of all that was asked since the statistics
/// were last reset, and 0.99 where nothing was asked yet would be a claim: then there is none.
const SAMPLE: &str = "
    SELECT txid_snapshot_xmax(txid_current_snapshot()),
           pg_database_size(current_database()),
           (SELECT count(*) FROM pg_catalog.pg_stat_user_tables),
           (SELECT count(*) FROM pg_catalog.pg_stat_activity
             WHERE datname = current_database() AND backend_type = 'client backend'
               AND usename <> current_user),
           (SELECT count(*) FROM pg_catalog.pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'),
           (SELECT sum(idx_blks_hit)::float8 / nullif(sum(idx_blks_hit + idx_blks_read), 0)::float8
              FROM pg_catalog.pg_statio_user_indexes),
           (SELECT sum(heap_blks_hit)::float8
                   / nullif(sum(heap_blks_hit + heap_blks_read), 0)::float8
              FROM pg_catalog.pg_statio_user_tables)";

/// Writes both into the log for as long as what it returns is kept.
pub(super) fn tell(database: &Database, hub: &LogHub) -> JoinSet<()> {
    let mut told = JoinSet::new();
    let (log, lines) = (database.log_path().to_owned(), hub.clone());
    told.spawn(async move {
        if let Err(error) = lines.follow_file(&log, "postgres").await {
            tracing::warn!(%error, "PostgreSQL's log is not told");
        }
    });
    let mut config = database.observer_config();
    config.application_name(OURS);
    let hub = hub.clone();
    told.spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match sample(&config).await {
                Ok(line) => hub.write(Source::App, "heroku-postgres", &line),
                // It may be down: then its own lines say so.
                Err(error) => tracing::debug!(%error, "no sample of PostgreSQL"),
            }
        }
    });
    told
}

/// A session for each, so that none is held in between: the app may need all there are.
async fn sample(config: &Config) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // What breaks here is seen by whoever waits for the answer.
        let _broken = connection.await;
    });
    Ok(line(&client.query_one(SAMPLE, &[]).await?, &Machine::read()))
}

fn line(row: &Row, machine: &Machine) -> String {
    let counts: [(&str, i64, &str); 5] = [
        ("current_transaction", row.get(0), ""),
        ("db_size", row.get(1), "bytes"),
        ("tables", row.get(2), ""),
        ("active-connections", row.get(3), ""),
        ("waiting-connections", row.get(4), ""),
    ];
    let rates: [(&str, Option<f64>); 2] =
        [("index-cache-hit-rate", row.get(5)), ("table-cache-hit-rate", row.get(6))];
    let mut text = "source=DATABASE".to_owned();
    for (name, count, unit) in counts {
        text += &format!(" sample#{name}={count}{unit}");
    }
    for (name, rate) in rates {
        text += &rate.map(|rate| format!(" sample#{name}={rate:.5}")).unwrap_or_default();
    }
    text + &machine.words()
}

/// The machine on which PostgreSQL runs, which is this one; nothing where it does not tell.
#[derive(Debug, Default)]
struct Machine {
    load: String,
    memory: String,
    processors: usize,
}

impl Machine {
    fn read() -> Self {
        let file = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { load: file("/proc/loadavg"), memory: file("/proc/meminfo"), processors }
    }

    /// Heroku divides the load by the number of processors.
    #[expect(clippy::cast_precision_loss, reason = "there are few processors")]
    fn words(&self) -> String {
        let mut words = String::new();
        let loads = self.load.split_ascii_whitespace().map_while(|load| load.parse::<f64>().ok());
        for (name, load) in ["1m", "5m", "15m"].into_iter().zip(loads) {
            words += &format!(" sample#load-avg-{name}={:.3}", load / self.processors as f64);
        }
        for (name, field) in [("total", "MemTotal:"), ("free", "MemFree:"), ("cached", "Cached:")] {
            let line = self.memory.lines().find_map(|line| line.strip_prefix(field));
            let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next());
            words += &kilobytes
                .map(|kilobytes| format!(" sample#memory-{name}={kilobytes}kB"))
                .unwrap_or_default();
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_in_herokus_words() {
        let machine = Machine {
            load: "2.84 1.00 0.50 3/120 4711\n".to_owned(),
            memory: "MemTotal:  1692568 kB\nMemFree:  73876 kB\nMemAvailable: 1 kB\n\
                     Cached:  1344128 kB\nSwapCached: 7 kB\n"
                .to_owned(),
            processors: 2,
        };
        assert_eq!(
            machine.words(),
            " sample#load-avg-1m=1.420 sample#load-avg-5m=0.500 sample#load-avg-15m=0.250 \
             sample#memory-total=1692568kB sample#memory-free=73876kB \
             sample#memory-cached=1344128kB"
        );
        assert_eq!(Machine::default().words(), "");
    }
}
