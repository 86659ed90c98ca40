//! For tests only: a real PostgreSQL, stories to diagnose, faults on the wire.
//!
//! * [`postgres()`] runs a private PostgreSQL for as long as a test holds it;
//! * [`Switch`] stops such a server and starts it again; [`Standby`] follows one;
//! * [`golden`] writes recordings by hand, one incident each;
//! * [`fault`] stands between two peers and misbehaves;
//! * [`wait_until`] waits for a condition: tests never sleep.

pub mod fault;
pub mod golden;
mod postgres;
mod restart;
mod standby;
mod wait;

pub use postgres::{Database, Session, TestPostgres, connect, postgres, postgres_with};
pub use restart::{Shutdown, Switch};
pub use standby::Standby;
pub use wait::wait_until;
