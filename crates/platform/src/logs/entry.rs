//! One line, and how it looks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use trace::Micros;

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The app: what its dynos write to standard output and standard error.
    App,
    /// The platform: dyno states, router, the log hub itself.
    Heroku,
}

impl Source {
    /// `app` or `heroku`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Heroku => "heroku",
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "app" => Ok(Self::App),
            "heroku" => Ok(Self::Heroku),
            other => Err(format!("`{other}` is not a log source; expected `app` or `heroku`")),
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When the hub got it.
    pub at: Micros,
    /// Who says it.
    pub source: Source,
    /// What stands in the brackets: `web.1`, `router`.
    pub process: Box<str>,
    /// The line without its line feed.
    pub text: Box<str>,
}

/// `2010-09-16T15:13:46.677020+00:00 app[web.1]: text` (Heroku Dev Center, "Logging").
impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, process) = (self.source.as_str(), &self.process);
        write!(f, "{} {source}[{process}]: {}", Timestamp(self.at), self.text)
    }
}

/// A time in UTC as the log writes it, with six digits of a second.
pub(crate) struct Timestamp(pub(crate) Micros);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = i64::try_from(self.0.0).unwrap_or(i64::MAX);
        let timestamp = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{}", timestamp.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00"))
    }
}
