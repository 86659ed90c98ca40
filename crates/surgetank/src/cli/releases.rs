//! `surgetank releases`, `releases:info`, `release`, `rollback`: what was changed when by whom in
//! the app that `surgetank up` runs here.

use platform::{ReleaseInfo, ReleaseStatus};

use super::up::{app_name, control};
use crate::exit::Exit;
use crate::out;

/// List the releases
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// So many of them
    #[arg(short, long, value_name = "N", default_value_t = 15)]
    num: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show a release with its config vars
#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// `v3`; the newest if not given
    #[arg(value_parser = version)]
    release: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Release the app's folder as it is now: its Procfile is read again, all dynos are restarted
#[derive(Debug, clap::Args)]
pub(crate) struct DeployArgs {}

/// Go back to the Procfile and config vars of an earlier release, in a new release
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The files in the app's folder stay as they are: check out the commit that \
    `releases` names, if the code is to go back too."
)]
pub(crate) struct RollbackArgs {
    /// `v3`; the one before the current one if not given
    #[arg(value_parser = version)]
    release: Option<u64>,
}

fn version(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix(['v', 'V']).unwrap_or(text);
    number.parse().map_err(|_| "expected a release such as v3".to_owned())
}

pub(crate) fn list(args: &Args) -> anyhow::Result<Exit> {
    let mut releases = control(async |client| Ok(client.releases().await?))?;
    let current = releases.iter().find(|release| release.current).map(|release| release.version);
    releases.truncate(args.num);
    if args.json {
        return out::data(&serde_json::to_string_pretty(&releases)?);
    }
    let current = current.map_or(String::new(), |version| format!(" - Current: v{version}"));
    out::line(&format!("=== {} Releases{current}\n", app_name()?))?;
    let wide = |of: fn(&ReleaseInfo) -> usize| releases.iter().map(of).max().unwrap_or(0);
    let versions = wide(|release| release.version.to_string().len() + 1);
    let descriptions = wide(|release| described(release).chars().count());
    let users = wide(|release| release.user.chars().count());
    for release in &releases {
        let (version, what) = (format!("v{}", release.version), described(release));
        let (user, when) = (&release.user, super::ps::time(release.created_at)?);
        let line = format!("{version:<versions$}  {what:<descriptions$}  {user:<users$}  {when}");
        out::line(&line)?;
    }
    Ok(Exit::Good)
}

fn described(release: &ReleaseInfo) -> String {
    let ReleaseInfo { description, status, .. } = release;
    match status {
        ReleaseStatus::Succeeded => description.clone(),
        ReleaseStatus::Pending => format!("{description} release command executing"),
        ReleaseStatus::Failed => format!("{description} release command failed"),
    }
}

pub(crate) fn info(args: &InfoArgs) -> anyhow::Result<Exit> {
    let release = control(async |client| {
        let version = match args.release {
            Some(version) => version,
            None => client.releases().await?.first().map_or(0, |release| release.version),
        };
        Ok(client.release(version).await?)
    })?;
    if args.json {
        return out::data(&serde_json::to_string_pretty(&release)?);
    }
    out::line(&format!("=== Release v{}\n", release.version))?;
    let eligible = if release.is_eligible() { "Yes" } else { "No" };
    out::line(&format!("By:                     {}", release.user))?;
    out::line(&format!("Change:                 {}", release.description))?;
    out::line(&format!("Eligible for Rollback?: {eligible}"))?;
    out::line(&format!("When:                   {}\n", super::ps::time(release.created_at)?))?;
    out::line(&format!("=== v{} Config vars\n", release.version))?;
    out::data(&super::config::aligned(&release.config_vars))
}

pub(crate) fn deploy(_: &DeployArgs) -> anyhow::Result<Exit> {
    let version = control(async |client| Ok(client.deploy().await?))?;
    out::talk(&format!("Releasing {}... done, v{version}", app_name()?));
    Ok(Exit::Good)
}

pub(crate) fn rollback(args: &RollbackArgs) -> anyhow::Result<Exit> {
    let version = control(async |client| Ok(client.rollback(args.release).await?))?;
    out::talk(&format!("Rolling back {}... done, v{version}", app_name()?));
    out::talk("Procfile and config vars are as they were; the files in the folder are untouched");
    Ok(Exit::Good)
}
