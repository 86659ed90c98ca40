//! `surgetank config`, `config:get`, `config:set`, `config:unset`: the settings and secrets of the
//! app that `surgetank up` runs here.

use platform::ConfigVars;
use platform::release::ConfigChanges;

use super::up::{app_name, control};
use crate::exit::Exit;
use crate::out;

/// Show the config vars
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As NAME=VALUE lines for a shell
    #[arg(short, long, conflicts_with = "json")]
    shell: bool,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// Show the value of a config var
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// Its name
    #[arg(required = true)]
    names: Vec<String>,
}

/// Set config vars: a new release, and all dynos are restarted
#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// NAME=VALUE
    #[arg(required = true, value_parser = super::up::config_var)]
    vars: Vec<(String, String)>,
}

/// Remove config vars: a new release, and all dynos are restarted
#[derive(Debug, clap::Args)]
pub(crate) struct UnsetArgs {
    /// Their names
    #[arg(required = true)]
    names: Vec<String>,
}

pub(crate) fn list(args: &Args) -> anyhow::Result<Exit> {
    let vars = control(async |client| Ok(client.config().await?))?;
    if args.json {
        return out::data(&serde_json::to_string_pretty(&vars)?);
    }
    if args.shell {
        for (name, value) in vars.iter() {
            out::line(&format!("{name}={}", quoted(value)))?;
        }
        return Ok(Exit::Good);
    }
    out::line(&format!("=== {} Config Vars\n", app_name()?))?;
    out::data(&aligned(&vars))
}

pub(crate) fn get(args: &GetArgs) -> anyhow::Result<Exit> {
    let vars = control(async |client| Ok(client.config().await?))?;
    for name in &args.names {
        // As Heroku does it, an empty line for what is not set.
        out::line(&format!("{}\n", vars.get(name).unwrap_or_default()))?;
    }
    Ok(Exit::Good)
}

pub(crate) fn set(args: &SetArgs) -> anyhow::Result<Exit> {
    let set = |(name, value): &(String, String)| (name.clone(), Some(value.clone()));
    let changes: ConfigChanges = args.vars.iter().map(set).collect();
    change("Setting", changes)?;
    out::data(&aligned(&args.vars.iter().cloned().collect()))
}

pub(crate) fn unset(args: &UnsetArgs) -> anyhow::Result<Exit> {
    let changes = args.names.iter().map(|name| (name.clone(), None)).collect();
    change("Unsetting", changes)?;
    Ok(Exit::Good)
}

fn change(doing: &str, changes: ConfigChanges) -> anyhow::Result<()> {
    let names = changes.keys().cloned().collect::<Vec<_>>().join(", ");
    let version = control(async |client| Ok(client.set_config(changes).await?))?;
    let app = app_name()?;
    out::talk(&match version {
        Some(version) => format!("{doing} {names} and restarting {app}... done, v{version}"),
        None => format!("{doing} {names}... nothing to change"),
    });
    Ok(())
}

/// One variable a line, values below each other.
pub(crate) fn aligned(vars: &ConfigVars) -> String {
    let width = vars.iter().map(|(name, _)| name.len() + 1).max().unwrap_or(0);
    let line = |(name, value): (&str, &str)| format!("{:<width$} {value}", format!("{name}:"));
    vars.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A value as a shell reads it back.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_a_shell() {
        assert_eq!(quoted("a-b/c"), "a-b/c");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn values_stand_below_each_other() {
        let vars = ConfigVars::default().with("A", "1").with("LONGER", "2");
        assert_eq!(aligned(&vars), "A:      1\nLONGER: 2");
    }
}
