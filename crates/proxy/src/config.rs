//! What a proxy is told when it starts.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::Upstream;

/// What the proxy does with the sessions that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// One server connection per client; nothing is changed, everything is recorded.
    Observe,
    /// Transaction pooling: at most `limit` server connections, a queue in front of them.
    Regulate,
}

/// A proxy's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it does.
    pub mode: Mode,
    /// The server it stands in front of.
    pub upstream: Upstream,
    /// Threads that carry sessions. One is enough for tens of thousands of requests a second.
    pub workers: NonZeroUsize,
    /// `regulate`: most server connections that may be open at once. Must leave room in the
    /// server's
    /// `max_connections` for superusers and for those who do not come through the proxy.
    pub limit: NonZeroU32,
    /// `regulate`: how long a request may wait for a server connection before it is refused.
    pub queue_timeout: Duration,
    /// How long opening a server connection may take, from TCP to the end of authentication.
    pub connect_timeout: Duration,
}

impl Config {
    /// The defaults: half as many workers as cores, 20 server connections, 5 s of patience.
    #[must_use]
    pub fn new(mode: Mode, upstream: Upstream) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            mode,
            upstream,
            workers: NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN),
            limit: NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN),
            queue_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
        }
    }
}
