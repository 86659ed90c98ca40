//! How PostgreSQL would execute the statements that cost most: generic plans, nothing is executed.

use std::collections::HashSet;

use tokio_postgres::{Config, SimpleQueryMessage};
use trace::{Clock, Event, Fingerprint, PlanSeen, Sink};

use crate::connection::Connection;
use crate::error::Error;
use crate::seen::Seen;
use crate::{settings, statements};

/// The role that ran a statement is taken on for its plan where we may: its `"$user"` schema and
/// its rights decide what the names in the text mean.
const TOP_STATEMENTS: &str = "
    SELECT s.query,
           CASE WHEN r.rolname <> current_user AND pg_has_role(current_user, r.oid, 'MEMBER')
                THEN quote_ident(r.rolname) END
    FROM {schema}.pg_stat_statements(true) s
    JOIN pg_roles r ON r.oid = s.userid
    WHERE s.query IS NOT NULL
      AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY s.{time} DESC
    LIMIT 200";

/// A generic plan: that of any values, so it holds no user's data.
const BEGIN: &str = "
    BEGIN READ ONLY;
    SET LOCAL plan_cache_mode = force_generic_plan";

const NAME: &str = "surgetank_plan";

/// A statement to be explained.
struct Candidate {
    text: String,
    /// Quoted.
    role: Option<String>,
}

/// Tells the plans of up to `count` statements; how many were told.
pub(crate) async fn capture(
    config: &Config,
    count: usize,
    seen: &Seen,
    clock: Clock,
    sink: &dyn Sink,
) -> Result<usize, Error> {
    // A session of its own: sampling goes on, and what is left behind ends with it.
    let connection = Connection::open(config).await?;
    connection.restrain().await?;
    let mut told = HashSet::new();
    for candidate in candidates(&connection, seen).await? {
        if told.len() >= count {
            break;
        }
        let statement = Fingerprint(sql::fingerprint(&candidate.text));
        if told.contains(&statement) || !can_be_explained(&candidate.text) {
            continue;
        }
        match explain(&connection, &candidate).await {
            Ok(Some(json)) => {
                seen.meet(&candidate.text, clock, sink);
                let plan = PlanSeen { at: clock.now(), statement, json: json.into() };
                sink.record(Event::PlanSeen(Box::new(plan)));
                told.insert(statement);
            }
            Ok(None) => {}
            Err(error) if error.ends_session() => return Err(error),
            // Types that cannot be inferred, rights that we lack: there is a next one.
            Err(error) => tracing::debug!(%error, statement = candidate.text, "no plan"),
        }
    }
    Ok(told.len())
}

/// By total time where the server counts it, else by how often they were seen at work.
async fn candidates(connection: &Connection, seen: &Seen) -> Result<Vec<Candidate>, Error> {
    let counted = match by_total_time(connection).await {
        // Installed, but not loaded by the server.
        Err(Error::Refused(_)) => Vec::new(),
        other => other?,
    };
    if !counted.is_empty() {
        return Ok(counted);
    }
    let busiest = seen.busiest().into_iter();
    Ok(busiest.map(|text| Candidate { text: text.into(), role: None }).collect())
}

async fn by_total_time(connection: &Connection) -> Result<Vec<Candidate>, Error> {
    let Some(schema) = statements::schema(connection).await? else { return Ok(Vec::new()) };
    let time = statements::time_column(settings::version(connection).await?);
    let question = TOP_STATEMENTS.replace("{schema}", &schema).replace("{time}", time);
    let rows = connection.ask(&question, &[]).await?;
    let candidate = |row: &tokio_postgres::Row| Candidate {
        text: sql::normalise(row.get(0)),
        role: row.get(1),
    };
    Ok(rows.iter().map(candidate).collect())
}

fn can_be_explained(text: &str) -> bool {
    use sql::Kind::{Delete, Insert, Select, Update};
    matches!(sql::read(text).kind, Select | Insert | Update | Delete)
}

/// The generic plan as JSON; `None` if the server gave none.
async fn explain(connection: &Connection, candidate: &Candidate) -> Result<Option<String>, Error> {
    connection.simple(BEGIN).await?;
    let plan = explain_in_transaction(connection, candidate).await;
    if matches!(&plan, Err(error) if error.ends_session()) {
        return plan;
    }
    connection.simple("ROLLBACK").await?;
    // PREPARE outlives its transaction; where it failed, there is nothing to take back.
    match connection.simple(&format!("DEALLOCATE {NAME}")).await {
        Err(error) if error.ends_session() => Err(error),
        Ok(_) | Err(_) => plan,
    }
}

async fn explain_in_transaction(
    connection: &Connection,
    candidate: &Candidate,
) -> Result<Option<String>, Error> {
    if let Some(role) = &candidate.role {
        connection.simple(&format!("SET LOCAL ROLE {role}")).await?;
    }
    // By the extended protocol, which refuses a text of several statements: nothing behind a `;`
    // can ever be executed here.
    connection.ask(&format!("PREPARE {NAME} AS {}", candidate.text), &[]).await?;
    let rows = connection
        .ask(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1",
            &[&NAME],
        )
        .await?;
    let parameters: i32 = rows.first().map_or(0, |row| row.get(0));
    let nulls = vec!["NULL"; usize::try_from(parameters).unwrap_or(0)].join(", ");
    let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE {NAME}{arguments}");
    let messages = connection.simple(&explain).await?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
