//! `surgetank record list|show|requests`: which recordings there are, and what is in one.

mod requests;

use std::path::{Path, PathBuf};

use anyhow::Context;
use recording::Recording;
use trace::Event;

use crate::exit::{Exit, Unavailable};
use crate::out;

/// Where `surgetank up` keeps recordings, below the app's folder.
pub(crate) const FOLDER: &str = ".surgetank/recordings";

/// Look at recordings
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the recordings of the app in this folder, oldest first
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Count what one recording holds
    Show {
        /// The recording's folder; the newest one if not given
        recording: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Requests(requests::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::List { json } => list(*json),
        Verb::Show { recording, json } => show(recording.as_deref(), *json),
        Verb::Requests(args) => requests::run(args),
    }
}

/// Reads the recording that was named, or the newest of the app in this folder. What is missing
/// at its end, or was lost in it, is said on stderr.
pub(crate) fn open(named: Option<&Path>) -> anyhow::Result<(PathBuf, Recording)> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => recordings()?.pop().ok_or_else(|| {
            Unavailable(format!("no recording in {FOLDER}: name one, or run `surgetank up` here"))
        })?,
    };
    let recording =
        Recording::read(&path).with_context(|| format!("recording {}", path.display()))?;
    if let Some(why) = recording.truncated() {
        out::talk(&format!("surgetank: the recording ends early: {why}; all before it is used"));
    }
    if recording.lost() > 0 {
        out::talk(&format!("surgetank: {} events were lost under pressure", recording.lost()));
    }
    Ok((path, recording))
}

/// All recordings below this folder; their names begin with their time, so the last is the newest.
fn recordings() -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(FOLDER),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn list(json: bool) -> anyhow::Result<Exit> {
    let paths = recordings()?;
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if json {
        return out::data(&serde_json::to_string_pretty(&names)?);
    }
    if names.is_empty() {
        out::talk(&format!("no recording in {FOLDER}"));
        return Ok(Exit::Good);
    }
    out::data(&names.join("\n"))
}

fn show(named: Option<&Path>, json: bool) -> anyhow::Result<Exit> {
    let (path, recording) = open(named)?;
    let count = |is: fn(&Event) -> bool| recording.events().iter().filter(|e| is(e)).count();
    let (from, to) = recording.span();
    let facts = [
        ("database requests", count(|event| matches!(event, Event::Request(_)))),
        ("http requests", count(|event| matches!(event, Event::HttpServed(_)))),
        ("client connections", count(|event| matches!(event, Event::SessionOpened { .. }))),
        ("server connections", count(|event| matches!(event, Event::ServerOpened { .. }))),
        ("refusals", count(|event| matches!(event, Event::RequestRefused(_)))),
        ("activity samples", count(|event| matches!(event, Event::ActivitySampled(_)))),
        ("lock waits", count(|event| matches!(event, Event::LockWaitSampled(_)))),
        ("statements", count(|event| matches!(event, Event::StatementSeen(_)))),
        ("plans", count(|event| matches!(event, Event::PlanSeen(_)))),
        ("error lines", count(|event| matches!(event, Event::LineLogged(_)))),
    ];
    let seconds = to.since(from).as_secs_f64();
    if json {
        let counts: serde_json::Map<String, serde_json::Value> =
            facts.iter().map(|(name, n)| (name.replace(' ', "_"), (*n).into())).collect();
        return out::data(&serde_json::to_string_pretty(&serde_json::json!({
            "recording": path,
            "seconds": seconds,
            "lost": recording.lost(),
            "truncated": recording.truncated(),
            "events": counts,
        }))?);
    }
    out::line(&format!("{}: {seconds:.1} s, {} events lost", path.display(), recording.lost()))?;
    let lines: Vec<String> = facts.iter().map(|(name, n)| format!("{n:>10}  {name}")).collect();
    out::data(&lines.join("\n"))
}
