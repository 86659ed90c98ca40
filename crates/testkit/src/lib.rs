//! For tests only: a real PostgreSQL, stories to diagnose, faults on the wire.
//!
//! * [`postgres()`] runs a private PostgreSQL for as long as a test holds it;
//! * [`golden`] writes recordings by hand, one incident each;
//! * [`fault`] stands between two peers and misbehaves;
//! * [`wait_until`] waits for a condition: tests never sleep.

pub mod fault;
pub mod golden;
mod postgres;
mod wait;

pub use postgres::{Database, Session, TestPostgres, connect, postgres, postgres_with};
pub use wait::wait_until;
