//! The words for what happened to a request.
//!
//! `trace` is the narrow waist of Surgetank: the data plane, the observer of PostgreSQL and the
//! platform all speak in these plain values; recording, diagnosis and report listen to them.
//!
//! ```text
//!   proxy ─┐
//!   observe ├──▶ Event ──▶ Sink ──▶ (recording) ──▶ diagnose, load, report
//!   platform ┘
//! ```
//!
//! Invariants:
//! * No I/O, no formats: how an event is stored belongs to `recording`, how it looks to `report`.
//! * [`Sink::record`] never blocks. It says whether the event was kept; what was not kept is
//!   counted by the sink and becomes an [`Event::EventsLost`].
//! * All times are [`Micros`] of one [`Clock`]; every room is handed that clock.
//!
//! Start reading at [`event`], then [`request`].

pub mod clock;
pub mod event;
pub mod ids;
pub mod limit;
pub mod names;
pub mod numbers;
pub mod outcome;
pub mod request;
pub mod sink;

pub use clock::{Clock, Micros};
pub use event::{
    ActivitySampled, BackendSample, DynoState, Event, HttpServed, LockWaitSampled, LogLine,
    PinCause, PlanSeen, PoolSampled, Refusal, RequestTraced, StatementSampled, StatementSeen,
    TableSampled,
};
pub use ids::{BackendPid, DynoId, Fingerprint, SessionId, TraceId};
pub use limit::{LimitCause, LimitChanged};
pub use names::DynoNames;
pub use outcome::{Blame, Outcome, SqlState};
pub use request::{Request, RequestKind, TransactionState};
pub use sink::{NoSink, Sink};
