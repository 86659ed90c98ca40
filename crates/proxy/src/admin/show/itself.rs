//! What is told of the proxy itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::admin::table::{Cell, Table};
use crate::{Endpoint, Snapshot};

/// There are no caches of equal pieces here: one row, in pages of 1 KiB.
pub(super) fn memory(seen: &Snapshot) -> Table {
    let mut table = Table::new("name size:4 used:4 free:4 memtotal:8");
    if let Some(bytes) = seen.memory {
        let row = ["resident".into(), 1024_u32.into(), (bytes / 1024).into(), 0_u32.into()];
        table.row(row.into_iter().chain([bytes.into()]).collect());
    }
    table
}

/// The names among the servers' hosts. Each new connection looks its own up: nothing is kept.
pub(super) fn hosts(seen: &Snapshot) -> Table {
    let mut table = Table::new("hostname ttl:8 addrs");
    let endpoints = seen.databases.iter().map(|state| state.database.upstream.endpoint());
    let names: BTreeSet<&str> = endpoints
        .filter_map(|endpoint| match endpoint {
            Endpoint::Tcp { host, .. } if host.parse::<IpAddr>().is_err() => Some(host.as_str()),
            Endpoint::Tcp { .. } | Endpoint::Unix(_) => None,
        })
        .collect();
    for name in names {
        table.row(vec![name.into(), 0_u32.into(), Cell::Null]);
    }
    table
}

pub(super) fn state(seen: &Snapshot) -> Table {
    let mut table = Table::new("key value");
    let paused = seen.databases.iter().all(|database| database.paused);
    let word = |yes| if yes { "yes" } else { "no" };
    table.row(vec!["active".into(), word(!paused).into()]);
    table.row(vec!["paused".into(), word(paused).into()]);
    table.row(vec!["suspended".into(), "no".into()]);
    table
}
