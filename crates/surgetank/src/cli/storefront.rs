//! `surgetank storefront …`: the example shop, which ships in the binary.

use std::ffi::OsString;

use crate::exit::Exit;

/// What the shop is told; it reads its own words.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// web | worker | setup; configured by DATABASE_URL, PORT, DB_POOL as in its README
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    storefront::cli(args.words.into_iter())?;
    Ok(Exit::Good)
}
