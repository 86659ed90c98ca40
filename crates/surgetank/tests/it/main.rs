//! Tests of the whole: the house's rules, the command line, the story.

use tokio::sync::Mutex;

mod cli;
mod service;
mod stage;
mod story;
mod terminal;
mod tidy;
mod tour;

/// Held by tests that load the machine, so that one does not spoil the other's measurements.
static MACHINE: Mutex<()> = Mutex::const_new(());
