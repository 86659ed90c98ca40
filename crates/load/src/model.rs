//! What a workload is made of: classes of requests, their shares, their rate. Saved as JSON that a
//! person can read and change.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The version of the format that this code writes, and the only one it reads.
const VERSION: u32 = 1;

/// A workload: what customers send to the app, what the app sends to the database, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    version: u32,
    /// HTTP requests to the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Workload<HttpClass>>,
    /// Statements to the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<Workload<SqlClass>>,
}

/// Requests of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload<C> {
    /// Requests per second where it was learnt: what "1x" means.
    pub rate: f64,
    /// Index of dispersion of the arrivals: 1 is Poisson, more is bursty.
    pub dispersion: f64,
    /// What is requested.
    pub classes: Vec<C>,
}

impl<C> Workload<C> {
    /// Poisson arrivals at `rate` requests per second.
    #[must_use]
    pub fn poisson(rate: f64, classes: Vec<C>) -> Self {
        Self { rate, dispersion: 1.0, classes }
    }
}

/// HTTP requests that differ only in numbers, names and other values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpClass {
    /// `GET`, …
    pub method: String,
    /// Path and query, with `{}` in place of each value: `/checkout?customer={}`.
    pub template: String,
    /// Weight among the classes; they need not sum to 1.
    pub share: f64,
    /// What to put in place of the values.
    pub values: Values,
}

impl HttpClass {
    /// A class whose template has no values.
    #[must_use]
    pub fn fixed(method: &str, path: &str, share: f64) -> Self {
        Self { method: method.into(), template: path.into(), share, values: Values::Fixed }
    }

    /// A class whose values are numbers: one range for each `{}` of the template.
    #[must_use]
    pub fn numbered(method: &str, template: &str, share: f64, ranges: &[Range]) -> Self {
        let values = Values::Ranges(ranges.to_vec());
        Self { method: method.into(), template: template.into(), share, values }
    }
}

/// How the values of a template are drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// The template has none.
    Fixed,
    /// Whole paths as they were observed, as often as they were.
    Observed(Vec<PathCount>),
    /// Whole numbers, evenly from a range for each `{}`.
    Ranges(Vec<Range>),
}

/// A path and how often it was requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathCount {
    /// Path and query.
    pub path: String,
    /// How often.
    pub count: u64,
}

/// Whole numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least.
    pub from: i64,
    /// The greatest.
    pub to: i64,
}

/// One statement, run on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlClass {
    /// Its text, with `$1`, `$2`, … for its parameters.
    pub text: String,
    /// Weight among the classes; they need not sum to 1.
    pub share: f64,
    /// What to draw each parameter from. A recording holds no values, so that a learnt model has
    /// `null` here until a person, or a caller who knows the data, fills it in.
    pub parameters: Vec<Option<Range>>,
}

impl Model {
    /// A model of these workloads.
    #[must_use]
    pub fn new(http: Option<Workload<HttpClass>>, sql: Option<Workload<SqlClass>>) -> Self {
        Self { version: VERSION, http, sql }
    }

    /// HTTP requests in Poisson arrivals, described by hand.
    #[must_use]
    pub fn of_http(rate: f64, classes: Vec<HttpClass>) -> Self {
        Self::new(Some(Workload::poisson(rate, classes)), None)
    }

    /// Statements in Poisson arrivals, described by hand.
    #[must_use]
    pub fn of_sql(rate: f64, classes: Vec<SqlClass>) -> Self {
        Self::new(None, Some(Workload::poisson(rate, classes)))
    }

    /// The model as JSON for people, ending in a line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("plain structs with text keys always have a JSON form");
        text.push('\n');
        text
    }

    /// Reads a model from its JSON.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not one, or one of another version.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let unreadable = |error: serde_json::Error| Error::Model(error.to_string());
        let Versioned { version } = serde_json::from_str(text).map_err(unreadable)?;
        if version != VERSION {
            return Err(Error::Model(format!("version {version}; this program reads {VERSION}")));
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// Writes the model to a file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        std::fs::write(path, self.to_json())
            .map_err(|source| Error::File { path: path.to_owned(), source })
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Model`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        Self::from_json(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let customers = [Range { from: 1, to: 20_000 }];
        let http = vec![
            HttpClass::fixed("GET", "/popular", 0.2),
            HttpClass::numbered("GET", "/checkout?customer={}", 0.8, &customers),
        ];
        let sql = SqlClass { text: "SELECT $1".into(), share: 1.0, parameters: vec![None] };
        Model::new(Some(Workload::poisson(40.0, http)), Some(Workload::poisson(9.5, vec![sql])))
    }

    #[test]
    fn a_saved_model_is_the_same_when_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.json");
        model().save(&path).unwrap();
        assert_eq!(Model::load(&path).unwrap(), model());
    }

    #[test]
    fn a_model_of_another_version_or_with_unknown_words_is_refused() {
        let other = model().to_json().replace("\"version\": 1", "\"version\": 7");
        let told = Model::from_json(&other).unwrap_err().to_string();
        assert_eq!(told, "model: version 7; this program reads 1");
        let other = model().to_json().replace("\"dispersion\"", "\"burst\"");
        assert!(Model::from_json(&other).unwrap_err().to_string().contains("burst"));
    }
}
