//! What `surgetank proxy` runs, from a file of ours or of `PgBouncer`'s; checked whole before
//! anything is bound or changed.

mod ini;
mod pgbouncer;
mod toml;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use proxy::{Address, Config, Database, Mode, SocketPermissions, Upstream};

/// What a file asks for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The proxy itself.
    pub(crate) proxy: Config,
    /// Where it listens, if the file says so.
    pub(crate) listen: Vec<Address>,
    /// Who may connect to Unix sockets among them.
    pub(crate) socket_permissions: SocketPermissions,
    /// Where Prometheus finds the numbers.
    pub(crate) metrics: Option<SocketAddr>,
    /// The dyno of all clients.
    pub(crate) dyno: Option<String>,
    /// The folder of the recording.
    pub(crate) record: Option<PathBuf>,
    /// Where what was found of the limits is kept.
    pub(crate) state: Option<PathBuf>,
    /// What is to be told at the start: keys without effect here, and why.
    pub(crate) notes: Vec<String>,
}

/// The modes as words, in a file and on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeWord {
    Observe,
    Regulate,
}

impl From<ModeWord> for Mode {
    fn from(word: ModeWord) -> Self {
        match word {
            ModeWord::Observe => Self::Observe,
            ModeWord::Regulate => Self::Regulate,
        }
    }
}

/// Which file, in which language.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Ours.
    Toml(PathBuf),
    /// `PgBouncer`'s.
    Ini(PathBuf),
}

impl Source {
    /// A file by its name: `.ini` is `PgBouncer`'s.
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension == "ini" => Self::Ini(path.to_owned()),
            _ => Self::Toml(path.to_owned()),
        }
    }

    /// Reads the file and checks it whole. A server that is given goes before its entry `*`.
    pub(crate) fn read(&self, given: Option<&Upstream>) -> anyhow::Result<Plan> {
        let (Self::Toml(path) | Self::Ini(path)) = self;
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
        let plan = self.parse(&text, given)?;
        plan.proxy.check().with_context(|| name)?;
        Ok(plan)
    }

    /// The same for a text that stands there.
    pub(crate) fn parse(&self, text: &str, given: Option<&Upstream>) -> anyhow::Result<Plan> {
        let (Self::Toml(path) | Self::Ini(path)) = self;
        let name = path.display().to_string();
        let folder = path.parent().unwrap_or(Path::new("."));
        match self {
            Self::Toml(_) => toml::read(&name, text, (folder, given)),
            Self::Ini(_) => pgbouncer::read(&name, text, given),
        }
    }
}

impl Plan {
    /// A proxy without a file.
    pub(crate) fn of(proxy: Config) -> Self {
        Self {
            proxy,
            listen: Vec::new(),
            socket_permissions: SocketPermissions::default(),
            metrics: None,
            dyno: None,
            record: None,
            state: None,
            notes: Vec::new(),
        }
    }

    /// As text: what is in effect, without secrets.
    pub(crate) fn describe(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for address in &self.listen {
            lines.push(format!("listen = {address}"));
        }
        if self.listen.iter().any(|address| matches!(address, Address::Unix(_))) {
            let SocketPermissions { mode, group } = &self.socket_permissions;
            lines.push(format!("unix_socket_permissions = {mode:04o}"));
            lines.extend(group.iter().map(|group| format!("unix_socket_group = {group}")));
        }
        if let Some(address) = self.metrics {
            lines.push(format!("metrics.listen = {address}"));
        }
        for setting in self.proxy.settings() {
            lines.push(format!("{} = {}", setting.key, setting.value));
        }
        for database in &self.proxy.databases {
            let upstream = &database.upstream;
            let limit = database.limit.map_or_else(String::new, |limit| format!(", limit {limit}"));
            let name = database.server_name.as_deref().unwrap_or("as the client asks");
            let word = if upstream.has_password() { "with a password" } else { "no password" };
            lines.push(format!(
                "database {}: {} as {} ({word}), name there: {name}{limit}",
                database.label(),
                upstream.endpoint(),
                upstream.user().unwrap_or("the client's user"),
            ));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// All databases, and the first one's server; nothing if there is none.
fn with_given(
    mut databases: Vec<Database>,
    given: Option<&Upstream>,
) -> Option<(Vec<Database>, Upstream)> {
    if let Some(given) = given {
        databases.retain(|database| database.name.is_some());
        databases.push(Database::any(given.clone()));
    }
    let first = databases.first()?.upstream.clone();
    Some((databases, first))
}

/// The mode of a file as people write it: 0770.
fn mode(text: &str) -> anyhow::Result<u32> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        Ok(_) | Err(_) => bail!("{text:?} is no mode of a file: write 0777 or 0770"),
    }
}

/// A path in a file: relative ones begin at its folder.
fn beside(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}

/// Addresses to listen on, from `PgBouncer`'s or our words.
fn addresses(hosts: &str, port: u16) -> anyhow::Result<Vec<Address>> {
    let mut found = Vec::new();
    for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        let host = match host {
            "*" => "0.0.0.0",
            "localhost" => "127.0.0.1",
            other => other,
        };
        match host.parse::<IpAddr>() {
            Ok(ip) => found.push(SocketAddr::new(ip, port).into()),
            Err(_) => bail!("{host:?} is not an address: write 127.0.0.1, ::1, * or localhost"),
        }
    }
    Ok(found)
}
