//! Why the limit of executing statements changed.

use std::fmt;

use crate::Micros;

/// The limit of one database changed. Told of the centre the law holds, not of the probes of a
/// few hundredths of a second around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitChanged {
    /// When.
    pub at: Micros,
    /// The limit before.
    pub from: u32,
    /// The limit after.
    pub to: u32,
    /// Why.
    pub cause: LimitCause,
    /// By how much throughput answers to the limit, in thousandths: 1000 is in proportion, 0 not
    /// at all, negative means that less would do more. What was believed at the change.
    pub elasticity_milli: i32,
    /// The standard error of that, in thousandths.
    pub error_milli: u32,
}

/// Why the limit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitCause {
    /// The first limit: nothing is known of the database.
    Started,
    /// The first limit: what an earlier run had found.
    Remembered,
    /// Throughput was measured a little above and a little below, and answered.
    Measured,
    /// Most backends waited for locks: more of them would only wait too.
    Locked,
    /// There are not as many connections to be had.
    Ceiling,
    /// Long statements run: the limit is held near what was found without them, or, when the last
    /// has ended, put back to it.
    Long,
    /// The server refused a connection.
    Refused,
    /// The server was restarted: what was known of it may no longer hold.
    Restarted,
    /// Nobody has waited for long; a limit so far above what was used would be untested.
    Unused,
    /// The load became another one, of which far more executed than the database worked on.
    Congested,
    /// Several proxies share the limit: this one's part is another, or whoever finds it for all has
    /// found another.
    Shared,
}

impl LimitCause {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Started,
        Self::Remembered,
        Self::Measured,
        Self::Locked,
        Self::Ceiling,
        Self::Long,
        Self::Refused,
        Self::Restarted,
        Self::Unused,
        Self::Congested,
        Self::Shared,
    ];

    /// One word for it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Remembered => "remembered",
            Self::Measured => "measured",
            Self::Locked => "locked",
            Self::Ceiling => "ceiling",
            Self::Long => "long",
            Self::Refused => "refused",
            Self::Restarted => "restarted",
            Self::Unused => "unused",
            Self::Congested => "congested",
            Self::Shared => "shared",
        }
    }
}

impl fmt::Display for LimitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
