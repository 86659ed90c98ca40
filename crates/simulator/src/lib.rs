//! What a database with so many cores, disks and hot rows does to a limit.
//!
//! Discrete events, one seed: the same run on every machine. Cores and disk are shared by all who
//! are there and slow down in a crowd; rows are locked until their transaction ends; clients think,
//! give up and try again; checkpoints and vacuums take power away.
//!
//! ```text
//!   scenarios/*.toml ─▶ Scenario ─▶ run(…, Rule, seed) ─▶ Tally ─▶ Judged ─▶ table
//! ```
//!
//! `cargo run --release -p simulator` prints the table. A model, not the truth: it has no plans, no
//! memory, no network but a delay. What holds on PostgreSQL is for `bench/limit` to show.

pub mod baselines;
mod gate;
pub mod judge;
pub mod limiter;
mod meter;
pub mod random;
pub mod scenario;
mod station;
pub mod tally;
mod transaction;
mod world;

pub use limiter::{Counts, Limiter};
pub use scenario::Scenario;
pub use tally::Tally;
pub use world::{Rule, run};
