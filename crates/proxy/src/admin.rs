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
use crate::client::Client;
use crate::roster::Badge;

/// The names of the admin database: `PgBouncer`'s and ours.
const NAMES: [&str; 2] = ["pgbouncer", "surgetank"];

/// Whom the operating system vouches for: as `PgBouncer` names it.
const OWN_USER: &str = "pgbouncer";

/// Whether a client means the admin database, of which there is one for admins, and always for
/// whom the operating system vouches for.
pub(crate) fn is_asked_for(client: &Client, badge: &Badge, config: &Config) -> bool {
    let is_named = NAMES.contains(&&*badge.database);
    is_named && (config.has_admin_database() || is_vouched_for(client, badge))
}

/// Whether it comes over a Unix socket from a process of the operating system's user that we run
/// as. That one could stop us as well, so it need not prove anything.
fn is_vouched_for(client: &Client, badge: &Badge) -> bool {
    &*badge.user == OWN_USER && client.stream.is_our_own_user()
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
