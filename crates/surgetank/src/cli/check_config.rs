//! `surgetank check-config`: what is wrong with a file, or what it puts into effect.

use std::path::PathBuf;

use anyhow::Context;
use proxy::Upstream;

use crate::config::Source;
use crate::exit::{Exit, one_line};
use crate::out;

/// Print what is wrong with a configuration file, with its place; or what is in effect
#[derive(Debug, clap::Args)]
#[command(after_help = "A file that ends in .ini is read as PgBouncer's. Secrets are not shown.")]
pub(crate) struct Args {
    /// surgetank.toml or pgbouncer.ini
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The server, if the environment gives it: it goes before the file's entry "*"
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let url = args.database_url.as_deref();
    let upstream = url.map(|url| Upstream::parse(url).context("DATABASE_URL")).transpose()?;
    match Source::of(&args.file).read(upstream.as_ref()) {
        Ok(plan) => out::data(&plan.describe()),
        Err(error) => {
            out::talk(&one_line(&error));
            Ok(Exit::BadAnswer)
        }
    }
}
