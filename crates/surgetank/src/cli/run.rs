//! `surgetank run CMD`: a one-off dyno; with `--dyno A,B`: one command in the environments of these
//! dynos, side by side.

use std::time::Duration;

use platform::control::RunOrder;
use platform::{Aspect, DynoName, OneOff, RunComparison, RunResult};

use super::attach::attached;
use super::up::{app_name, control};
use crate::exit::Exit;
use crate::out;

/// Run a command in a one-off dyno, or in the environments of dynos side by side
#[derive(Debug, clap::Args)]
#[command(after_help = "surgetank run bash: a dyno of its own, with this terminal; it ends when \
    the connection ends.\n\nSingle quotes keep $PORT for the dyno's shell:\n  \
    surgetank run --dyno web.1,web.2 -- 'curl -s localhost:$PORT/checkout'\n\n\
    Exit code: the command's own; on several dynos 0 if they agree and 1 if they differ.")]
pub(crate) struct Args {
    /// In the environments of these dynos, `web.1,web.2`, at the same time
    #[arg(short, long, value_delimiter = ',')]
    dyno: Vec<DynoName>,
    /// With --dyno: kill it after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "dyno")]
    timeout: u64,
    /// With --dyno: print JSON
    #[arg(long, requires = "dyno")]
    json: bool,
    /// Give the command no terminal, also if there is one here
    #[arg(long, conflicts_with = "dyno")]
    no_tty: bool,
    /// The command; several words are joined for the dyno's shell
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Run a command in a one-off dyno; what it writes goes to the log
#[derive(Debug, clap::Args)]
pub(crate) struct DetachedArgs {
    /// The command; several words are joined for the dyno's shell
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) fn detached(args: &DetachedArgs) -> anyhow::Result<Exit> {
    let order = OneOff { command: shell_line(&args.command), ..OneOff::default() };
    let dyno = control(async |client| Ok(client.run_detached(&order).await?))?;
    out::talk(&format!("Running {} on {}... up, {dyno}", order.command, app_name()?));
    out::talk(&format!("Use `surgetank logs --dyno {dyno}` to view the output"));
    Ok(Exit::Good)
}

/// One word is a whole command line already; of several, those with a space or a quote are quoted.
fn shell_line(words: &[String]) -> String {
    if let [line] = words {
        return line.clone();
    }
    let word = |word: &String| {
        if word.contains([' ', '"']) {
            format!("\"{}\"", word.replace('"', "\\\""))
        } else {
            word.clone()
        }
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.dyno.is_empty() {
        let (command, tty) = (shell_line(&args.command), !args.no_tty);
        return control(async |client| attached(client, command, tty).await);
    }
    let order = RunOrder {
        dynos: args.dyno.clone(),
        command: shell_line(&args.command),
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
        [only] => Exit::Passed(u8::try_from(only.outcome.code()).unwrap_or(1)),
        _ if same(&comparison) => Exit::Good,
        _ => Exit::BadAnswer,
    })
}

fn same(comparison: &RunComparison) -> bool {
    !comparison.differs_in(Aspect::Status) && !comparison.differs_in(Aspect::Output)
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
    if comparison.differs_in(Aspect::Size) {
        row(Aspect::Size, "size", |run| run.size.to_string());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_line_for_the_shell() {
        let line = |words: &[&str]| {
            shell_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(line(&["echo $PORT; ls"]), "echo $PORT; ls");
        assert_eq!(line(&["sh", "-c", "echo \"a b\""]), r#"sh -c "echo \"a b\"""#);
    }
}
