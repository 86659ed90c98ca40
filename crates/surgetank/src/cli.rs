//! The command line: what can be typed, and which file does it.
//!
//! One definition feeds the parser, `--help`, completions and the man page. Heroku's verbs where
//! Heroku has them: both `ps:scale` and `ps scale`. Data goes to stdout, talk to stderr.

mod attach;
mod check_config;
mod config;
mod demo;
mod diagnose;
mod drains;
mod http_status;
mod load;
mod logs;
mod maintenance;
mod pg;
mod prompt;
mod proxy;
mod ps;
mod record;
mod releases;
mod report;
mod run;
mod stage;
mod storefront;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::Exit;
pub(crate) use prompt::{agree, can_ask};

/// Between your dynos and PostgreSQL: records every request, explains intermittent database
/// failures with evidence, reproduces them under load, and proves the fix.
#[derive(Debug, Parser)]
#[command(name = "surgetank", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Start with `surgetank demo`: the whole story on your own machine.")]
pub(crate) struct Cli {
    /// Say more about what is being done (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a platform engineer's day: bug report, tracking, diagnosis, fix and proof
    Demo(demo::Args),
    /// Run the Procfile app of a folder with its PostgreSQL, proxy, router and logs
    Up(up::Args),
    /// Run the app as `up` does, with formation and PostgreSQL as in production; say what differs
    Stage(stage::Args),
    /// Run only the proxy, in front of an existing PostgreSQL
    Proxy(proxy::Args),
    /// Check a configuration file of the proxy, ours or PgBouncer's
    CheckConfig(check_config::Args),
    /// List the dynos of the app that `surgetank up` runs here
    Ps(ps::Args),
    /// Change how many dynos of a type run: `ps:scale web=3 worker+1`
    #[command(name = "ps:scale")]
    PsScale(ps::ScaleArgs),
    /// Restart one dyno, those of a type, or all
    #[command(name = "ps:restart")]
    PsRestart(ps::RestartArgs),
    /// Say whether the app is in maintenance mode: then the router answers every request itself
    Maintenance,
    /// Put the app into maintenance mode
    #[command(name = "maintenance:on")]
    MaintenanceOn,
    /// Take the app out of maintenance mode
    #[command(name = "maintenance:off")]
    MaintenanceOff,
    /// Run a command in a one-off dyno; with --dyno A,B: in both, side by side, with what differs
    Run(run::Args),
    /// Run a command in a one-off dyno; what it writes goes to the log
    #[command(name = "run:detached")]
    RunDetached(run::DetachedArgs),
    /// Show the app's config vars
    Config(config::Args),
    /// Show the value of a config var
    #[command(name = "config:get")]
    ConfigGet(config::GetArgs),
    /// Set config vars: a new release, and all dynos are restarted
    #[command(name = "config:set")]
    ConfigSet(config::SetArgs),
    /// Remove config vars: a new release, and all dynos are restarted
    #[command(name = "config:unset")]
    ConfigUnset(config::UnsetArgs),
    /// Release the app's folder as it is now
    Release(releases::DeployArgs),
    /// List the app's releases
    Releases(releases::Args),
    /// Show a release with its config vars
    #[command(name = "releases:info")]
    ReleasesInfo(releases::InfoArgs),
    /// Go back to an earlier release, in a new one
    Rollback(releases::RollbackArgs),
    /// Show the app's log lines
    Logs(logs::Args),
    /// List the drains: where the app's log is sent on to
    Drains(drains::Args),
    /// Send the app's log on: `syslog://`, `syslog+tls://` or `https://`
    #[command(name = "drains:add")]
    DrainsAdd(drains::AddArgs),
    /// Send the app's log on no more
    #[command(name = "drains:remove")]
    DrainsRemove(drains::RemoveArgs),
    /// Show the state of the app's database
    #[command(name = "pg:info")]
    PgInfo(pg::InfoArgs),
    /// Look at recordings
    Record(record::Args),
    /// Name the cause of the failures in a recording, with evidence
    Diagnose(diagnose::Args),
    /// Write the diagnosis of a recording as one HTML file
    Report(report::Args),
    /// Learn a workload from a recording; send it open-loop; find the knee
    Load(load::Args),
    /// The example shop (web, worker, setup), used by the demo
    Storefront(storefront::Args),
    /// Print the status of a GET request, for machines without curl
    #[command(hide = true)]
    HttpStatus(http_status::Args),
    /// Print the completions for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

/// Where to find PostgreSQL's server programs, for commands that start one.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PostgresArgs {
    /// Folder with PostgreSQL's server programs (initdb, postgres); found by itself if not given
    #[arg(long, value_name = "FOLDER", env = "SURGETANK_PG_BIN")]
    pub(crate) pg_bin: Option<PathBuf>,

