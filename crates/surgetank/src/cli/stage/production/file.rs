//! A file of one's own, for what neither a recording nor an `app.json` says.
//!
//! ```toml
//! config = ["STRIPE_KEY"]           # names only: values are secrets
//! round_trip = "1.2ms"              # from the app's machine to PostgreSQL and back
//!
//! [formation]
//! web = { quantity = 2, size = "Standard-1X" }
//!
//! [postgresql]                      # as `SHOW` tells them
//! max_connections = 120
//! statement_timeout = "30s"
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::{ConfigVar, Dynos, Production};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    config: Vec<String>,
    round_trip: Option<String>,
    #[serde(default)]
    formation: BTreeMap<String, Formation>,
    #[serde(default)]
    postgresql: BTreeMap<String, Setting>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Formation {
    quantity: u32,
    size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Setting {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

pub(super) fn read(text: &str) -> anyhow::Result<Production> {
    let file: File = toml::from_str(text)?;
    let formation = file.formation.into_iter();
    let formation =
        formation.map(|(name, Formation { quantity, size })| (name, Dynos { quantity, size }));
    let shown = |setting| match setting {
        Setting::Bool(on) => if on { "on" } else { "off" }.to_owned(),
        Setting::Integer(number) => number.to_string(),
        Setting::Float(number) => number.to_string(),
        Setting::Text(text) => text,
    };
    let var = |name| ConfigVar { name, value: None, required: true };
    Ok(Production {
        formation: formation.collect(),
        settings: file.postgresql.into_iter().map(|(name, it)| (name, shown(it))).collect(),
        round_trip: file.round_trip.as_deref().map(span).transpose()?,
        config: file.config.into_iter().map(var).collect(),
        ..Production::default()
    })
}

/// `1.2ms`, `800us`, `2s`.
pub(crate) fn span(text: &str) -> anyhow::Result<Duration> {
    let wrong = || format!("`{text}` is not a span of time such as `1.2ms`");
    let at = text.find(|c: char| c.is_ascii_alphabetic()).with_context(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.trim().parse().with_context(wrong)?;
    let seconds = match unit {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => anyhow::bail!("{}", wrong()),
    };
    Duration::try_from_secs_f64(seconds).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_docs_is_read() {
        let docs = include_str!("file.rs").lines();
        let example = docs.skip_while(|line| !line.contains("```toml")).skip(1);
        let example: Vec<&str> =
            example.take_while(|line| !line.contains("```")).map(|line| &line[3..]).collect();
        let read = read(&example.join("\n").replace("//!", "")).unwrap();
        assert_eq!(read.formation["web"].quantity, 2);
        assert_eq!(read.settings["max_connections"], "120");
        assert_eq!(read.settings["statement_timeout"], "30s");
        assert_eq!(read.round_trip, Some(Duration::from_micros(1200)));
        assert_eq!(read.config[0].name, "STRIPE_KEY");
        assert!(super::read("formatoin = 1").is_err());
        assert!(super::read("round_trip = '7'").is_err());
    }
}
