//! Who may execute on the database, and who waits.
//!
//! Pure: told of what happens with the time, says who is next and how many may be; no clock, no
//! thread, no socket. The same calls give the same answers, so the simulator drives the very code
//! that runs in the proxy.

pub mod costs;
pub mod law;
pub mod window;

pub use costs::Costs;
pub use law::Law;
pub use window::{Decision, Window};
