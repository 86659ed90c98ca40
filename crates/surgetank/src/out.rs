//! The two voices: data on stdout, talk on stderr.

use std::io::{self, IsTerminal, Write};

use crate::exit::Exit;

/// Writes a command's data and ends it well.
pub(crate) fn data(text: &str) -> anyhow::Result<Exit> {
    line(text)?;
    Ok(Exit::Good)
}

/// Writes one piece of data; a missing newline at the end is added.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Says something to the person at the terminal. A closed stderr is no reason to stop.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether stdout shows colours: a terminal, and nobody said NO_COLOR (no-color.org).
pub(crate) fn colour() -> bool {
    wants_colour(io::stdout().is_terminal())
}

/// The same for stderr.
pub(crate) fn colour_of_talk() -> bool {
    wants_colour(io::stderr().is_terminal())
}

fn wants_colour(is_terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    set("CLICOLOR_FORCE") || (is_terminal && !dumb && !set("NO_COLOR"))
}

/// Columns of the terminal on stdout, 100 where there is none.
pub(crate) fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let measured = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    columns.or_else(measured).unwrap_or(100)
}

/// The present time as a report shows it.
pub(crate) fn time_for_people() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string()
}
