//! The binary: command line, wiring, shutdown. The only room that knows all the others.
//!
//! ```text
//! cli/*      what can be typed; each file is one command, thin
//! staging/*  a run of an app: PostgreSQL, proxy, recorder, observer, dynos, router (also `up`)
//! service/*  what a proxy does as a service: sd_notify, socket activation, handover, signals
//! demo/*     the story in eight acts, made of stagings, load and diagnosis
//! ```
//! Logic worth testing on its own lives in the rooms below, not here.

mod cli;
mod config;
mod demo;
mod exit;
mod knees;
mod log;
mod metrics;
mod out;
mod progress;
mod service;
mod shutdown;
mod staging;
mod tally;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything that could start a thread: what becomes a container must have only one.
    let mut words = std::env::args_os().skip(1);
    let first = words.next().unwrap_or_default();
    if first == "__dyno" {
        return platform::container::helper_main(&words.collect::<Vec<_>>());
    }
    if first == service::offspring::STARTER {
        return service::offspring::starter_main(words);
    }
    cli::main(std::env::args_os()).into()
}
