//! The staging platform: an app's processes run and watched as Heroku does it, on one machine.
//!
//! ```text
//!   Procfile ─▶ Formation ─▶ Dynos ── supervises ──▶ web.1  web.2  worker.1   (process groups)
//!                              │                       ▲  │ stdout, stderr
//!            Fleet: who is up ─┤                       │  ▼
//!   browser, load ──HTTP──▶ Router ────────────────────┘ LogHub ──▶ history, tails
//!                              │                            ▲
//!                              └── heroku[router]: … ───────┘
//!   another terminal ── unix socket ──▶ control ──▶ ps · logs · scale · restart · run
//!   postgres: finds, starts and ends a private PostgreSQL
//! ```
//!
//! Words, log lines and error codes are Heroku's (Dev Center), so that what an engineer knows from
//! there is true here.
//!
//! Invariants:
//! * No process outlives us: each dyno is a process group or a container, which ends when [`Dynos`]
//!   is dropped, and on Linux also when we are killed.
//! * A dyno never waits for us: its pipes are always drained; slow readers of the log lose lines
//!   and are told so.
//! * A dyno that stops is given no new request, and knows of every request that it was given.
//! * Apart from `postgres`, nothing here knows PostgreSQL or the proxy: what a dyno needs to reach
//!   them comes in through [`DynoOptions::env_for`].
//!
//! Start reading at [`dyno`], then [`router`].

pub mod accept;
pub mod api;
pub mod container;
pub mod control;
mod doubling;
pub mod drains;
pub mod dyno;
pub mod error;
pub mod formation;
mod hash;
pub mod identity;
pub mod logs;
pub mod name;
pub mod one_off;
pub mod platform;
pub mod postgres;
mod private;
pub mod procfile;
mod random;
pub mod release;
pub mod router;
pub mod run;
pub mod tracer;

pub use api::Api;
pub use container::{ContainerOptions, Egress, Pressure, ServePort, Usage};
pub use drains::{Drain, DrainOptions, Drains};
pub use dyno::{
    ChildChange, ChildPid, Deployed, DynoInfo, DynoOptions, Dynos, EnvFor, Isolation, Size, Timing,
};
pub use error::{Error, Result};
pub use formation::Formation;
pub use identity::loopback_for;
pub use logs::{LogEntry, LogFilter, LogHub, Source, Tail};
pub use name::DynoName;
pub use one_off::{OneOff, OneOffTiming, OneOffs};
pub use platform::{Platform, app_name};
pub use procfile::Procfile;
pub use release::{App, ConfigVars, Release, ReleaseInfo, ReleaseStatus, Releases};
pub use router::{Maintenance, Router, RouterLimits, RouterOptions, RouterTiming};
pub use run::{
    Aspect, DatabaseTally, EnvironmentDifference, RunComparison, RunOptions, RunOutcome, RunResult,
    Tally, run,
};
pub use tracer::Tracer;
