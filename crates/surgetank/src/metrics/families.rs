//! What is told of a proxy, by which names. Pure. `docs/metrics.md` lists the same.
//!
//! What comes and goes between two scrapes is told as sums: opened and closed, waits by length. A
//! gauge is for what lasts.

use std::collections::BTreeMap;

use proxy::{Client, DatabaseState, Doing, Mode, Rank, Snapshot, Totals};
use trace::{Micros, PinCause, SqlState};

use super::page::{Kind, Labels, Page};

/// A sum of a database and user, or of a dyno.
type Sum = (&'static str, &'static str, fn(&Totals) -> Figure);

/// A number and its unit.
enum Figure {
    Count(u64),
    Time(u64),
}

const BY_USER: [Sum; 8] = [
    ("surgetank_requests_total", "Requests that are done.", |t| Figure::Count(t.requests)),
    ("surgetank_errors_total", "Requests and logins that failed.", |t| Figure::Count(t.errors)),
    ("surgetank_transactions_total", "Transactions that are done.", |t| {
        Figure::Count(t.transactions)
    }),
    ("surgetank_assignments_total", "Times that a server connection was assigned.", |t| {
        Figure::Count(t.assignments)
    }),
    ("surgetank_received_bytes_total", "Bytes from clients.", |t| Figure::Count(t.bytes_in)),
    ("surgetank_sent_bytes_total", "Bytes to clients.", |t| Figure::Count(t.bytes_out)),
    ("surgetank_server_seconds_total", "Time from sending requests to their answers' ends.", |t| {
        Figure::Time(t.server_time)
    }),
    ("surgetank_transaction_seconds_total", "Time in transactions.", |t| {
        Figure::Time(t.transaction_time)
    }),
];

const BY_DYNO: [Sum; 5] = [
    ("surgetank_dyno_requests_total", "Requests of a dyno that are done.", |t| {
        Figure::Count(t.requests)
    }),
    ("surgetank_dyno_errors_total", "Requests and logins of a dyno that failed.", |t| {
        Figure::Count(t.errors)
    }),
    ("surgetank_dyno_transactions_total", "Transactions of a dyno that are done.", |t| {
        Figure::Count(t.transactions)
    }),
    ("surgetank_dyno_wait_seconds_total", "Time a dyno waited for server connections.", |t| {
        Figure::Time(t.wait_time)
    }),
    ("surgetank_dyno_server_seconds_total", "Time at the server of a dyno's requests.", |t| {
        Figure::Time(t.server_time)
    }),
];

/// A state of a database of the configuration.
type Level = (&'static str, &'static str, fn(&DatabaseState) -> u32);

const OF_ENTRY: [Level; 2] = [
    ("surgetank_paused", "1 while requests are held back by PAUSE or KILL.", |s| s.paused.into()),
    ("surgetank_disabled", "1 while new clients are sent away by DISABLE.", |s| s.disabled.into()),
];

/// `regulate` only.
const OF_POOL: [Level; 14] = [
    ("surgetank_pool_limit", "Most server connections.", |s| s.limit),
    ("surgetank_pool_open", "Server connections that are open or being opened.", |s| s.open),
    ("surgetank_pool_idle", "Server connections that are open and not in use.", |s| s.idle),
    ("surgetank_pool_leased", "Server connections that may be in use.", |s| s.leased),
    ("surgetank_pool_waiting", "Requests that wait for a server connection.", |s| s.waiting),
    ("surgetank_pool_short_limit", "How many short statements may execute at once.", |s| {
        s.executing.limit
    }),
    ("surgetank_pool_long_limit", "How many long statements may execute beside them.", |s| {
        s.executing.long_limit
    }),
    ("surgetank_pool_executing", "Transactions of which a short statement executes.", |s| {
        s.executing.executing
    }),
    ("surgetank_pool_long", "Transactions of which a long statement executes.", |s| {
        s.executing.long
    }),
    (
        "surgetank_pool_idle_in_transaction",
        "Transactions that are open while nothing executes.",
        |s| s.executing.idle,
    ),
    ("surgetank_pool_proxies", "Proxies of the database, this one included; 0: not known.", |s| {
        s.executing.alliance.map_or(0, |alliance| alliance.proxies)
    }),
    ("surgetank_pool_leads", "1 while this proxy finds the limit for all.", |s| {
        s.executing.alliance.is_some_and(|alliance| alliance.rank == Rank::Leader).into()
    }),
    ("surgetank_pool_all_short_limit", "How many short statements may execute, of all.", |s| {
        s.executing.alliance.map_or(s.executing.limit, |alliance| alliance.total)
    }),
    (
        "surgetank_pool_all_room",
        "Server connections that all together may have; 0: unknown.",
        |s| s.executing.alliance.map_or(0, |alliance| alliance.room),
    ),
];

