//! `surgetank report [RECORDING] -o FILE.html`: the diagnosis as one page.

use std::path::PathBuf;

use anyhow::Context;

use crate::exit::Exit;
use crate::out;

/// Write the diagnosis of a recording as one HTML file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The recording's folder; the newest one of the app in this folder if not given
    recording: Option<PathBuf>,
    /// The file to write
    #[arg(short, long, value_name = "FILE.html", default_value = "surgetank-report.html")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let (path, recording) = super::record::open(args.recording.as_deref())?;
    let diagnosis = diagnose::diagnose(&recording);
    let now = out::time_for_people();
    let page = report::html::diagnosis(&diagnosis, &path.display().to_string(), &now);
    std::fs::write(&args.output, page).with_context(|| args.output.display().to_string())?;
    out::talk(&format!("wrote {}", args.output.display()));
    Ok(Exit::Good)
}
