//! What `SHOW` shows: a snapshot as tables, with `PgBouncer` 1.25's columns by name, type and
//! order where it has the command; our own columns come after them. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use trace::Micros;

use super::command::{SHOWS, Show};
use super::table::{Cell, Table};
use crate::config::STATIC_LIMIT;
use crate::roster::Totals;
use crate::{Config, Endpoint, Mode, Snapshot};

mod connections;
mod itself;
mod limit;

/// What is shown.
pub(super) fn table(show: Show, seen: &Snapshot, config: &Config) -> Table {
    match show {
        Show::Help => help(),
        Show::Version => {
            let mut table = Table::new("version");
            let text =
                concat!("Surgetank ", env!("CARGO_PKG_VERSION"), " (PgBouncer 1.25 console)");
            table.row(vec![text.into()]);
            table
        }
        Show::Stats => stats(seen),
        Show::StatsTotals => stats_totals(seen),
        Show::StatsAverages => stats_averages(seen),
        Show::Totals => totals(seen),
        Show::Servers => connections::servers(seen),
        Show::Clients => connections::clients(seen),
        Show::Sockets | Show::ActiveSockets => connections::sockets(seen),
        Show::Waiters => connections::waiters(seen),
        Show::Pools => pools(seen),
        Show::Lists => lists(seen),
        Show::Users => users(seen),
        Show::Databases => databases(seen, config),
        Show::Config => settings(config),
        Show::State => itself::state(seen),
        Show::Limit => limit::limit(seen),
        Show::Mem => itself::memory(seen),
        Show::DnsHosts => itself::hosts(seen),
        // What there is none of here: sockets are handed over by other means, no zone is watched.
        Show::Fds => Table::new(
            "fd:4 task user database addr port:4 cancel:8 link:4 client_encoding std_strings \
             datestyle timezone password scram_client_key:b scram_server_key:b",
        ),
        Show::DnsZones => Table::new("zonename serial:8 count:4"),
        Show::Peers => Table::new("peer_id:4 host port:4 pool_size:4"),
        Show::PeerPools => Table::new(
            "database:4 cl_active_cancel_req:4 cl_waiting_cancel_req:4 sv_active_cancel:4 \
             sv_login:4",
        ),
    }
}

fn help() -> Table {
    let mut table = Table::new("command what");
    let shows: Vec<&str> = SHOWS.iter().map(|(name, _)| *name).collect();
    let lines = [
        (format!("SHOW {}", shows.join("|")), "look"),
        ("SET key = value".to_owned(), "change a setting of SHOW CONFIG until the next reload"),
        ("RELOAD".to_owned(), "read the configuration again, whole or not at all"),
        ("PAUSE [db]".to_owned(), "let requests wait; returns when no server connection is left"),
        ("RESUME [db]".to_owned(), "end PAUSE or KILL"),
        ("DISABLE db".to_owned(), "send new clients away"),
        ("ENABLE db".to_owned(), "let them in again"),
        ("RECONNECT [db]".to_owned(), "close server connections as they are given back"),
        ("WAIT_CLOSE [db]".to_owned(), "returns when those are closed"),
        ("KILL [db]".to_owned(), "end all sessions at once; new ones wait for RESUME"),
        ("KILL_CLIENT id".to_owned(), "end one session at once"),
        ("SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]".to_owned(), "end the proxy"),
    ];
    for (command, what) in lines {
        table.row(vec![command.into(), what.into()]);
    }
    table
}

/// What is counted, in `PgBouncer`'s order: assignments, transactions, queries, bytes in and out,
/// time in transactions, in queries, waiting; and three of prepared statements, which are not
/// counted here.
fn figures(totals: &Totals) -> [u64; 11] {
    [
        totals.assignments,
        totals.transactions,
        totals.requests,
        totals.bytes_in,
        totals.bytes_out,
        totals.transaction_time,
        totals.server_time,
        totals.wait_time,
        0,
        0,
        0,
    ]
}

fn by_database(seen: &Snapshot) -> BTreeMap<Box<str>, Totals> {
    let mut sums = BTreeMap::<Box<str>, Totals>::new();
    for ((database, _), totals) in &seen.by_user {
        sums.entry(database.clone()).or_default().add(totals);
    }
    sums
}