/// Refusals whose first one must be seen as a rise from zero.
const REFUSALS: [SqlState; 3] =
    [SqlState::TOO_MANY_CONNECTIONS, SqlState::CONNECTION_FAILURE, SqlState::CANNOT_CONNECT_NOW];

const PINS: [PinCause; 8] = [
    PinCause::Set,
    PinCause::Prepare,
    PinCause::Listen,
    PinCause::TemporaryTable,
    PinCause::CursorWithHold,
    PinCause::AdvisoryLock,
    PinCause::Unknown,
    PinCause::ReplicationSlot,
];

/// The proxy's numbers.
pub(super) fn put(page: &mut Page, seen: &Snapshot) {
    let mode = seen.mode.to_string();
    let version = env!("CARGO_PKG_VERSION");
    page.family(Kind::Gauge, "surgetank_info", "Version and mode; always 1.")
        .value(&[("version", version), ("mode", &mode)], 1);
    connections(page, seen);
    let entries = seen.databases.iter();
    let levels = entries.clone().map(|state| (state.database.label(), state)).collect::<Vec<_>>();
    put_levels(page, &OF_ENTRY, &levels);
    if seen.mode == Mode::Regulate {
        put_levels(page, &OF_POOL, &levels);
    }
    for (name, help, figure) in BY_USER {
        let mut family = page.family(Kind::Counter, name, help);
        for ((database, user), totals) in &seen.by_user {
            put_figure(&mut family, &[("database", database), ("user", user)], &figure(totals));
        }
    }
    histograms(page, seen);
    for (name, help, figure) in BY_DYNO {
        let mut family = page.family(Kind::Counter, name, help);
        for (dyno, totals) in &seen.by_dyno {
            put_figure(&mut family, &[("dyno", dyno)], &figure(totals));
        }
    }
    causes(page, seen);
}

fn put_figure(family: &mut super::page::Family<'_>, labels: &Labels<'_>, figure: &Figure) {
    match *figure {
        Figure::Count(count) => family.value(labels, count),
        Figure::Time(micros) => family.seconds(labels, Micros(micros)),
    }
}

fn put_levels(page: &mut Page, levels: &[Level], entries: &[(&str, &DatabaseState)]) {
    for (name, help, level) in levels {
        let mut family = page.family(Kind::Gauge, name, help);
        for (entry, state) in entries {
            family.value(&[("entry", entry)], level(state));
        }
    }
}

