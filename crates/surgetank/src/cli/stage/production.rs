//! What is known of production, from whatever tells of it: a recording, Heroku's `app.json`, or a
//! file of one's own.

mod app_json;
mod file;
mod recorded;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use diagnose::Diagnosis;

/// Production, as far as the source tells.
#[derive(Debug, Default)]
pub(crate) struct Production {
    /// What it was read from, for people.
    pub(crate) source: String,
    /// Dynos of each type.
    pub(crate) formation: BTreeMap<String, Dynos>,
    /// PostgreSQL's settings, `server_version` among them.
    pub(crate) settings: BTreeMap<String, String>,
    /// What the database's plan is called.
    pub(crate) plan: Option<String>,
    /// From the proxy to PostgreSQL and back.
    pub(crate) round_trip: Option<Duration>,
    /// Names of config vars, with values where the source has them.
    pub(crate) config: Vec<ConfigVar>,
    /// Why requests failed there, where that is known.
    pub(crate) diagnosis: Option<Diagnosis>,
    /// Rows of each table.
    pub(crate) tables: BTreeMap<String, u64>,
    /// What the source says that staging cannot follow.
    pub(crate) notes: Vec<String>,
}

/// The dynos of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dynos {
    pub(crate) quantity: u32,
    pub(crate) size: Option<String>,
}

/// A config var.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigVar {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) required: bool,
}

impl Production {
    /// Reads a recording's folder, an `app.json`, or a TOML file.
    pub(crate) fn read(source: &Path) -> anyhow::Result<Self> {
        let shown = source.display().to_string();
        let mut production = if source.is_dir() {
            recorded::read(source)?
        } else {
            let text = std::fs::read_to_string(source).with_context(|| shown.clone())?;
            let is_json = source.extension().is_some_and(|extension| extension == "json");
            let read = if is_json { app_json::read(&text) } else { file::read(&text) };
            read.with_context(|| shown.clone())?
        };
        production.source = shown;
        Ok(production)
    }

    /// The formation as `up` and `ps:scale` read it, for the types that the Procfile has; the
    /// others are noted.
    pub(crate) fn formation_for(&mut self, procfile: &platform::Procfile) -> String {
        let mut words = Vec::new();
        for (name, dynos) in &self.formation {
            if procfile.command(name).is_none() {
                self.notes.push(format!("the Procfile has no `{name}`"));
                continue;
            }
            match dynos.size.as_deref().map(str::parse::<platform::Size>) {
                Some(Ok(size)) => words.push(format!("{name}={}:{size}", dynos.quantity)),
                Some(Err(why)) => {
                    self.notes.push(format!("{name}: {why}"));
                    words.push(format!("{name}={}", dynos.quantity));
                }
                None => words.push(format!("{name}={}", dynos.quantity)),
            }
        }
        words.join(",")
    }
}

/// The connection limit of a plan of Heroku Postgres (Dev Center, "Choosing the right plan", and
/// the plans of 2014); nothing if we do not know the plan.
fn connections_of_plan(plan: &str) -> Option<u32> {
    let plan = plan.strip_prefix("heroku-postgresql").unwrap_or(plan).trim_start_matches(':');
    let (family, number) = plan.rsplit_once('-').unwrap_or((plan, ""));
    Some(match (family, number) {
        ("essential", "0" | "1") | ("hobby" | "", _) => 20,
        ("essential", "2") => 40,
        ("standard" | "premium" | "private" | "shield", "0") => 120,
        ("standard" | "premium" | "private" | "shield", "2") => 400,
        ("standard" | "premium" | "private" | "shield", _) => 500,
        ("yanari" | "crane", _) => 60,
        ("kappa", _) => 120,
        ("tengu" | "ronin" | "fugu", _) => 200,
        ("ika", _) => 400,
        ("baku" | "mecha" | "ryu" | "zilla", _) => 500,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_have_their_connection_limits() {
        for (plan, limit) in [
            ("heroku-postgresql", Some(20)),
            ("heroku-postgresql:essential-0", Some(20)),
            ("heroku-postgresql:essential-2", Some(40)),
            ("heroku-postgresql:hobby-dev", Some(20)),
            ("heroku-postgresql:standard-0", Some(120)),
            ("heroku-postgresql:premium-2", Some(400)),
            ("heroku-postgresql:standard-7", Some(500)),
            ("heroku-postgresql:crane", Some(60)),
            ("heroku-postgresql:ronin", Some(200)),
            ("heroku-postgresql:moon-1", None),
        ] {
            assert_eq!(connections_of_plan(plan), limit, "{plan}");
        }
    }
}
