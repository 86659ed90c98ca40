//! Config vars: an app's settings and secrets, in every dyno's environment.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// All names and values together, as on Heroku ("config var data is limited to 32kb").
pub(crate) const BYTES_MAX: usize = 32 * 1024;

/// The config vars of a release, by name. They hold secrets, so only names are in `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigVars(BTreeMap<String, String>);

/// What is to be changed: a new value, or `None` to remove the name.
pub type ConfigChanges = BTreeMap<String, Option<String>>;

impl ConfigVars {
    /// Names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// These with another one; it goes before one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// These after the changes.
    ///
    /// # Errors
    /// A name that a shell could not name, a value with a zero byte, or more than 32 kB.
    pub(crate) fn changed_by(&self, changes: &ConfigChanges) -> Result<Self> {
        let mut changed = self.clone();
        for (name, value) in changes {
            check(name, value.as_deref()).map_err(Error::ConfigVar)?;
            match value {
                Some(value) => changed.0.insert(name.clone(), value.clone()),
                None => changed.0.remove(name),
            };
        }
        let bytes: usize = changed.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > BYTES_MAX {
            return Err(Error::ConfigVar(format!(
                "config vars would have {bytes} bytes; the limit is {BYTES_MAX}"
            )));
        }
        Ok(changed)
    }

    /// In the shape of an environment.
    pub(crate) fn to_environment(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// How Heroku tells the change: names only.
pub(crate) fn description(changes: &ConfigChanges) -> String {
    let names = |set: bool| {
        let named = changes.iter().filter(|(_, value)| value.is_some() == set);
        named.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match (names(true), names(false)) {
        (set, removed) if removed.is_empty() => format!("Set {set} config vars"),
        (set, removed) if set.is_empty() => format!("Remove {removed} config vars"),
        (set, removed) => format!("Set {set} and remove {removed} config vars"),
    }
}

fn check(name: &str, value: Option<&str>) -> Result<(), String> {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let fits = name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit());
    if !fits || !name.bytes().next().is_some_and(letter) {
        return Err(format!(
            "`{}` is not a name of a config var: letters, digits and `_`, no digit first",
            name.escape_debug()
        ));
    }
    if value.is_some_and(|value| value.contains('\0')) {
        return Err(format!("the value of {name} has a zero byte"));
    }
    Ok(())
}

impl FromIterator<(String, String)> for ConfigVars {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(vars: I) -> Self {
        Self(vars.into_iter().collect())
    }
}

impl fmt::Debug for ConfigVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(pairs: &[(&str, Option<&str>)]) -> ConfigChanges {
        let owned =
            |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn changes_set_and_remove() {
        let none = ConfigVars::default();
        let set = none.changed_by(&changes(&[("A", Some("1")), ("B", Some(""))])).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [("A", "1"), ("B", "")]);
        let removed = set.changed_by(&changes(&[("A", None), ("C", None)])).unwrap();
        assert_eq!(removed.iter().collect::<Vec<_>>(), [("B", "")]);
    }

    #[test]
    fn wrong_names_and_too_much_data_are_refused() {
        let refused = |name: &str, value: &str| {
            ConfigVars::default().changed_by(&changes(&[(name, Some(value))])).unwrap_err()
        };
        for name in ["", "1A", "A-B", "A=B", "A B", "Ä"] {
            assert!(refused(name, "x").to_string().contains("not a name"), "{name}");
        }
        assert!(refused("A", "a\0b").to_string().contains("zero byte"));
        let text = refused("A", &"x".repeat(BYTES_MAX)).to_string();
        assert!(text.contains("32769") && text.contains("32768"), "{text}");
        let most = "x".repeat(BYTES_MAX - 1);
        ConfigVars::default().changed_by(&changes(&[("A", Some(&most))])).unwrap();
    }

    #[test]
    fn values_are_in_no_debug_print_and_no_description() {
        let vars = ConfigVars::default().with("TOKEN", "s3cret");
        assert_eq!(format!("{vars:?}"), r#"{"TOKEN"}"#);
        let told = |pairs: &[(&str, Option<&str>)]| description(&changes(pairs));
        assert_eq!(told(&[("B", Some("s3cret")), ("A", Some("x"))]), "Set A, B config vars");
        assert_eq!(told(&[("A", None)]), "Remove A config vars");
        assert_eq!(told(&[("A", None), ("B", Some("x"))]), "Set B and remove A config vars");
    }
}
