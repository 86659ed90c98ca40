//! The shop's log: one line of `key=value` pairs an event, on stdout, as platforms expect.

use std::fmt::Write as _;
use std::io::Write as _;

/// How much a line matters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    /// As it should be.
    Info,
    /// A customer did not get what she came for.
    Error,
}

/// Writes one line. A stdout that nobody reads any more is no reason to fail.
pub(crate) fn write(level: Level, pairs: &[(&str, &dyn std::fmt::Display)]) {
    let line = line(level, pairs);
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

fn line(level: Level, pairs: &[(&str, &dyn std::fmt::Display)]) -> String {
    let mut line = String::from(match level {
        Level::Info => "level=info",
        Level::Error => "level=error",
    });
    for (key, value) in pairs {
        let value = value.to_string();
        let plain = |c: char| c.is_alphanumeric() || "-_./:".contains(c);
        if !value.is_empty() && value.chars().all(plain) {
            let _ = write!(line, " {key}={value}");
        } else {
            // Debug escapes quotes and line ends: an event stays one line.
            let _ = write!(line, " {key}={value:?}");
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let told = line(Level::Error, &[("route", &"/checkout"), ("error", &"a \"b\"\nc")]);
        assert_eq!(told, "level=error route=/checkout error=\"a \\\"b\\\"\\nc\"\n");
    }
}
