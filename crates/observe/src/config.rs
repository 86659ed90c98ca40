//! What the observer must be told.

use std::time::Duration;

/// Whom to ask, and how often.
#[derive(Clone, Debug)]
pub struct ObserveConfig {
    /// Address, database and role: a superuser, or a member of `pg_monitor`. Its application name
    /// is replaced by `surgetank-observer`.
    pub postgres: tokio_postgres::Config,
    /// Whether to create the extension `pg_stat_statements` where it is not. It must be in
    /// `shared_preload_libraries` to be of use.
    pub create_extension: bool,
    /// Between two samples of activity and lock waits.
    pub activity_period: Duration,
    /// Between two samples of statements and tables.
    pub totals_period: Duration,
}

impl ObserveConfig {
    /// Ten samples of activity a second, one of totals; creates nothing.
    #[must_use]
    pub fn new(postgres: tokio_postgres::Config) -> Self {
        Self {
            postgres,
            create_extension: false,
            activity_period: Duration::from_millis(100),
            totals_period: Duration::from_secs(1),
        }
    }
}
