//! `surgetank run [--dyno A,B] -- CMD`: one command in the environments of dynos, side by side.

use std::time::Duration;

use platform::control::RunOrder;
use platform::{Aspect, DynoName, RunComparison, RunOutcome, RunResult};

use super::up::control;
use crate::exit::Exit;
use crate::out;

/// Run a command in the environment of one dyno, or of several side by side
#[derive(Debug, clap::Args)]
#[command(after_help = "Single quotes keep $PORT for the dyno's shell:\n  \
    surgetank run --dyno web.1,web.2 -- 'curl -s localhost:$PORT/checkout'\n\n\
    Exit code: the command's own; on several dynos 0 if they agree and 1 if they differ.")]
pub(crate) struct Args {
    /// The dynos, `web.1,web.2`
    #[arg(short, long, value_delimiter = ',', default_value = "web.1")]
    dyno: Vec<DynoName>,
    /// Kill it after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The command; several words are joined for the dyno's shell
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let order = RunOrder {
        dynos: args.dyno.clone(),
        command: args.command.join(" "),
        timeout: Duration::from_secs(args.timeout),
    };
    let comparison = control(async |client| Ok(client.run_compare(&order).await?))?;
    if args.json {
        out::line(&serde_json::to_string_pretty(&comparison)?)?;
    } else if let [only] = comparison.results.as_slice() {
        out::talk(only.stderr.trim_end());
        out::line(&only.stdout)?;
    } else {
        out::line(&side_by_side(&comparison))?;
    }
    Ok(match comparison.results.as_slice() {
        [only] => Exit::Passed(code(only)),
        _ if same(&comparison) => Exit::Good,
        _ => Exit::BadAnswer,
    })
}

fn same(comparison: &RunComparison) -> bool {
    !comparison.differs_in(Aspect::Status) && !comparison.differs_in(Aspect::Output)
}

/// As a shell has it: 128 and the signal's number; 124 like timeout(1).
fn code(result: &RunResult) -> u8 {
    let code = match result.outcome {
        RunOutcome::Exited(code) => code,
        RunOutcome::Signalled(signal) => 128 + signal,
        RunOutcome::TimedOut => 124,
    };
    u8::try_from(code).unwrap_or(1)
}

/// One column per dyno, one row per aspect; a row that differs is marked.
fn side_by_side(comparison: &RunComparison) -> String {
    let mut rows = vec![Row::new(" ", "", comparison, |run| run.dyno.to_string())];
    let mark = |aspect| if comparison.differs_in(aspect) { "≠" } else { " " };
    let mut row = |aspect, name: &str, of: fn(&RunResult) -> String| {
        rows.push(Row::new(mark(aspect), name, comparison, of));
    };
    row(Aspect::Status, "status", |run| run.outcome.to_string());
    row(Aspect::Output, "output", |run| first_line(&run.stdout));
    row(Aspect::Output, "errors", |run| first_line(&run.stderr));
    row(Aspect::Time, "time", |run| format!("{:.0} ms", run.elapsed.as_secs_f64() * 1e3));
    row(Aspect::Database, "database", |run| match run.database {
        Some(tally) => format!("{} requests, {} failed", tally.requests, tally.failures),
        None => "not counted".to_owned(),
    });
    for variable in &comparison.environment {
        let values = variable.values.iter();
        let values = values.map(|value| value.clone().unwrap_or_else(|| "(not set)".into()));
        rows.push(Row {
            mark: if variable.expected { " " } else { "≠" },
            name: variable.name.clone(),
            cells: values.collect(),
        });
    }
    layout(&rows)
}

struct Row {
    mark: &'static str,
    name: String,
    cells: Vec<String>,
}

impl Row {
    fn new(
        mark: &'static str,
        name: &str,
        comparison: &RunComparison,
        of: impl Fn(&RunResult) -> String,
    ) -> Self {
        Self { mark, name: name.to_owned(), cells: comparison.results.iter().map(of).collect() }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(60).collect()
}

fn layout(rows: &[Row]) -> String {
    let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let names = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let line = |row: &Row| {
        let cells = row.cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let cells: Vec<String> = cells.collect();
        format!("{} {:<names$}  {}", row.mark, row.name, cells.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
