//! `surgetank check-config`: what is wrong with a file, or what it puts into effect.

use std::path::PathBuf;

use crate::config::Source;
use crate::exit::Exit;
use crate::out;

/// Print what is wrong with a configuration file, with its place; or what is in effect
#[derive(Debug, clap::Args)]
#[command(after_help = "A file that ends in .ini is read as PgBouncer's. Secrets are not shown.")]
pub(crate) struct Args {
    /// surgetank.toml or pgbouncer.ini
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match Source::of(&args.file).read() {
        Ok(plan) => out::data(&plan.describe()),
        Err(error) => {
            out::talk(&format!("{error:#}"));
            Ok(Exit::BadAnswer)
        }
    }
}
