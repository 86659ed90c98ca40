//! Asks PostgreSQL how it feels, and tells the recording.
//!
//! ```text
//!   PostgreSQL ◀── activity, lock waits   10 times a second ──┐
//!              ◀── statements, tables     once a second       ├─▶ Event ─▶ Sink
//!              ◀── settings               at each connect     │
//!              ◀── plans                  when asked for ─────┘
//! ```
//!
//! Invariants:
//! * It changes nothing in the database, except that it may create `pg_stat_statements` where the
//!   configuration says so: its sessions are read-only.
//! * Its cost is bounded: one session, one query at a time, each with a time limit; a tick that
//!   comes late is skipped, never made up for.
//! * It never fails the app. What it cannot ask is left out and logged once; while it has no
//!   connection it tries again, ever more slowly, and the recording has a mark at both ends.
//! * Statement texts leave this room without literals.
//!
//! Start reading at [`observer`], then `sampler`.

pub mod config;
pub mod error;
pub mod observer;

mod activity;
mod connection;
mod locks;
mod plans;
mod sampler;
mod seen;
mod settings;
mod statements;
mod tables;

pub use config::ObserveConfig;
pub use error::Error;
pub use observer::Observer;
