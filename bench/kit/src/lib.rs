//! What the measuring programs of `bench/` share: poolers in front of one server, and how they
//! speak.
//!
//! Nothing here measures; start reading at [`poolers`].

pub mod poolers;

use std::io::Write;

/// A line of results.
///
/// # Errors
/// If nobody takes it any more.
pub fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// A line for whoever waits; results go to [`say`].
pub fn talk(line: &str) {
    // Nobody listening is no reason to stop measuring.
    let _ = writeln!(std::io::stderr(), "{line}");
}
