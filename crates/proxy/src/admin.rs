//! The admin database: a client that asks for `pgbouncer` or `surgetank` talks to the proxy itself.
//!
//! ```text
//!   bytes ─▶ session (protocol) ─▶ command (what is meant) ─▶ control (does it)
//!                    ▲                                            │ snapshot
//!                    └──────────── table (messages) ◀── show ◀────┘
//! ```
//! It speaks the simple protocol, and as much of the extended one as drivers need to send a command
//! without parameters. It needs no server connection, so it works when nothing else does.

mod command;
mod enter;
mod session;
mod show;
mod table;

pub(crate) use enter::serve;

use crate::Config;

/// The names of the admin database: `PgBouncer`'s and ours.
const NAMES: [&str; 2] = ["pgbouncer", "surgetank"];

/// Whether a client that asks for this database means the admin database.
pub(crate) fn is_asked_for(database: &str, config: &Config) -> bool {
    config.has_admin_database() && NAMES.contains(&database)
}

/// What a user may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Everything.
    Admin,
    /// Look.
    Stats,
}

impl Rank {
    fn of(user: &str, config: &Config) -> Option<Self> {
        let is_among = |users: &[String]| users.iter().any(|one| one == user);
        if is_among(&config.admin_users) {
            Some(Self::Admin)
        } else {
            is_among(&config.stats_users).then_some(Self::Stats)
        }
    }
}
