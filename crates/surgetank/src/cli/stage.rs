//! `surgetank stage`: as `up`, in surroundings as production has them; says what differs.

mod fidelity;
mod production;

use std::path::PathBuf;

use anyhow::Context;

use super::up::{self, Surroundings};
use crate::exit::Exit;
use crate::out;
use crate::staging::{Database, Staging};
use fidelity::Actual;
use production::Production;

/// What each kind of source tells.
const SOURCES: &str = r#"A recording says formation and sizes, names of config vars (no
values), PostgreSQL's settings and how far it is, and why requests failed: the table then says
which differences matter for that. An app.json says
formation and sizes, config vars and the database's plan, which has a connection limit. A TOML
file says what you know:

    config = ["STRIPE_KEY"]
    round_trip = "1.2ms"
    [formation]
    web = { quantity = 2, size = "Standard-1X" }
    [postgresql]
    max_connections = 120

What is said on the command line goes before what the source says."#;

/// Run the app as `up` does, with formation and PostgreSQL as in production
#[derive(Debug, clap::Args)]
#[command(after_help = SOURCES)]
// `up` has a group of this name already.
#[group(skip)]
pub(crate) struct Args {
    /// A recording's folder, Heroku's app.json, or a TOML file
    #[arg(long, value_name = "RECORDING|app.json|FILE")]
    from: PathBuf,

    #[command(flatten)]
    up: up::Args,
}

/// Settings that staging can take over: what the others say is of the machine or of the server's
/// program. `superuser_reserved_connections` is ours, as our own observer needs them.
const SETTABLE: &[&str] = &[
    "work_mem",
    "effective_cache_size",
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
];

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let mut production = Production::read(&args.from)?;
    let mut up = args.up;
    let procfile = platform::Procfile::read(&up.app)?;
    let formation = production.formation_for(&procfile);
    if up.formation.is_empty() {
        up.formation = formation;
    }
    if up.max_connections.is_none()
        && let Some(limit) = production.settings.get("max_connections")
    {
        let limit = limit.parse().with_context(|| format!("max_connections = {limit}"))?;
        up.max_connections = Some(limit);
    }
    for var in &production.config {
        let given = up.env.iter().any(|(name, _)| *name == var.name);
        if let (false, Some(value)) = (given, &var.value) {
            up.env.push((var.name.clone(), value.clone()));
        }
    }
    let settable = |name: &str| SETTABLE.contains(&name);
    let settings = production.settings.iter().filter(|(name, _)| settable(name));
    let surroundings = Surroundings {
        settings: settings.map(|(name, value)| (name.clone(), value.clone())).collect(),
        round_trip: production.round_trip,
    };
    up::run_in(up, surroundings, async |database, staging| {
        let actual = actual(&production, database, staging).await?;
        out::talk(&fidelity::table(&production, &fidelity::compare(&production, &actual)));
        Ok(())
    })
}

/// What staging turned out to be, asked of what runs.
async fn actual(
    production: &Production,
    database: &Database,
    staging: &Staging,
) -> anyhow::Result<Actual> {
    let mut actual = Actual::default();
    for dyno in staging.dynos().ps() {
        let of_type = dyno.name.process_type().to_owned();
        if staging.has_limits() {
            actual.sizes.insert(of_type.clone(), dyno.size);
        }
        *actual.formation.entry(of_type).or_default() += 1;
    }
    actual.config = staging.config_names();
    let admin = database.admin().await?;
    let names: Vec<&str> = production.settings.keys().map(String::as_str).collect();
    let settings = "SELECT name, current_setting(name, true) FROM unnest($1::text[]) AS name \
                    WHERE current_setting(name, true) IS NOT NULL";
    for row in admin.query(settings, &[&names]).await? {
        actual.settings.insert(row.get(0), row.get(1));
    }
    let tables = "SELECT schemaname || '.' || relname, n_live_tup FROM pg_stat_user_tables";
    for row in admin.query(tables, &[]).await? {
        let rows: i64 = row.get(1);
        actual.tables.insert(row.get(0), u64::try_from(rows).unwrap_or(0));
    }
    actual.round_trip = Some(staging.round_trip(database).await?);
    Ok(actual)
}
