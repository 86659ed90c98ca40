//! What can be typed on the admin database. Pure.

use crate::Ending;

/// A command, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Nothing but blanks and comments.
    Empty,
    Show(Show),
    Pause(Option<String>),
    Resume(Option<String>),
    Reconnect(Option<String>),
    WaitClose(Option<String>),
    Kill(Option<String>),
    KillClient(u32),
    Disable(String),
    Enable(String),
    Reload,
    Shutdown(Ending),
    Set(String, String),
    /// A parameter that drivers set on every connection: taken and forgotten.
    SetForDriver,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Help,
    Version,
    Stats,
    StatsTotals,
    StatsAverages,
    Totals,
    Servers,
    Clients,
    Pools,
    Lists,
    Users,
    Databases,
    Fds,
    Sockets,
    ActiveSockets,
    Config,
    Mem,
    DnsHosts,
    DnsZones,
    Peers,
    PeerPools,
    State,
    Waiters,
    Limit,
}

/// The words of `SHOW`, as `SHOW HELP` lists them.
pub(super) const SHOWS: [(&str, Show); 24] = [
    ("HELP", Show::Help),
    ("VERSION", Show::Version),
    ("STATS", Show::Stats),
    ("STATS_TOTALS", Show::StatsTotals),
    ("STATS_AVERAGES", Show::StatsAverages),
    ("TOTALS", Show::Totals),
    ("SERVERS", Show::Servers),
    ("CLIENTS", Show::Clients),
    ("POOLS", Show::Pools),
    ("LISTS", Show::Lists),
    ("USERS", Show::Users),
    ("DATABASES", Show::Databases),
    ("FDS", Show::Fds),
    ("SOCKETS", Show::Sockets),
    ("ACTIVE_SOCKETS", Show::ActiveSockets),
    ("CONFIG", Show::Config),
    ("MEM", Show::Mem),
    ("DNS_HOSTS", Show::DnsHosts),
    ("DNS_ZONES", Show::DnsZones),
    ("PEERS", Show::Peers),
    ("PEER_POOLS", Show::PeerPools),
    ("STATE", Show::State),
    ("WAITERS", Show::Waiters),
    ("LIMIT", Show::Limit),
];

/// Parameters of PostgreSQL that drivers set when they connect.
const DRIVERS: [&str; 9] = [
    "application_name",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
];

/// Longest command.
const COMMAND_MAX: usize = 4096;

impl Command {
    /// Whether a user who may only look may give it.
    pub(super) fn only_looks(&self) -> bool {
        match self {
            Self::Show(show) => *show != Show::Fds,
            Self::Empty | Self::SetForDriver => true,
            _ => false,
        }
    }

    /// Reads a command; what is wrong is said in words.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let unknown = || {
            let shown: String = text.chars().take(100).collect();
            format!("invalid command '{shown}', use SHOW HELP;")
        };
        if text.len() > COMMAND_MAX {
            return Err(unknown());
        }
        let words = words(text).ok_or_else(unknown)?;
        let mut words = words.iter().map(String::as_str);
        let Some(verb) = words.next() else { return Ok(Self::Empty) };
        let rest: Vec<&str> = words.collect();
        let owned = |name: &&str| Some((*name).to_owned());
        let command = match (verb.to_ascii_uppercase().as_str(), rest.as_slice()) {
            ("SHOW", [what]) => show(what).map(Self::Show),
            ("PAUSE", []) => Some(Self::Pause(None)),
            ("PAUSE", [name]) => Some(Self::Pause(owned(name))),
            ("RESUME", []) => Some(Self::Resume(None)),
            ("RESUME", [name]) => Some(Self::Resume(owned(name))),
            ("RECONNECT", []) => Some(Self::Reconnect(None)),
            ("RECONNECT", [name]) => Some(Self::Reconnect(owned(name))),
            ("WAIT_CLOSE", []) => Some(Self::WaitClose(None)),
            ("WAIT_CLOSE", [name]) => Some(Self::WaitClose(owned(name))),
            ("KILL", []) => Some(Self::Kill(None)),
            ("KILL", [name]) => Some(Self::Kill(owned(name))),
            ("KILL_CLIENT", [id]) => id.parse().ok().map(Self::KillClient),
            ("DISABLE", [name]) => Some(Self::Disable((*name).to_owned())),
            ("ENABLE", [name]) => Some(Self::Enable((*name).to_owned())),
            ("RELOAD", []) => Some(Self::Reload),
            ("SHUTDOWN", []) => Some(Self::Shutdown(Ending::Now)),
            ("SHUTDOWN", [how]) => ending(how).map(Self::Shutdown),
            ("SET", [key, value @ ..]) => set(key, value),
            _ => None,
        };
        command.ok_or_else(unknown)
    }
}

