//! The data plane: it stands between the clients and PostgreSQL, and records every request.
//!
//! ```text
//!   client ─▶ listen ─▶ login ─┬─▶ observe   one server connection per client, nothing changed
//!                              └─▶ regulate  admission ─▶ pool ─▶ backend, per transaction
//!                        both: pump (bytes) + conversation (what they mean) ─▶ journal ─▶ Sink
//! ```
//!
//! Invariants:
//! * In `observe` mode the bytes of a session are not changed, but for `surgetank.*` parameters in
//!   its startup packet.
//! * Open server connections never exceed the cap of `regulate` mode; starvation is never taken for
//!   an outage of PostgreSQL.
//! * A server connection whose state is not known exactly is closed, never used again.
//! * No lock is held across an await; no queue is without a limit; no task outlives
//!   [`Proxy::shutdown`].
//! * What may be decided without I/O is decided in the room `admission`, and here in `pool`,
//!   `conversation`, `settings` and `statements`, which know no socket and no clock.
//!
//! Start reading at [`Proxy`], then `observe`, `pump` and `conversation`; then `regulate`.

mod access;
mod address;
mod admin;
mod answer;
mod authenticate;
mod backend;
mod budget;
mod buffer;
mod call;
mod cancel;
mod client;
mod config;
mod control;
mod conversation;
mod databases;
mod dynos;
mod error;
mod gate;
mod handover;
mod journal;
mod kill;
mod listen;
mod login;
mod lookup;
mod observe;
mod pool;
mod process;
mod proxy;
mod pump;
mod readings;
mod regulate;
mod roster;
mod sequences;
mod settings;
mod statements;
mod stream;
mod timer;
mod tls;
mod upstream;
mod worker;

pub use access::{Access, AuthQuery, Listed, Method, Rules, Users};
pub use address::Address;
pub use cancel::Stray;
pub use config::{Config, Database, Mode, Setting};
pub use control::{
    AllianceState, Control, DatabaseState, Ending, Knee, LimitState, Order, Rank, Refused, Snapshot,
};
pub use dynos::{Dynos, Treatment};
pub use error::Error;
pub use handover::{Canceller, Handed, Held};
pub use listen::unix::SocketPermissions;
pub use proxy::{Origin, Proxy, Serving};
pub use roster::{BOUNDS, Client, Doing, Histogram, Server, Totals};
pub use tls::{ClientTls, SslMode};
pub use upstream::{Endpoint, Upstream};
