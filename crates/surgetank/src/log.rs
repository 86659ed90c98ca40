//! Surgetank's own log: about its operation, on stderr. Facts about requests are events of the
//! recording, never log lines.

use tracing_subscriber::EnvFilter;

/// Starts the log: warnings, with `-v` what it does, with `-vv` everything; `SURGETANK_LOG` takes
/// tracing's filter syntax and wins.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("SURGETANK_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(crate::out::colour_of_talk())
        .with_target(false)
        .init();
}
