//! Which poolers are compared, and with which settings.

use std::path::Path;

use bench_kit::poolers::{POOLS_PREPARED, PgBouncer, Pooler, Site, pgbouncer_version};
use platform::postgres::Cluster;

/// Server connections each pooler may use in transaction mode.
const POOL_SIZE: u32 = 8;

/// Server connections at most, where each client has its own.
const SERVERS_MAX: u32 = 300;

/// What all poolers stand in front of.
pub(crate) struct Setup<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) mode: &'a str,
    pub(crate) surgetank: &'a Path,
}

impl Setup<'_> {
    /// PgBouncer first, where it is installed: it is the base of the ratio.
    pub(crate) fn start_all(&self) -> anyhow::Result<Vec<Pooler>> {
        let site = Site { cluster: self.cluster, surgetank: self.surgetank };
        let mut poolers = Vec::new();
        match pgbouncer_version() {
            Some(version) => {
                let by_session = self.mode == "prepared" && version < POOLS_PREPARED;
                let (pool_mode, size) =
                    if by_session { ("session", SERVERS_MAX) } else { ("transaction", POOL_SIZE) };
                poolers.push(site.pgbouncer(PgBouncer { version, pool_mode, size })?);
            }
            None => bench_kit::say("pgbouncer is not installed: nothing to compare with")?,
        }
        for mode in ["regulate", "observe"] {
            let mut arguments = vec!["--mode", mode];
            let limit = POOL_SIZE.to_string();
            if mode == "regulate" {
                arguments.extend(["--limit", &limit]);
            }
            let name = format!("surgetank {mode}, recording");
            let mut pooler = site.surgetank_recording(name, &arguments)?;
            if mode == "observe" {
                pooler.clients_max = SERVERS_MAX;
            }
            poolers.push(pooler);
        }
        Ok(poolers)
    }
}
