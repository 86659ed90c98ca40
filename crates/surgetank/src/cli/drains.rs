//! `surgetank drains`, `drains:add`, `drains:remove`: where the log of the app that `surgetank up`
//! runs here is sent on to.

use super::up::control;
use crate::exit::Exit;
use crate::out;

/// List the drains
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Add a drain
#[derive(Debug, clap::Args)]
#[command(after_help = "Lines are sent as Heroku's Logplex sends them: counted syslog messages \\
    over TCP, or POST requests of the type application/logplex-1. A drain that is slow or away \\
    holds nobody up: what its buffer of 1024 lines cannot hold is lost, and told there (L10). \\
    Drains are kept from one `surgetank up` to the next.")]
pub(crate) struct AddArgs {
    /// `syslog://HOST:PORT`, `syslog+tls://HOST:PORT`, `https://USER:PASSWORD@HOST/PATH`
    url: String,
}

/// Remove a drain
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// Its URL or token
    #[arg(value_name = "URL|TOKEN")]
    named: String,
}

pub(crate) fn list(args: &Args) -> anyhow::Result<Exit> {
    let drains = control(async |client| Ok(client.drains().await?))?;
    if args.json {
        return out::data(&serde_json::to_string_pretty(&drains)?);
    }
    if !drains.is_empty() {
        out::line("=== Drains\n")?;
    }
    for drain in &drains {
        out::line(&format!("{} ({})", drain.url, drain.token))?;
    }
    Ok(Exit::Good)
}

pub(crate) fn add(args: &AddArgs) -> anyhow::Result<Exit> {
    let drain = control(async |client| Ok(client.add_drain(&args.url).await?))?;
    out::talk(&format!("Successfully added drain {}", drain.url));
    Ok(Exit::Good)
}

pub(crate) fn remove(args: &RemoveArgs) -> anyhow::Result<Exit> {
    let drain = control(async |client| Ok(client.remove_drain(&args.named).await?))?;
    out::talk(&format!("Successfully removed drain {}", drain.url));
    Ok(Exit::Good)
}
