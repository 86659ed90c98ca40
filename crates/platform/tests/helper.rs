//! Starts containers for the tests of this room, as `surgetank __dyno` does for the binary.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(2).collect();
    platform::container::helper_main(&words)
}