fn show(what: &str) -> Option<Show> {
    let found = SHOWS.iter().find(|(name, _)| name.eq_ignore_ascii_case(what));
    found.map(|(_, show)| *show)
}

fn ending(how: &str) -> Option<Ending> {
    match how.to_ascii_uppercase().as_str() {
        "WAIT_FOR_SERVERS" => Some(Ending::WaitForServers),
        "WAIT_FOR_CLIENTS" => Some(Ending::WaitForClients),
        _ => None,
    }
}

/// `key = value`, `key to value`; the value may be a list.
fn set(key: &str, rest: &[&str]) -> Option<Command> {
    let key = key.to_ascii_lowercase();
    if DRIVERS.contains(&key.as_str()) || key == "session" {
        return Some(Command::SetForDriver);
    }
    match rest {
        ["=", value @ ..] if !value.is_empty() => Some(Command::Set(key, value.concat())),
        [to, value @ ..] if to.eq_ignore_ascii_case("to") && !value.is_empty() => {
            Some(Command::Set(key, value.concat()))
        }
        _ => None,
    }
}

/// The words of one command without its semicolon; nothing if it is not one command, or a quote is
/// not closed. Names in double quotes and values in single quotes lose them.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => {
                let (word, end) = quoted(rest, first)?;
                words.push(word);
                end
            }
            '=' | ',' => {
                words.push(first.to_string());
                1
            }
            ';' => {
                let only_ends = rest.chars().all(|c| c == ';' || c.is_ascii_whitespace());
                return only_ends.then_some(words);
            }
            _ if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            _ => {
                let stops = |c: char| c.is_ascii_whitespace() || "'\"=,;".contains(c);
                let end = rest.find(stops).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                end
            }
        };
        rest = rest[end..].trim_ascii_start();
    }
    Some(words)
}

fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut word = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            word.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            word.push(quote);
        } else {
            return Some((word, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        let shop = || Some("shop".to_owned());
        let set = |key: &str, value: &str| Command::Set(key.to_owned(), value.to_owned());
        let cases = [
            ("", Command::Empty),
            (" ;; ", Command::Empty),
            ("-- hello\n", Command::Empty),
            ("show stats;", Command::Show(Show::Stats)),
            ("SHOW  Stats_Totals", Command::Show(Show::StatsTotals)),
            ("SHOW HELP -- all of it", Command::Show(Show::Help)),
            ("pause", Command::Pause(None)),
            ("PAUSE shop", Command::Pause(shop())),
            ("RESUME \"shop\";", Command::Resume(shop())),
            ("kill \"a\"\"b\"", Command::Kill(Some("a\"b".to_owned()))),
            ("KILL_CLIENT 17", Command::KillClient(17)),
            ("SHUTDOWN wait_for_servers", Command::Shutdown(Ending::WaitForServers)),
            ("SET query_wait_timeout=7", set("query_wait_timeout", "7")),
            ("set Admin_Users = ann, 'b''c'", set("admin_users", "ann,b'c")),
            ("set limit to 9", set("limit", "9")),
            ("SET client_encoding TO 'UTF8'", Command::SetForDriver),
        ];
        for (text, expected) in cases {
            assert_eq!(Command::read(text).as_ref(), Ok(&expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in [
            "select 1",
            "SHOW",
            "SHOW everything",
            "PAUSE a b",
            "KILL_CLIENT x",
            "PAUSE \"a",
            "SHOW STATS; PAUSE",
            "SET x",
            "DISABLE",
        ] {
            let error = Command::read(text).unwrap_err();
            assert!(error.starts_with("invalid command '"), "{text}: {error}");
        }
    }
}
