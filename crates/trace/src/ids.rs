//! Identities. A newtype each, so that a session is never taken for a backend.

/// One dyno (an app process, `web.1`) within a recording; its name comes as
/// [`Event::DynoNamed`](crate::Event::DynoNamed), before its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DynoId(pub u16);

/// One client connection to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u32);

/// The process id of a PostgreSQL backend, as `pg_stat_activity.pid` has it. 0 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BackendPid(pub i32);

impl BackendPid {
    /// No backend took part.
    pub const NONE: Self = Self(0);
}

/// Identifies a statement apart from its literals. 0 is "none" (a connect, a bare Sync).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// No statement took part.
    pub const NONE: Self = Self(0);
}
