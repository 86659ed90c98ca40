//! What the measuring programs of `bench/` share: poolers in front of one server, the CPU time of a
//! process, and how they speak. Start reading at [`poolers`].

pub mod cpu;
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

/// The value in the middle; sorts the values.
///
/// # Panics
/// There is none.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
