//! Learns a workload from a recording, and sends it again: open-loop, seeded, at any rate.
//!
//! ```text
//!   Recording ──learn──▶ Model ──▶ Mix ──┐
//!                                         ├──▶ run ──▶ RunResult ──▶ Curve ──▶ knee
//!   Ramp + seed ──────▶ Schedule ────────┘      │
//!                                          Target (HTTP, SQL)
//! ```
//!
//! Invariants:
//! * Open loop: [`run()`] never waits for an answer before it sends the next due request. What it
//!   cannot send, because too many are in flight, it counts as failed and says so.
//! * Latency runs from the *intended* start. A generator that falls behind thereby reports worse
//!   latency, never better, and [`RunResult::lagging`] disowns the run.
//! * The same seed gives the same arrivals and the same sequence of requests, so that two arms of
//!   an experiment differ in nothing but what is tried.
//! * Only loopback addresses are loaded, unless the caller says [`Reach::Anywhere`].
//!
//! Start reading at [`schedule`], then [`run`](mod@run).

pub mod closed;
pub mod curve;
pub mod error;
pub mod learn;
pub mod mix;
pub mod model;
pub mod result;
pub mod run;
pub mod schedule;
mod tally;
pub mod target;
mod template;

pub use closed::closed;
pub use curve::{Curve, Knee, Point};
pub use error::Error;
pub use learn::learn;
pub use mix::{Mix, Request};
pub use model::{HttpClass, Model, PathCount, Range, SqlClass, Values, Workload};
pub use result::{ClassResult, Failure, FailureKind, Latency, RunResult, Second};
pub use run::{Options, Snapshot, run};
pub use schedule::{Arrival, Ramp, Schedule, Segment};
pub use target::{Http, Reach, Sql, Target};