/// Averages over the last whole period: per second, or per thing that took the time.
fn averages(seen: &Snapshot, database: &str) -> [u64; 11] {
    let ((from, before), (to, after)) = (&seen.periods.before, &seen.periods.last);
    let none = Totals::default();
    let figures_of = |sums: &std::collections::HashMap<Box<str>, Totals>| {
        figures(sums.get(database).unwrap_or(&none))
    };
    let (before, after) = (figures_of(before), figures_of(after));
    let more: [u64; 11] = std::array::from_fn(|index| after[index].saturating_sub(before[index]));
    let span = to.since(*from).0.max(1);
    let a_second = |count: u64| {
        u64::try_from(u128::from(count) * 1_000_000 / u128::from(span)).unwrap_or(u64::MAX)
    };
    let mut averages = more.map(a_second);
    averages[5] = more[5] / more[1].max(1);
    averages[6] = more[6] / more[2].max(1);
    averages[7] = more[7] / more[0].max(1);
    averages
}

fn stats_row(database: &str, figures: impl IntoIterator<Item = u64>) -> Vec<Cell> {
    std::iter::once(database.into()).chain(figures.into_iter().map(Cell::from)).collect()
}

fn stats(seen: &Snapshot) -> Table {
    let mut table = Table::new(
        "database total_server_assignment_count:n total_xact_count:n total_query_count:n \
         total_received:n total_sent:n total_xact_time:n total_query_time:n total_wait_time:n \
         total_client_parse_count:n total_server_parse_count:n total_bind_count:n \
         avg_server_assignment_count:n avg_xact_count:n avg_query_count:n avg_recv:n avg_sent:n \
         avg_xact_time:n avg_query_time:n avg_wait_time:n avg_client_parse_count:n \
         avg_server_parse_count:n avg_bind_count:n total_errors:n",
    );
    for (database, totals) in by_database(seen) {
        let all = figures(&totals).into_iter().chain(averages(seen, &database));
        table.row(stats_row(&database, all.chain([totals.errors])));
    }
    table
}

const FIGURES: &str = "database server_assignment_count:n xact_count:n query_count:n \
    bytes_received:n bytes_sent:n xact_time:n query_time:n wait_time:n client_parse_count:n \
    server_parse_count:n bind_count:n";

fn stats_totals(seen: &Snapshot) -> Table {
    let mut table = Table::new(FIGURES);
    for (database, totals) in by_database(seen) {
        table.row(stats_row(&database, figures(&totals)));
    }
    table
}

fn stats_averages(seen: &Snapshot) -> Table {
    let mut table = Table::new(FIGURES);
    for database in by_database(seen).keys() {
        table.row(stats_row(database, averages(seen, database)));
    }
    table
}

fn totals(seen: &Snapshot) -> Table {
    let mut table = Table::new("name value:n");
    let (mut sums, mut means) = ([0_u64; 11], [0_u64; 11]);
    for (database, totals) in by_database(seen) {
        for (sum, one) in sums.iter_mut().zip(figures(&totals)) {
            *sum += one;
        }
        for (sum, one) in means.iter_mut().zip(averages(seen, &database)) {
            *sum += one;
        }
    }
    let names = stats_totals(seen).columns;
    for (prefix, values) in [("total_", sums), ("avg_", means)] {
        for ((name, _), value) in names.iter().skip(1).zip(values) {
            table.row(vec![format!("{prefix}{name}").into(), value.into()]);
        }
    }
    table
}

fn pool_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "session",
        Mode::Regulate => "transaction",
    }
}

fn pools(seen: &Snapshot) -> Table {
    let mut table = Table::new(
        "database user cl_active:4 cl_waiting:4 cl_active_cancel_req:4 cl_waiting_cancel_req:4 \
         sv_active:4 sv_active_cancel:4 sv_being_canceled:4 sv_idle:4 sv_used:4 sv_tested:4 \
         sv_login:4 maxwait:4 maxwait_us:4 pool_mode load_balance_hosts",
    );
    for pool in connections::pools(seen) {
        let wait = pool.longest_wait.0;
        table.row(vec![
            (&*pool.database).into(),
            (&*pool.user).into(),
            pool.active.into(),
            pool.waiting.into(),
            0_u32.into(),
            0_u32.into(),
            pool.servers_active.into(),
            0_u32.into(),
            0_u32.into(),
            pool.servers_idle.into(),
            0_u32.into(),
            0_u32.into(),
            pool.servers_login.into(),
            (wait / 1_000_000).into(),
            (wait % 1_000_000).into(),
            pool_mode(seen.mode).into(),
            Cell::Null,
        ]);
    }
    table
}