    /// Where PostgreSQL is missing, obtain it with this machine's package client without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Parses the command line, does what it says, and tells how it ended.
pub(crate) fn main(words: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(join_topic(words)) {
        Ok(cli) => cli,
        Err(usage) => return Exit::from_usage(&usage),
    };
    crate::log::start(cli.verbose);
    Exit::from_result(dispatch(cli.command))
}

fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Up(args) => up::run(args),
        Command::Stage(args) => stage::run(args),
        Command::Proxy(args) => proxy::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Ps(args) => ps::list(&args),
        Command::PsScale(args) => ps::scale(&args),
        Command::PsRestart(args) => ps::restart(&args),
        Command::Maintenance => maintenance::show(),
        Command::MaintenanceOn => maintenance::set(true),
        Command::MaintenanceOff => maintenance::set(false),
        Command::Run(args) => run::run(&args),
        Command::RunDetached(args) => run::detached(&args),
        Command::Config(args) => config::list(&args),
        Command::ConfigGet(args) => config::get(&args),
        Command::ConfigSet(args) => config::set(&args),
        Command::ConfigUnset(args) => config::unset(&args),
        Command::Release(args) => releases::deploy(&args),
        Command::Releases(args) => releases::list(&args),
        Command::ReleasesInfo(args) => releases::info(&args),
        Command::Rollback(args) => releases::rollback(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Drains(args) => drains::list(&args),
        Command::DrainsAdd(args) => drains::add(&args),
        Command::DrainsRemove(args) => drains::remove(&args),
        Command::PgInfo(args) => pg::info(&args),
        Command::Record(args) => record::run(&args),
        Command::Diagnose(args) => diagnose::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Load(args) => load::run(args),
        Command::Storefront(args) => storefront::run(args),
        Command::HttpStatus(args) => http_status::run(&args),
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "surgetank", &mut text);
            crate::out::data(&String::from_utf8_lossy(&text))
        }
        Command::Man => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut text)?;
            crate::out::data(&String::from_utf8_lossy(&text))
        }
    }
}

/// Commands of two words. `run detached` is a command called `detached`.
const TOPICS: &[(&str, &str)] = &[
    ("config", "get"),
    ("config", "set"),
    ("config", "unset"),
    ("drains", "add"),
    ("drains", "remove"),
    ("maintenance", "off"),
    ("maintenance", "on"),
    ("pg", "info"),
    ("ps", "restart"),
    ("ps", "scale"),
    ("releases", "info"),
];

/// Heroku knows both `ps:scale` and `ps scale`: the second is read as the first.
fn join_topic(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let joined = match (words.get(1), words.get(2)) {
        (Some(topic), Some(verb)) => {
            let (topic, verb) = (topic.to_string_lossy(), verb.to_string_lossy());
            TOPICS.contains(&(&topic, &verb)).then(|| format!("{topic}:{verb}"))
        }
        _ => None,
    };
    if let Some(joined) = joined {
        words.splice(1..3, [joined.into()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn topics_are_joined_and_nothing_else_is() {
        let join = |line: &str| join_topic(line.split(' ').map(OsString::from)).len();
        assert_eq!(join("surgetank ps scale web=2"), 3);
        assert_eq!(join("surgetank ps:scale web=2"), 3);
        assert_eq!(join("surgetank maintenance on"), 2);
        assert_eq!(join("surgetank maintenance --help"), 3);
        assert_eq!(join("surgetank config set A=b"), 3);
        assert_eq!(join("surgetank run ps scale"), 4);
        assert_eq!(join("surgetank run detached"), 3);
    }
}
