//! `surgetank logs`: the app's log lines, as `heroku logs` shows them.

use platform::{LogFilter, Source};

use super::up::control;
use crate::exit::Exit;
use crate::out;

/// Show the app's log lines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with new lines until Ctrl-C
    #[arg(short, long)]
    tail: bool,
    /// Only this dyno (`web.1`), process type (`web`) or `router`
    #[arg(short, long, value_name = "DYNO")]
    dyno: Option<String>,
    /// Only the app, or only the platform
    #[arg(short, long, value_name = "SOURCE", value_parser = ["app", "heroku"])]
    source: Option<String>,
    /// So many lines of history
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    num: usize,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let source = args.source.as_deref().map(|source| match source {
        "app" => Source::App,
        _ => Source::Heroku,
    });
    let filter = LogFilter { dyno: args.dyno.clone(), source, lines: args.num };
    let order = platform::control::LogsOrder { filter, follow: args.tail };
    control(async |client| {
        let mut lines = client.logs(&order).await?;
        while let Some(line) = lines.next().await? {
            out::line(&line)?;
        }
        Ok(())
    })?;
    Ok(Exit::Good)
}