fn lists(seen: &Snapshot) -> Table {
    let mut table = Table::new("list items:4");
    let mut users: Vec<&str> = seen.by_user.keys().map(|(_, user)| &**user).collect();
    users.sort_unstable();
    users.dedup();
    let lists = [
        ("databases", seen.databases.len()),
        ("users", users.len()),
        ("peers", 0),
        ("pools", connections::pools(seen).len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", seen.clients.len()),
        ("login_clients", 0),
        ("free_servers", 0),
        ("used_servers", seen.servers.len()),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    for (list, items) in lists {
        table.row(vec![list.into(), items.into()]);
    }
    table
}

fn users(seen: &Snapshot) -> Table {
    let mut table = Table::new(
        "name pool_size reserve_pool_size pool_mode max_user_connections:4 current_connections:4 \
         max_user_client_connections:4 current_client_connections:4",
    );
    let mut users = BTreeMap::<&str, (usize, usize)>::new();
    for (_, user) in seen.by_user.keys() {
        users.entry(user).or_default();
    }
    for client in &seen.clients {
        let (servers, clients) = users.entry(&client.user).or_default();
        *clients += 1;
        *servers += usize::from(client.doing == crate::Doing::Active);
    }
    for (user, (servers, clients)) in users {
        table.row(vec![
            user.into(),
            "".into(),
            "".into(),
            Cell::Null,
            0_u32.into(),
            servers.into(),
            0_u32.into(),
            clients.into(),
        ]);
    }
    table
}

fn databases(seen: &Snapshot, config: &Config) -> Table {
    let mut table = Table::new(
        "name host port:4 database force_user pool_size:4 min_pool_size:4 reserve_pool_size:4 \
         server_lifetime:4 pool_mode load_balance_hosts max_connections:4 current_connections:4 \
         max_client_connections:4 current_client_connections:4 paused:4 disabled:4 waiting:4",
    );
    for state in &seen.databases {
        let database = &state.database;
        let label = database.label();
        let (host, port): (String, u32) = match database.upstream.endpoint() {
            Endpoint::Tcp { host, port } => (host.clone(), (*port).into()),
            Endpoint::Unix(path) => {
                let port = path.extension().and_then(|port| port.to_str()?.parse().ok());
                let folder = path.parent().unwrap_or(path);
                (folder.display().to_string(), port.unwrap_or_default())
            }
        };
        let here = seen.clients.iter().filter(|client| &*client.entry == label).count();
        let open = seen.servers.iter().filter(|server| &*server.entry == label).count();
        let configured = config.limit.map_or(STATIC_LIMIT, NonZeroU32::get);
        let pool_size = if state.limit > 0 { state.limit } else { configured };
        table.row(vec![
            label.into(),
            host.into(),
            port.into(),
            database.server_name.as_deref().unwrap_or(label).into(),
            database.upstream.user().map_or(Cell::Null, Into::into),
            pool_size.into(),
            0_u32.into(),
            0_u32.into(),
            0_u32.into(),
            pool_mode(seen.mode).into(),
            Cell::Null,
            state.limit.into(),
            open.into(),
            0_u32.into(),
            here.into(),
            state.paused.into(),
            state.disabled.into(),
            state.waiting.into(),
        ]);
    }
    table
}

fn settings(config: &Config) -> Table {
    let mut table = Table::new("key value default changeable");
    for setting in config.settings() {
        let changeable = if setting.changeable { "yes" } else { "no" };
        table.row(vec![
            setting.key.into(),
            setting.value.into(),
            setting.default.into(),
            changeable.into(),
        ]);
    }
    table
}

/// A point in time as `PgBouncer` writes it.
fn moment(at: Micros) -> Cell {
    if at == Micros::ZERO {
        return Cell::Null;
    }
    let (days, second) = (at.0 / 86_400_000_000, at.0 / 1_000_000 % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC").into()
}

/// The date of a day since 1970-01-01: in years that begin in March, leap days come last, so that
/// months have a pattern (30.6 days on average).
fn date(days: u64) -> (u64, u64, u64) {
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_readable() {
        let cases = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_000, (2024, 10, 4)),
            (20_819, (2027, 1, 1)),
        ];
        for (days, expected) in cases {
            assert_eq!(date(days), expected, "{days}");
        }
        let at = Micros(20_000 * 86_400_000_000 + 3_723_000_000);
        assert_eq!(moment(at), "2024-10-04 01:02:03 UTC".into());
        assert_eq!(moment(Micros::ZERO), Cell::Null);
    }
}
