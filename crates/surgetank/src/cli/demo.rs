//! `surgetank demo`: the story.

use std::path::PathBuf;

use anyhow::Context;
use report::text::Style;

use super::PostgresArgs;
use crate::demo::{self, Options, SECONDS_BOUNDS, SECONDS_DEFAULT, Tale};
use crate::exit::Exit;
use crate::out;
use crate::progress::Progress;
use crate::shutdown::until_interrupted;

/// Play a platform engineer's day on a real PostgreSQL with a real app
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 if every act did what it says, 1 if one did not.")]
pub(crate) struct Args {
    /// Seconds of load in all acts together
    #[arg(long, value_name = "N", default_value_t = SECONDS_DEFAULT)]
    #[arg(value_parser = clap::value_parser!(u32).range(SECONDS_BOUNDS))]
    seconds: u32,

    /// Seed of everything random; the same seed gives the same arrivals
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Leave a job of the shop's worker out
    #[arg(long, value_name = "JOB", value_parser = ["report", "restock"])]
    without: Vec<String>,

    /// The HTML report to write
    #[arg(long, value_name = "FILE.html", default_value = "surgetank-report.html")]
    report: PathBuf,

    /// Where the recordings go, to be looked at afterwards [default: a new temporary folder]
    #[arg(long, value_name = "FOLDER")]
    recordings: Option<PathBuf>,

    /// Print one JSON object instead of the summary
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    postgres: PostgresArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    // A report that cannot be written must not be found out after four minutes.
    check_writable(&args.report)?;
    let recordings = match args.recordings {
        Some(folder) => folder,
        None => recordings_folder()?,
    };
    let options = Options {
        seconds: args.seconds,
        seed: args.seed,
        without: args.without,
        recordings: recordings.clone(),
        postgres: args.postgres,
    };
    let progress = Progress::new();
    let played = until_interrupted(demo::play(&options, &progress));
    progress.done();
    let tale = match played {
        Ok(tale) => tale,
        Err(error) => {
            // Without a tale nobody knows of the recordings: they would only be left behind.
            std::fs::remove_dir_all(&recordings).ok();
            return Err(error);
        }
    };
    let exit = tell(&tale, &args.report, args.json)?;
    out::talk(&format!("recordings: {}", recordings.display()));
    Ok(exit)
}

fn tell(tale: &Tale, path: &std::path::Path, json: bool) -> anyhow::Result<Exit> {
    let now = out::time_for_people();
    let story = tale.report(now);
    std::fs::write(path, report::html::story(&story))
        .with_context(|| path.display().to_string())?;
    if json {
        out::line(&report::json::pretty(&report::json::Story::from(&story)))?;
    } else {
        let style = if out::colour() { Style::Ansi } else { Style::Plain };
        out::line(&report::text::story(&story, style, out::width()))?;
    }
    out::talk(&format!("report: {}", path.display()));
    Ok(if tale.is_ok() { Exit::Good } else { Exit::BadAnswer })
}

fn check_writable(path: &std::path::Path) -> anyhow::Result<()> {
    let existed = path.exists();
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.with_context(|| format!("--report {}", path.display()))?;
    if !existed {
        std::fs::remove_file(path).ok();
    }
    Ok(())
}

/// A folder of its own for each run, kept for the person who reads the report.
fn recordings_folder() -> anyhow::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("surgetank-recordings-").tempdir()?;
    Ok(folder.keep())
}
