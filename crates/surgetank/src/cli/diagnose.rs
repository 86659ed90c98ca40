//! `surgetank diagnose [RECORDING]`: the cause, with evidence.

use std::path::PathBuf;

use report::text::Style;

use crate::exit::Exit;
use crate::out;

/// Name the cause of the failures in a recording
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 if nothing is wrong, 1 if a cause was found.")]
pub(crate) struct Args {
    /// The recording's folder; the newest one of the app in this folder if not given
    recording: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let (_, recording) = super::record::open(args.recording.as_deref())?;
    let diagnosis = diagnose::diagnose(&recording);
    if args.json {
        out::line(&report::json::pretty(&report::json::Diagnosis::from(&diagnosis)))?;
    } else {
        let style = if out::colour() { Style::Ansi } else { Style::Plain };
        out::line(&report::text::diagnosis(&diagnosis, style, out::width()))?;
    }
    Ok(if diagnosis.findings.is_empty() { Exit::Good } else { Exit::BadAnswer })
}
