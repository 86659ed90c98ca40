//! Who may execute on the database, and who waits.
//!
//! Pure: told of what happens with the time, says who is next and how many may be; no clock, no
//! thread, no socket. The same calls give the same answers, so the simulator drives the very code
//! that runs in the proxy.
//!
//! ```text
//!   request ─▶ [book] ─▶ has room? ──yes─▶ executing ⇄ idle ─▶ end
//!                │          │no               │ old
//!                │          ▼                 ▼
//!                │        [fair] queue      long: a lane of its own
//!                ▼
//!             [meter] ── Window ─▶ Governor: the law ── Decision ─▶ the limit
//! ```
//!
//! Several proxies in front of one database: [`alliance`] says what each tells the others, who of
//! them runs the law, and which part of the limit and of the connections each has.
//!
//! Start reading at [`Admission`].

mod admission;
pub mod alliance;
mod book;
mod ceiling;
pub mod costs;
mod fair;
pub mod law;
mod meter;
mod mix;
mod pulse;
mod random;
pub mod window;

pub use admission::{Admission, Ask, Levels, Verdict};
pub use book::Ticket;
pub use ceiling::Rise;
pub use costs::{Cost, Costs};
pub use fair::Manner;
pub use law::Law;
pub use meter::Counts;
pub use mix::Mix;
pub use window::{Decision, Governor, Part, Window};
