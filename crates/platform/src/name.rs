//! The name of a dyno: `web.1`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// `web.1`: a process type and a number counted from 1. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DynoName {
    process_type: Arc<str>,
    number: u32,
}

impl DynoName {
    /// The `number`-th dyno of a process type.
    #[must_use]
    pub fn new(process_type: &str, number: u32) -> Self {
        Self { process_type: process_type.into(), number }
    }

    /// `web` of `web.1`.
    #[must_use]
    pub fn process_type(&self) -> &str {
        &self.process_type
    }

    /// 1 of `web.1`.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether the router sends it requests: only the type `web` gets HTTP, as on Heroku.
    #[must_use]
    pub fn is_web(&self) -> bool {
        &*self.process_type == "web"
    }
}

/// Process types are what Heroku's and Foreman's parsers accept.
pub(crate) fn is_process_type(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.is_empty() && text.bytes().all(allowed)
}

impl fmt::Display for DynoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process_type, self.number)
    }
}

impl fmt::Debug for DynoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DynoName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::DynoName(text.to_owned());
        let (process_type, number) = text.rsplit_once('.').ok_or_else(wrong)?;
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let number: u32 = number.parse().map_err(|_| wrong())?;
        if !digits || number == 0 || !is_process_type(process_type) {
            return Err(wrong());
        }
        Ok(Self::new(process_type, number))
    }
}

impl TryFrom<String> for DynoName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<DynoName> for String {
    fn from(name: DynoName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_are_written() {
        let name: DynoName = "my-worker_2.17".parse().unwrap();
        assert_eq!((name.process_type(), name.number()), ("my-worker_2", 17));
        assert_eq!(name.to_string(), "my-worker_2.17");
        assert!(!name.is_web());
        assert!(DynoName::new("web", 3).is_web());
    }

    #[test]
    fn what_is_not_a_dyno_name_is_refused() {
        for text in ["", "web", "web.", ".1", "web.0", "web.+1", "web.x", "we b.1", "a.b.1"] {
            assert!(text.parse::<DynoName>().is_err(), "{text:?} was taken for a dyno name");
        }
    }
}
