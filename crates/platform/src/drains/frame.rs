//! A line as Logplex sends it: syslog of RFC 5424, but without structured data, counted.

use std::io::Write;

use crate::logs::{LogEntry, Source, Timestamp};

/// What stands in the place of the host where the token is told otherwise.
pub(super) const HOST: &str = "host";

/// Appends `<length> <<priority>1 <time> <host> <source> <process> - <text><end>`; the length is
/// that of all behind it.
pub(super) fn append(to: &mut Vec<u8>, host: &str, entry: &LogEntry, end: &str) {
    let (source, process) = (entry.source.as_str(), &entry.process);
    let (priority, at) = (priority(entry), Timestamp(entry.at));
    let message = format!("<{priority}>1 {at} {host} {source} {process} - {}{end}", entry.text);
    // Writing to memory does not fail.
    let _in_memory = write!(to, "{} {message}", message.len());
}

/// The priorities that Heroku's own lines have: local7.info for apps, local3.info for the router,
/// syslog.notice for the platform, local0.info for PostgreSQL, local5.warning for Logplex itself.
fn priority(entry: &LogEntry) -> u8 {
    match (entry.source, &*entry.process) {
        (Source::App, "postgres" | "heroku-postgres") => 134,
        (Source::App, _) => 190,
        (Source::Heroku, "router") => 158,
        (Source::Heroku, "logplex") => 172,
        (Source::Heroku, _) => 45,
    }
}

#[cfg(test)]
mod tests {
    use trace::Micros;

    use super::*;

    fn entry(source: Source, process: &str, text: &str) -> LogEntry {
        let at = Micros(1_354_257_929_000_000);
        LogEntry { at, source, process: process.into(), text: text.into() }
    }

    #[test]
    fn a_line_looks_as_in_the_dev_center() {
        let mut bytes = Vec::new();
        let entry = entry(Source::Heroku, "web.3", "State changed from starting to up");
        append(&mut bytes, HOST, &entry, "\n");
        let expected = "90 <45>1 2012-11-30T06:45:29.000000+00:00 host heroku web.3 - \
                        State changed from starting to up\n";
        let text = String::from_utf8(bytes).unwrap();
        let length = expected.len() - 3;
        assert_eq!(text, expected.replacen("90", &length.to_string(), 1));
    }

    #[test]
    fn the_length_counts_bytes_not_characters() {
        let mut bytes = Vec::new();
        append(&mut bytes, "d.1", &entry(Source::App, "web.1", "é"), "");
        let text = String::from_utf8(bytes).unwrap();
        let (length, rest) = text.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), rest.len());
        assert!(rest.starts_with("<190>1 ") && rest.ends_with(" d.1 app web.1 - é"), "{rest}");
    }
}
