//! Clients, server connections, who waits, and pools made of both.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use trace::{BackendPid, Micros};

use super::super::table::{Cell, Table};
use super::moment;
use crate::roster::{Client, Server};
use crate::{Doing, Endpoint, Snapshot};

/// A pair of database and user.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolState {
    pub(super) database: Box<str>,
    pub(super) user: Box<str>,
    pub(super) active: usize,
    pub(super) waiting: usize,
    pub(super) servers_active: usize,
    pub(super) servers_idle: usize,
    pub(super) servers_login: usize,
    pub(super) longest_wait: Micros,
}

/// All pairs that have a client or a server connection. Idle server connections stand with the
/// first pair of their database: they serve all of them.
pub(super) fn pools(seen: &Snapshot) -> Vec<PoolState> {
    let mut pools = BTreeMap::<(Box<str>, Box<str>), PoolState>::new();
    for client in &seen.clients {
        let pair = (client.database.clone(), client.user.clone());
        let pool = pools.entry(pair).or_default();
        pool.active += usize::from(client.doing != Doing::Waiting);
        pool.servers_active += usize::from(client.doing == Doing::Active);
        if client.doing == Doing::Waiting {
            pool.waiting += 1;
            pool.longest_wait = pool.longest_wait.max(seen.at.since(client.since));
        }
    }
    for server in seen.servers.iter().filter(|server| holder(seen, server).is_none()) {
        let first = pools.keys().find(|(database, _)| *database == server.database).cloned();
        let pair =
            first.unwrap_or_else(|| (server.database.clone(), server_user(seen, server).into()));
        pools.entry(pair).or_default().servers_idle += 1;
    }
    for state in &seen.databases {
        let label = state.database.label();
        let known = seen.servers.iter().filter(|server| &*server.entry == label).count();
        let login = (state.open as usize).saturating_sub(known);
        let of_entry = |database: &str| {
            seen.clients
                .iter()
                .any(|client| &*client.entry == label && &*client.database == database)
        };
        let first = pools.iter_mut().find(|((database, _), _)| of_entry(database));
        if let Some((_, pool)) = first {
            pool.servers_login += login;
        }
    }
    let named =
        pools.into_iter().map(|((database, user), pool)| PoolState { database, user, ..pool });
    named.collect()
}

fn entry<'a>(seen: &'a Snapshot, label: &str) -> Option<&'a crate::DatabaseState> {
    seen.databases.iter().find(|state| state.database.label() == label)
}

/// Who holds a server connection.
fn holder<'a>(seen: &'a Snapshot, server: &Server) -> Option<&'a Client> {
    let holds = |client: &&Client| {
        client.doing == Doing::Active
            && client.backend == server.backend
            && client.entry == server.entry
    };
    seen.clients.iter().find(holds)
}

const HEADER: &str = "type user database replication state addr port:4 local_addr local_port:4 \
    connect_time request_time wait:4 wait_us:4 close_needed:4 ptr link remote_pid:4 tls \
    application_name prepared_statements:4 id:4 dyno requests:8 bytes_in:8 bytes_out:8";

const SOCKETS: &str = "type user database replication state addr port:4 local_addr local_port:4 \
    connect_time request_time wait:4 wait_us:4 close_needed:4 ptr link remote_pid:4 tls \
    application_name prepared_statements:4 id:4 recv_pos:4 pkt_pos:4 pkt_remain:4 send_pos:4 \
    send_remain:4 pkt_avail:4 send_avail:4";

/// How many columns of [`HEADER`] are `PgBouncer`'s.
const THEIRS: usize = 21;

pub(super) fn clients(seen: &Snapshot) -> Table {
    let mut table = Table::new(HEADER);
    for client in &seen.clients {
        table.row(client_row(seen, client));
    }
    table
}

pub(super) fn servers(seen: &Snapshot) -> Table {
    let mut table = Table::new(HEADER);
    for server in &seen.servers {
        table.row(server_row(seen, server));
    }
    table
}

pub(super) fn sockets(seen: &Snapshot) -> Table {
    let mut table = Table::new(SOCKETS);
    let clients = seen.clients.iter().map(|client| client_row(seen, client));
    let servers = seen.servers.iter().map(|server| server_row(seen, server));
    for mut row in clients.chain(servers) {
        row.truncate(THEIRS);
        row.extend(std::iter::repeat_n(Cell::from(0_u32), 7));
        table.row(row);
    }
    table
}

fn address(addr: Option<SocketAddr>) -> (Cell, Cell) {
    match addr {
        Some(addr) => (addr.ip().to_string().into(), u32::from(addr.port()).into()),
        None => ("unix".into(), 0_u32.into()),
    }
}

