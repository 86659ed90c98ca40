//! Which lines somebody wants to see.

use serde::{Deserialize, Serialize};

use super::entry::{LogEntry, Source};

/// Lines `heroku logs` shows when it is not told how many.
const DEFAULT_LINES: usize = 100;

/// Which lines somebody wants to see; an absent criterion lets all pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogFilter {
    /// A dyno (`web.1`), a process type (`web`, all its dynos) or `router`.
    pub dyno: Option<String>,
    /// Only the app, or only the platform.
    pub source: Option<Source>,
    /// At most so many lines of history.
    pub lines: usize,
}

impl Default for LogFilter {
    fn default() -> Self {
        Self { dyno: None, source: None, lines: DEFAULT_LINES }
    }
}

impl LogFilter {
    /// Only this dyno (`web.1`), process type (`web`) or `router`.
    #[must_use]
    pub fn dyno(self, dyno: &str) -> Self {
        Self { dyno: Some(dyno.to_owned()), ..self }
    }

    /// Only this source.
    #[must_use]
    pub fn source(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// At most so many lines of history.
    #[must_use]
    pub fn last(self, lines: usize) -> Self {
        Self { lines, ..self }
    }

    pub(super) fn passes(&self, entry: &LogEntry) -> bool {
        let source = self.source.is_none_or(|source| source == entry.source);
        source && self.dyno.as_deref().is_none_or(|wanted| of_dyno(&entry.process, wanted))
    }
}

/// The full name matches, and so does the type alone, as with Heroku's `--dyno-name`.
fn of_dyno(process: &str, wanted: &str) -> bool {
    process == wanted || process.rsplit_once('.').is_some_and(|(base, _)| base == wanted)
}
