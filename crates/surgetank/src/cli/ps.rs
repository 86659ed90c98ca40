//! `surgetank ps`, `ps:scale`, `ps:restart`: the dynos of the app that `surgetank up` runs here.

use crate::exit::Exit;
use crate::out;

use super::up::control;

/// List the dynos
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Change how many dynos of a type run
#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// `web=3`, `worker+1`, `web-1`
    #[arg(required = true)]
    changes: Vec<String>,
}

/// Restart dynos
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// `web.1`, `web`; all dynos if not given
    #[arg(default_value = "")]
    target: String,
}

pub(crate) fn list(args: &Args) -> anyhow::Result<Exit> {
    let dynos = control(async |client| Ok(client.ps().await?))?;
    if args.json {
        return out::data(&serde_json::to_string_pretty(&dynos)?);
    }
    let mut last_type = String::new();
    for dyno in &dynos {
        let process_type = dyno.name.process_type();
        if process_type != last_type {
            let count = dynos.iter().filter(|d| d.name.process_type() == process_type).count();
            out::line(&format!("=== {process_type}: {} ({count})", dyno.command))?;
            process_type.clone_into(&mut last_type);
        }
        let since = time(dyno.since.0)?;
        out::line(&format!("{}: {} {since}", dyno.name, state(dyno)))?;
    }
    Ok(Exit::Good)
}

/// A time in microseconds since the Unix epoch, as Heroku's lists show it.
pub(super) fn time(micros: u64) -> anyhow::Result<String> {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(micros)?)?;
    Ok(at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y/%m/%d %H:%M:%S %z").to_string())
}

fn state(dyno: &platform::DynoInfo) -> String {
    format!("{:?}", dyno.state).to_lowercase()
}

pub(crate) fn scale(args: &ScaleArgs) -> anyhow::Result<Exit> {
    let changes = args.changes.join(",");
    let formation = control(async |client| Ok(client.scale(&changes).await?))?;
    out::talk(&format!("Scaling dynos... done, now running {formation}"));
    Ok(Exit::Good)
}

pub(crate) fn restart(args: &RestartArgs) -> anyhow::Result<Exit> {
    let restarted = control(async |client| Ok(client.restart(&args.target).await?))?;
    let names: Vec<String> = restarted.iter().map(ToString::to_string).collect();
    out::talk(&format!("Restarting {}... done", names.join(", ")));
    Ok(Exit::Good)
}
