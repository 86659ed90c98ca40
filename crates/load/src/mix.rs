//! A model made ready to draw requests from, checked once before anything is sent.

use std::sync::Arc;

use hyper::{Method, Uri};
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::{Rng, RngExt};

use crate::model::{HttpClass, Range, SqlClass, Values, Workload};
use crate::{Error, Model};

/// The requests of a model and how often each is drawn.
#[derive(Clone, Debug)]
pub struct Mix {
    classes: Vec<Class>,
    shares: WeightedIndex<f64>,
}

/// One request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which class of the model it belongs to, by its place there.
    pub class: usize,
    /// What it asks.
    pub body: Body,
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An HTTP request.
    Http {
        /// `GET`, …
        method: Method,
        /// Path and query.
        path: String,
    },
    /// A statement.
    Sql {
        /// Its text, with `$1`, `$2`, …
        text: Arc<str>,
        /// Its parameters.
        parameters: Vec<i64>,
    },
}

#[derive(Clone, Debug)]
enum Class {
    Http { method: Method, template: String, paths: Paths },
    Sql { text: Arc<str>, ranges: Vec<Range> },
}

#[derive(Clone, Debug)]
enum Paths {
    Fixed,
    Observed { paths: Vec<String>, counts: WeightedIndex<u64> },
    Ranges(Vec<Range>),
}

impl Mix {
    /// The HTTP requests of a model.
    ///
    /// # Errors
    /// [`Error::NothingToSend`] if it has none, [`Error::Model`] if it contradicts itself.
    pub fn http(model: &Model) -> Result<Self, Error> {
        let workload = model.http.as_ref().ok_or(Error::NothingToSend("HTTP"))?;
        let shares = shares(workload, "HTTP", |class| class.share)?;
        let classes = workload.classes.iter().map(http_class).collect::<Result<_, _>>()?;
        Ok(Self { classes, shares })
    }

    /// The statements of a model.
    ///
    /// # Errors
    /// As [`Mix::http`], and [`Error::ParameterUnknown`] if a parameter has no range.
    pub fn sql(model: &Model) -> Result<Self, Error> {
        let workload = model.sql.as_ref().ok_or(Error::NothingToSend("SQL"))?;
        let shares = shares(workload, "SQL", |class| class.share)?;
        let classes = workload.classes.iter().map(sql_class).collect::<Result<_, _>>()?;
        Ok(Self { classes, shares })
    }

    /// The names of the classes, in the model's order: method and template, or the statement.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |class: &Class| match class {
            Class::Http { method, template, .. } => format!("{method} {template}"),
            Class::Sql { text, .. } => text.to_string(),
        };
        self.classes.iter().map(name).collect()
    }

    /// The next request.
    #[must_use]
    pub fn draw(&self, chance: &mut impl Rng) -> Request {
        let class = self.shares.sample(chance);
        let body = match &self.classes[class] {
            Class::Http { method, template, paths } => {
                Body::Http { method: method.clone(), path: paths.draw(template, chance) }
            }
            Class::Sql { text, ranges } => Body::Sql {
                text: Arc::clone(text),
                parameters: ranges.iter().map(|range| range.draw(chance)).collect(),
            },
        };
        Request { class, body }
    }
}

impl Range {
    fn draw(self, chance: &mut impl Rng) -> i64 {
        chance.random_range(self.from..=self.to)
    }
}

impl Paths {
    fn draw(&self, template: &str, chance: &mut impl Rng) -> String {
        match self {
            Self::Fixed => template.to_owned(),
            Self::Observed { paths, counts } => paths[counts.sample(chance)].clone(),
            Self::Ranges(ranges) => {
                let mut pieces = template.split("{}");
                let mut path = pieces.next().unwrap_or_default().to_owned();
                for (piece, range) in pieces.zip(ranges) {
                    path.push_str(&range.draw(chance).to_string());
                    path.push_str(piece);
                }
                path
            }
        }
    }
}

fn shares<C>(
    workload: &Workload<C>,
    kind: &'static str,
    share: impl Fn(&C) -> f64,
) -> Result<WeightedIndex<f64>, Error> {
    if workload.classes.is_empty() {
        return Err(Error::NothingToSend(kind));
    }
    WeightedIndex::new(workload.classes.iter().map(share))
        .map_err(|error| Error::Model(format!("shares of the {kind} classes: {error}")))
}

fn http_class(class: &HttpClass) -> Result<Class, Error> {
    let wrong = |what: String| Error::Model(format!("{} {}: {what}", class.method, class.template));
    let method = Method::from_bytes(class.method.as_bytes())
        .map_err(|_| wrong("not an HTTP method".to_owned()))?;
    // The numbers that take the place of `{}` cannot make a good path bad.
    let path = class.template.replace("{}", "0");
    if !path.starts_with('/') || path.parse::<Uri>().is_err() {
        return Err(wrong("not a path".to_owned()));
    }
    let places = class.template.matches("{}").count();
    let paths = match &class.values {
        Values::Fixed if places == 0 => Paths::Fixed,
        Values::Fixed => {
            return Err(wrong(format!("{places} values and nothing to draw them from")));
        }
        Values::Observed(observed) => {
            if let Some(bad) = observed.iter().find(|seen| seen.path.parse::<Uri>().is_err()) {
                return Err(wrong(format!("`{}` is not a path", bad.path)));
            }
            let counts = WeightedIndex::new(observed.iter().map(|seen| seen.count))
                .map_err(|error| wrong(format!("observed paths: {error}")))?;
            Paths::Observed {
                paths: observed.iter().map(|seen| seen.path.clone()).collect(),
                counts,
            }
        }
        Values::Ranges(ranges) => {
            if ranges.len() != places {
                return Err(wrong(format!("{places} values, {} ranges", ranges.len())));
            }
            if let Some(Range { from, to }) = ranges.iter().find(|range| range.from > range.to) {
                return Err(wrong(format!("empty range {from} to {to}")));
            }
            Paths::Ranges(ranges.clone())
        }
    };
    Ok(Class::Http { method, template: class.template.clone(), paths })
}

fn sql_class(class: &SqlClass) -> Result<Class, Error> {
    let mut ranges = Vec::with_capacity(class.parameters.len());
    for (index, range) in class.parameters.iter().enumerate() {
        let number = index + 1;
        let unknown = || Error::ParameterUnknown { number, statement: class.text.clone() };
        let range = range.ok_or_else(unknown)?;
        if range.from > range.to {
            let Range { from, to } = range;
            let told = format!("`{}`: empty range {from} to {to} for ${number}", class.text);
            return Err(Error::Model(told));
        }
        ranges.push(range);
    }
    Ok(Class::Sql { text: class.text.as_str().into(), ranges })
}