/// Sessions and server connections: how many there were, and are now.
fn connections(page: &mut Page, seen: &Snapshot) {
    let closed = |ever: u64, now: usize| ever.saturating_sub(now as u64);
    let sums = [
        ("surgetank_sessions_opened_total", "Sessions that began.", seen.clients_entered),
        (
            "surgetank_sessions_closed_total",
            "Sessions that ended.",
            closed(seen.clients_entered, seen.clients.len()),
        ),
        (
            "surgetank_server_connections_opened_total",
            "Server connections that were opened.",
            seen.servers_opened,
        ),
        (
            "surgetank_server_connections_closed_total",
            "Server connections that were closed.",
            closed(seen.servers_opened, seen.servers.len()),
        ),
    ];
    for (name, help, sum) in sums {
        page.family(Kind::Counter, name, help).value(&[], sum);
    }
    let entries: Vec<&str> = seen.databases.iter().map(|state| state.database.label()).collect();
    let mut family = page.family(Kind::Gauge, "surgetank_sessions", "Sessions by what they do.");
    for entry in &entries {
        for (word, doing) in
            [("idle", Doing::Idle), ("waiting", Doing::Waiting), ("active", Doing::Active)]
        {
            let same = |client: &&Client| *client.entry == **entry && client.doing == doing;
            let count = seen.clients.iter().filter(same).count();
            family.value(&[("entry", entry), ("state", word)], count);
        }
    }
    let name = "surgetank_server_connections";
    let mut family = page.family(Kind::Gauge, name, "Server connections that are open.");
    for entry in &entries {
        let count = seen.servers.iter().filter(|server| *server.entry == **entry).count();
        family.value(&[("entry", entry)], count);
    }
    let name = "surgetank_longest_wait_seconds";
    let mut family = page.family(Kind::Gauge, name, "How long the longest of those waits so far.");
    for entry in &entries {
        let waits = seen
            .clients
            .iter()
            .filter(|client| *client.entry == **entry && client.doing == Doing::Waiting);
        let longest = waits.map(|client| seen.at.since(client.since)).max();
        family.seconds(&[("entry", entry)], longest.unwrap_or_default());
    }
}

/// By database only: a series has seventeen lines.
fn histograms(page: &mut Page, seen: &Snapshot) {
    let mut sums = BTreeMap::<&str, Totals>::new();
    for ((database, _), totals) in &seen.by_user {
        sums.entry(database).or_default().add(totals);
    }
    let help = "How long transactions waited for a server connection.";
    let mut family = page.family(Kind::Histogram, "surgetank_wait_seconds", help);
    for (database, totals) in &sums {
        let labels = [("database", *database)];
        family.histogram(&labels, &totals.waits, Micros(totals.wait_time));
    }
    let help = "How long requests took, from sending them to the ends of their answers.";
    let mut family = page.family(Kind::Histogram, "surgetank_request_seconds", help);
    for (database, totals) in &sums {
        let labels = [("database", *database)];
        family.histogram(&labels, &totals.served, Micros(totals.server_time));
    }
}

fn causes(page: &mut Page, seen: &Snapshot) {
    let help = "Times that a session had to keep its server connection between transactions.";
    let mut family = page.family(Kind::Counter, "surgetank_pins_total", help);
    for cause in PINS {
        let count = seen.pins.get(&cause).copied().unwrap_or_default();
        family.value(&[("cause", word(cause))], count);
    }
    let help = "Requests that failed and never got a server connection.";
    let mut family = page.family(Kind::Counter, "surgetank_refusals_total", help);
    let mut refusals: BTreeMap<SqlState, u64> = REFUSALS.map(|code| (code, 0)).into();
    refusals.extend(&seen.refusals);
    for (code, count) in refusals {
        family.value(&[("sqlstate", code.as_str())], count);
    }
    let help = "Events that the recording had no room for.";
    page.family(Kind::Counter, "surgetank_lost_events_total", help).value(&[], seen.lost);
}

fn word(cause: PinCause) -> &'static str {
    match cause {
        PinCause::Set => "set",
        PinCause::Prepare => "prepare",
        PinCause::Listen => "listen",
        PinCause::TemporaryTable => "temporary_table",
        PinCause::CursorWithHold => "cursor_with_hold",
        PinCause::AdvisoryLock => "advisory_lock",
        PinCause::Unknown => "unknown",
        PinCause::ReplicationSlot => "replication_slot",
    }
}
