//! `surgetank ps`, `ps:scale`, `ps:restart`: the dynos of the app that `surgetank up` runs here.

use platform::{Size, Usage};

use super::up::control;
use crate::exit::Exit;
use crate::out;

/// List the dynos
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What each dyno uses: memory, processor time, processes, pressure
    #[arg(short, long)]
    long: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Change how many dynos of a type run
#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// `web=3`, `worker+1`, `web-1`, `web=2:Standard-2X`
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
    let (dynos, info) = control(async |client| Ok((client.ps().await?, client.info().await?)))?;
    if args.json {
        return out::data(&serde_json::to_string_pretty(&dynos)?);
    }
    let mut last_type = String::new();
    for dyno in &dynos {
        let process_type = dyno.name.process_type();
        if process_type != last_type {
            let count = dynos.iter().filter(|d| d.name.process_type() == process_type).count();
            out::line(&format!("=== {process_type} ({}): {} ({count})", dyno.size, dyno.command))?;
            process_type.clone_into(&mut last_type);
        }
        let since = time(dyno.since.0)?;
        out::line(&format!("{}: {} {since}", dyno.name, state(dyno)))?;
        if let Some(usage) = dyno.usage.as_ref().filter(|_| args.long) {
            out::line(&format!("  {}", used(usage, dyno.size)))?;
        }
    }
    // Where nothing holds them that is worth a word each time.
    if let Some(apart) = info["dynos"].as_str().filter(|apart| apart.contains("without limits")) {
        out::talk(&format!("Dynos are {apart}"));
    }
    Ok(Exit::Good)
}

/// A time in microseconds since the Unix epoch, as Heroku's lists show it.
pub(super) fn time(micros: u64) -> anyhow::Result<String> {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(micros)?)?;
    Ok(at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y/%m/%d %H:%M:%S %z").to_string())
}

/// What a dyno uses, on one line.
fn used(usage: &Usage, size: Size) -> String {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let mut text = format!(
        "memory {}MB of {}MB",
        mib(usage.rss_bytes + usage.swap_bytes),
        mib(size.memory_bytes()),
    );
    // Only a control group knows these.
    if usage.memory_bytes_max > 0 {
        let (most, files) = (mib(usage.memory_bytes_max), mib(usage.cache_bytes));
        text += &format!(" (most {most}MB, files {files}MB)");
    }
    text += &format!(
        ", processor {}ms, throttled {}ms, {} tasks",
        usage.cpu_ms, usage.throttled_ms, usage.tasks
    );
    if let Some(pressure) = usage.pressure {
        text += &format!(
            ", waits for processor {:.0}%, memory {:.0}%, disk {:.0}%",
            pressure.cpu_percent, pressure.memory_percent, pressure.io_percent
        );
    }
    text
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
