//! `surgetank pg:info`: the database of the app that `surgetank up` runs here, as `heroku pg:info`
//! tells it.

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::up::control;
use crate::exit::Exit;
use crate::out;

/// Show the state of the app's database
#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What PostgreSQL says of itself. `$1` is the name under which we ask: we do not count.
const INFO: &str = "
    SELECT current_setting('server_version'),
           pg_size_pretty(pg_database_size(current_database())),
           (SELECT count(*) FROM pg_catalog.pg_stat_user_tables),
           (SELECT count(*) FROM pg_catalog.pg_stat_activity
             WHERE backend_type = 'client backend' AND application_name <> $1),
           current_setting('max_connections')::bigint,
           to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI UTC')";
const OURS: &str = "surgetank pg:info";

struct Info {
    version: String,
    size: String,
    tables: i64,
    connections: i64,
    max_connections: i64,
    since: String,
}

pub(crate) fn info(args: &InfoArgs) -> anyhow::Result<Exit> {
    let info = control(async |client| {
        let config = client.config().await?;
        ask(config.get("DATABASE_URL").context("the app has no DATABASE_URL")?).await
    })?;
    let Info { version, size, tables, connections, max_connections, since } = &info;
    if args.json {
        return out::data(&serde_json::to_string_pretty(&serde_json::json!({
            "pg_version": version, "data_size": size, "tables": tables,
            "connections": connections, "max_connections": max_connections, "created": since,
        }))?);
    }
    out::line("=== DATABASE_URL\n")?;
    out::line(&format!("Status:      Available\nConnections: {connections}/{max_connections}"))?;
    out::line(&format!("PG Version:  {version}\nCreated:     {since}"))?;
    out::data(&format!("Data Size:   {size}\nTables:      {tables}"))
}

async fn ask(url: &str) -> anyhow::Result<Info> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config.application_name(OURS);
    let (client, connection) = config.connect(NoTls).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // What breaks here is seen by whoever waits for the answer.
        let _broken = connection.await;
    });
    let row = client.query_one(INFO, &[&OURS]).await?;
    Ok(Info {
        version: row.try_get(0)?,
        size: row.try_get(1)?,
        tables: row.try_get(2)?,
        connections: row.try_get(3)?,
        max_connections: row.try_get(4)?,
        since: row.try_get(5)?,
    })
}