fn client_row(seen: &Snapshot, client: &Client) -> Vec<Cell> {
    let (state, wait) = match client.doing {
        Doing::Idle => ("idle", Micros::ZERO),
        Doing::Waiting => ("waiting", seen.at.since(client.since)),
        Doing::Active => ("active", Micros::ZERO),
    };
    let link = seen.servers.iter().find(|server| {
        client.doing == Doing::Active
            && server.backend == client.backend
            && server.entry == client.entry
    });
    let ((addr, port), (local_addr, local_port)) = (address(client.peer), address(client.local));
    vec![
        "C".into(),
        (&*client.user).into(),
        (&*client.database).into(),
        "none".into(),
        state.into(),
        addr,
        port,
        local_addr,
        local_port,
        moment(client.connected),
        moment(client.last),
        (wait.0 / 1_000_000).into(),
        (wait.0 % 1_000_000).into(),
        0_u32.into(),
        format!("c{}", client.id.0).into(),
        link.map_or_else(String::new, |server| format!("s{}", server.id)).into(),
        0_u32.into(),
        "".into(),
        (&*client.application).into(),
        0_u32.into(),
        client.id.0.into(),
        (&*client.dyno).into(),
        client.totals.requests.into(),
        client.totals.bytes_in.into(),
        client.totals.bytes_out.into(),
    ]
}

fn server_row(seen: &Snapshot, server: &Server) -> Vec<Cell> {
    let holder = holder(seen, server);
    let state = entry(seen, &server.entry);
    let upstream = state.map(|state| &state.database.upstream);
    let (addr, port) = match upstream.map(|upstream| upstream.endpoint()) {
        Some(Endpoint::Tcp { host, port }) => (host.as_str().into(), u32::from(*port).into()),
        Some(Endpoint::Unix(_)) => ("unix".into(), 0_u32.into()),
        None => (Cell::Null, 0_u32.into()),
    };
    let stale = state.is_some_and(|state| server.id < state.fresh_from);
    let pid = |backend: BackendPid| u32::try_from(backend.0).unwrap_or_default();
    vec![
        "S".into(),
        server_user(seen, server).into(),
        (&*server.database).into(),
        "none".into(),
        if holder.is_some() { "active" } else { "idle" }.into(),
        addr,
        port,
        "".into(),
        0_u32.into(),
        moment(server.opened),
        holder.map_or(Cell::Null, |client| moment(client.since)),
        0_u32.into(),
        0_u32.into(),
        stale.into(),
        format!("s{}", server.id).into(),
        holder.map_or_else(String::new, |client| format!("c{}", client.id.0)).into(),
        pid(server.backend).into(),
        "".into(),
        holder.map_or("", |client| &*client.application).into(),
        0_u32.into(),
        server.id.into(),
        holder.map_or("", |client| &*client.dyno).into(),
        0_u64.into(),
        0_u64.into(),
        0_u64.into(),
    ]
}

/// Who waits, for how long, and for whom: those who hold server connections of the same database,
/// longest first.
pub(super) fn waiters(seen: &Snapshot) -> Table {
    let mut table = Table::new(
        "role database dyno user application_name client_id:4 wait_us:8 held_us:8 remote_pid:4",
    );
    let in_queue = seen.clients.iter().filter(|client| client.doing == Doing::Waiting);
    let mut waiters: Vec<&Client> = in_queue.collect();
    waiters.sort_by_key(|client| client.since);
    let awaited = |client: &&Client| {
        client.doing == Doing::Active && waiters.iter().any(|waiter| waiter.entry == client.entry)
    };
    let mut holders: Vec<&Client> = seen.clients.iter().filter(awaited).collect();
    holders.sort_by_key(|client| client.since);
    for (role, client) in
        waiters.iter().map(|one| ("waits", one)).chain(holders.iter().map(|one| ("holds", one)))
    {
        let time = seen.at.since(client.since).0;
        let (wait, held) = if role == "waits" { (time, 0) } else { (0, time) };
        table.row(vec![
            role.into(),
            (&*client.database).into(),
            (&*client.dyno).into(),
            (&*client.user).into(),
            (&*client.application).into(),
            client.id.0.into(),
            wait.into(),
            held.into(),
            u32::try_from(client.backend.0).unwrap_or_default().into(),
        ]);
    }
    table
}

/// Who a server connection belongs to, as far as the server knows.
fn server_user<'a>(seen: &'a Snapshot, server: &'a Server) -> &'a str {
    let forced = entry(seen, &server.entry).and_then(|state| state.database.upstream.user());
    forced.unwrap_or(&server.user)
}
