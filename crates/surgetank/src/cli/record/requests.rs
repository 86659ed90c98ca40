//! `surgetank record requests`: the app's HTTP requests with the database requests they caused.

use std::collections::BTreeMap;

use diagnose::{Journey, ToldBy, journeys};
use recording::Recording;
use serde_json::json;
use trace::{Event, Fingerprint, Micros, Request};

use super::open;
use crate::exit::Exit;
use crate::out;

/// Show HTTP requests with the database requests they caused, the slowest first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recording's folder; the newest one if not given
    recording: Option<std::path::PathBuf>,

    /// Only this request, with each of its database requests: its X-Request-ID, or its trace id
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// At most so many
    #[arg(short, long, default_value_t = 20)]
    num: usize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let (_, recording) = open(args.recording.as_deref())?;
    let names = Names::of(&recording);
    let mut found = journeys(recording.events());
    if let Some(id) = &args.id {
        found.retain(|it| *it.http.request_id == **id || it.http.trace.to_string() == *id);
        anyhow::ensure!(!found.is_empty(), "no request {id} in this recording");
    }
    found.sort_by_key(|it| std::cmp::Reverse(it.http.service));
    found.truncate(args.num);
    if args.json {
        let all: Vec<_> = found.iter().map(|it| names.json(it)).collect();
        return out::data(&serde_json::to_string_pretty(&all)?);
    }
    out::line("   service  database  waiting  requests  told by  status  request")?;
    for journey in &found {
        out::line(&names.line(journey))?;
        if args.id.is_some() {
            for request in &journey.database {
                out::line(&names.database_line(journey, request))?;
            }
        }
    }
    Ok(Exit::Good)
}

/// What ids stand for.
struct Names<'a> {
    dynos: BTreeMap<trace::DynoId, &'a str>,
    statements: BTreeMap<Fingerprint, &'a str>,
}

impl<'a> Names<'a> {
    fn of(recording: &'a Recording) -> Self {
        let mut names = Self { dynos: BTreeMap::new(), statements: BTreeMap::new() };
        for event in recording.events() {
            match event {
                Event::DynoNamed { dyno, name, .. } => {
                    names.dynos.insert(*dyno, name);
                }
                Event::StatementSeen(seen) => {
                    names.statements.insert(seen.fingerprint, &seen.text);
                }
                _ => {}
            }
        }
        names
    }

    fn statement(&self, request: &Request) -> String {
        match self.statements.get(&request.statement) {
            Some(text) => (*text).to_owned(),
            None => format!("({:?})", request.kind).to_lowercase(),
        }
    }

    fn dyno(&self, journey: &Journey<'_>) -> &str {
        self.dynos.get(&journey.http.dyno).copied().unwrap_or("")
    }

    fn line(&self, journey: &Journey<'_>) -> String {
        let http = journey.http;
        format!(
            "{:>8}ms {:>7}ms {:>6}ms  {:>8}  {:<7}  {:<6}  {} {} {} {}{}",
            millis(http.service),
            millis(journey.database_time()),
            millis(journey.queue()),
            journey.database.len(),
            word(journey.told_by),
            http.status,
            self.dyno(journey),
            http.method,
            http.path,
            http.request_id,
            if http.code.is_empty() { String::new() } else { format!(" {}", http.code) },
        )
    }

    fn database_line(&self, journey: &Journey<'_>, request: &Request) -> String {
        let begun = request.arrived.since(journey.http.at - journey.http.service);
        let ended = request.outcome.is_ok();
        let ended = if ended { String::new() } else { format!("  {:?}", request.outcome) };
        format!(
            "  +{:>6}ms {:>7}ms {:>6}ms  {}{ended}",
            millis(begun),
            millis(request.total()),
            millis(request.queue()),
            self.statement(request),
        )
    }

    fn json(&self, journey: &Journey<'_>) -> serde_json::Value {
        let http = journey.http;
        let database = journey.database.iter().map(|request| {
            json!({
                "arrived_us": request.arrived.0,
                "queue_us": request.queue().0,
                "total_us": request.total().0,
                "statement": self.statement(request),
                "ok": request.outcome.is_ok(),
            })
        });
        json!({
            "request_id": http.request_id,
            "trace": http.trace.to_string(),
            "dyno": self.dyno(journey),
            "method": http.method,
            "path": http.path,
            "status": http.status,
            "code": http.code,
            "at_us": http.at.0,
            "service_us": http.service.0,
            "told_by": word(journey.told_by),
            "database": database.collect::<Vec<_>>(),
        })
    }
}

fn word(told_by: ToldBy) -> &'static str {
    match told_by {
        ToldBy::Trace => "trace",
        ToldBy::Time => "time",
        ToldBy::Nothing => "nothing",
    }
}

/// Milliseconds with one digit behind the point.
fn millis(span: Micros) -> String {
    format!("{:.1}", span.as_millis_f64())
}
