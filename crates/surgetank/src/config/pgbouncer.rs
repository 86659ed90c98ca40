//! `pgbouncer.ini` as a plan: what can be honoured is, what has no effect here is said with its
//! reason, what `PgBouncer` itself does not know is an error.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proxy::{
    Address, AuthQuery, ClientTls, Config, Database, Method, Mode, Rules, SocketPermissions,
    Upstream, Users,
};

use super::ini::{self, Entry};
use super::{Plan, addresses, with_given};

mod keys;

/// `PgBouncer`'s port, and the folder of its Unix socket.
const PORT: u16 = 6432;
const SOCKET_DIR: &str = "/tmp";

/// The settings of `[pgbouncer]` that are honoured.
type Settings = BTreeMap<String, Entry>;

/// Reads the file and those it includes.
pub(super) fn read(name: &str, text: &str, given: Option<&Upstream>) -> anyhow::Result<Plan> {
    let mut open = |path: &str| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let entries = ini::read(name, text, &mut open).map_err(|wrong| anyhow!("{wrong}"))?;
    let (mut settings, mut notes, mut lines) = (Settings::new(), Vec::new(), Vec::new());
    for entry in entries {
        match entry.section.as_str() {
            "databases" => lines.push(entry),
            "pgbouncer" => match keys::meaning(&entry.key) {
                Some(keys::Meaning::Honoured) => {
                    settings.insert(entry.key.clone(), entry);
                }
                Some(keys::Meaning::NoEffect(why)) => {
                    notes.push(format!(
                        "{}:{}: {} has no effect here: {why}",
                        entry.file, entry.line, entry.key
                    ));
                }
                None => bail!("{}: {:?} is no key of PgBouncer", at(&entry), entry.key),
            },
            "users" => notes.push(format!(
                "{}: limits of one user have no effect here: the limit is the database's",
                at(&entry)
            )),
            "peers" => notes.push(format!("{}: peers have no effect here", at(&entry))),
            other => bail!("{}: [{other}] is no section of PgBouncer", at(&entry)),
        }
    }
    let secrets = Secrets::read(&settings)?;
    let mut databases = Vec::new();
    for line in &lines {
        databases.push(database(line, &settings, &secrets, &mut notes)?);
    }
    let (databases, first) = with_given(databases, given).context("[databases] names none")?;
    let mut config = Config::new(mode(&settings, &mut notes)?, first);
    config.databases = databases;
    numbers(&settings, &mut config)?;
    access(&settings, &mut config, &secrets)?;
    let listen = listen(&settings)?;
    let socket_permissions = socket_permissions(&settings)?;
    Ok(Plan { listen, socket_permissions, notes, ..Plan::of(config) })
}

/// Its addresses, and its Unix socket, which is in `/tmp` where the file says nothing.
fn listen(settings: &Settings) -> anyhow::Result<Vec<Address>> {
    let text = |key| settings.get(key).map(|entry| entry.value.as_str());
    let port = number(settings, "listen_port")?.unwrap_or(PORT);
    let hosts = text("listen_addr").unwrap_or_default();
    let mut listen = addresses(hosts, port).with_context(|| place(settings, "listen_addr"))?;
    let folder = text("unix_socket_dir").unwrap_or(SOCKET_DIR);
    if !folder.is_empty() {
        if !folder.starts_with('/') {
            bail!(
                "{}: {folder:?} is not the whole path of a folder",
                place(settings, "unix_socket_dir")
            );
        }
        listen.push(Address::unix(Path::new(folder), port));
    }
    Ok(listen)
}

fn socket_permissions(settings: &Settings) -> anyhow::Result<SocketPermissions> {
    let mut permissions = SocketPermissions::default();
    if let Some(entry) = settings.get("unix_socket_mode") {
        let key = || place(settings, "unix_socket_mode");
        permissions.mode = super::mode(&entry.value).with_context(key)?;
    }
    let group = settings.get("unix_socket_group").map(|entry| entry.value.clone());
    permissions.group = group.filter(|group| !group.is_empty());
    Ok(permissions)
}

fn at(entry: &Entry) -> String {
    format!("{}:{}", entry.file, entry.line)
}

fn place(settings: &Settings, key: &str) -> String {
    settings.get(key).map_or_else(|| key.to_owned(), |entry| format!("{}: {key}", at(entry)))
}

fn number<T: std::str::FromStr>(settings: &Settings, key: &str) -> anyhow::Result<Option<T>> {
    let Some(entry) = settings.get(key) else { return Ok(None) };
    let parsed = entry.value.parse();
    parsed.map(Some).map_err(|_| anyhow!("{}: {key} = {}: not a number", at(entry), entry.value))
}

fn mode(settings: &Settings, notes: &mut Vec<String>) -> anyhow::Result<Mode> {
    match settings.get("pool_mode").map_or("session", |entry| entry.value.as_str()) {
        "transaction" => Ok(Mode::Regulate),
        "session" => {
            notes.push(
                "pool_mode = session: observe mode, a server connection for each client, which \
                 logs in to the server itself; pool sizes and auth_file have no effect then"
                    .to_owned(),
            );
            Ok(Mode::Observe)
        }
        "statement" => bail!(
            "{}: statement is not supported: it breaks transactions; use transaction",
            place(settings, "pool_mode")
        ),
        other => bail!("{}: {other:?} is not one of PgBouncer's", place(settings, "pool_mode")),
    }
}

fn numbers(settings: &Settings, config: &mut Config) -> anyhow::Result<()> {
    let above_0 = |count: u32| NonZeroU32::new(count);
    // Its sizes mean what they mean there: static ones, 20 where the file says nothing.
    config.adaptive = false;
    let size = number(settings, "default_pool_size")?.and_then(above_0);
    config.limit = size.or(NonZeroU32::new(20));
    // 0 is no limit there.
    if let Some(most) = number(settings, "max_db_connections")?.and_then(above_0) {
        config.limit = config.limit.map(|size| size.min(most));
    }
    config.max_client_conn = number(settings, "max_client_conn")?.and_then(above_0);
    let seconds = |key| -> anyhow::Result<Option<Duration>> {
        let time: Option<f64> = number(settings, key)?;
        let time = time.filter(|time| *time > 0.0);
        Ok(time.and_then(|time| Duration::try_from_secs_f64(time).ok()))
    };
    // PgBouncer's own defaults where the file says nothing.
    config.queue_timeout = seconds("query_wait_timeout")?.unwrap_or(Duration::from_secs(120));
    let notify = if settings.contains_key("query_wait_notify") {
        seconds("query_wait_notify")?
    } else {
        Some(Duration::from_secs(5))
    };
    config.queue_notice = notify;
    config.connect_timeout = seconds("server_connect_timeout")?.unwrap_or(Duration::from_secs(15));
    let names = |key: &str| -> Vec<String> {
        let list = settings.get(key).map_or("", |entry| entry.value.as_str());
        list.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect()
    };
    config.admin_users = names("admin_users");
    config.stats_users = names("stats_users");
    Ok(())
}

/// What `auth_file` says, kept for the server's side too.
#[derive(Default)]
struct Secrets {
    text: Option<(PathBuf, String)>,
}

impl Secrets {
    fn read(settings: &Settings) -> anyhow::Result<Self> {
        let Some(entry) = settings.get("auth_file") else { return Ok(Self::default()) };
        let path = PathBuf::from(&entry.value);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{}: auth_file {}", at(entry), path.display()))?;
        Ok(Self { text: Some((path, text)) })
    }

    /// The plain password of a user.
    fn password(&self, user: &str) -> Option<String> {
        let text = self.text.as_ref().map_or("", |(_, text)| text.as_str());
        // What is wrong with a line is told where the users are read.
        let listed = Users::userlist(text).filter_map(Result::ok);
        let own = listed.filter(|listed| listed.name == user);
        let is_plain = |secret: &str| {
            let is_md5 = secret.len() == 35 && secret.starts_with("md5");
            !is_md5 && !secret.starts_with("SCRAM-SHA-256$")
        };
        own.last().map(|listed| listed.secret).filter(|secret| is_plain(secret))
    }
}

fn database(
    line: &Entry,
    settings: &Settings,
    secrets: &Secrets,
    notes: &mut Vec<String>,
) -> anyhow::Result<Database> {
    let wrong = |what: String| anyhow!("{}: database {}: {what}", at(line), line.key);
    let mut parts = BTreeMap::new();
    for (key, value) in ini::connection_string(&line.value).map_err(wrong)? {
        match keys::meaning_in_database(&key) {
            Some(keys::Meaning::Honoured) => {
                parts.insert(key, value);
            }
            Some(keys::Meaning::NoEffect(why)) => {
                let place = at(line);
                notes.push(format!(
                    "{place}: database {}: {key} has no effect here: {why}",
                    line.key
                ));
            }
            None => return Err(wrong(format!("{key:?} is no key of PgBouncer"))),
        }
    }
    if let Some(mode) = parts.get("pool_mode") {
        let all = settings.get("pool_mode").map_or("session", |entry| entry.value.as_str());
        if mode != all {
            return Err(wrong(format!("pool_mode {mode} is another than that of all ({all})")));
        }
    }
    // Without a user clients log in to the server as themselves.
    let user = parts.get("user").map(String::as_str);
    let of_user = || secrets.password(user?);
    let password = parts.get("password").cloned().or_else(of_user);
    let count = |key: &str| -> anyhow::Result<Option<NonZeroU32>> {
        let Some(value) = parts.get(key) else { return Ok(None) };
        let count: u32 =
            value.parse().map_err(|_| wrong(format!("{key} = {value}: not a number")))?;
        Ok(NonZeroU32::new(count))
    };
    let limit = [count("pool_size")?, count("max_db_connections")?].into_iter().flatten().min();
    let url = url(&parts, user, password.as_deref(), settings);
    Ok(Database {
        name: (line.key != "*").then(|| line.key.as_str().into()),
        upstream: Upstream::parse(&url).map_err(|error| wrong(error.to_string()))?,
        server_name: parts.get("dbname").map(|name| name.as_str().into()),
        limit,
    })
}

/// The connection as a URL, which is what the proxy reads.
fn url(
    parts: &BTreeMap<String, String>,
    user: Option<&str>,
    password: Option<&str>,
    settings: &Settings,
) -> String {
    let coded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    // Without a host PgBouncer takes the Unix socket in its default folder.
    let host = parts.get("host").map_or("/var/run/postgresql", String::as_str);
    let port = parts.get("port").map_or("5432", String::as_str);
    let name = parts.get("dbname").map_or("", String::as_str);
    let mut url = format!("postgres:///{}?host={}&port={port}", coded(name), coded(host));
    let mut add = |key: &str, value: &str| {
        url.push_str(&format!("&{key}={}", coded(value)));
    };
    for (key, value) in [("user", user), ("password", password)] {
        if let Some(value) = value {
            add(key, value);
        }
    }
    let of_libpq = [
        ("server_tls_sslmode", "sslmode"),
        ("server_tls_ca_file", "sslrootcert"),
        ("server_tls_cert_file", "sslcert"),
        ("server_tls_key_file", "sslkey"),
    ];
    for (ours, libpq) in of_libpq {
        if let Some(entry) = settings.get(ours).filter(|_| !host.starts_with('/')) {
            add(libpq, &entry.value);
        }
    }
    url
}

fn access(settings: &Settings, config: &mut Config, secrets: &Secrets) -> anyhow::Result<()> {
    if let Some((path, text)) = &secrets.text {
        config.access.users =
            Users::read_userlist(text).with_context(|| path.display().to_string())?;
    }
    let kind = settings.get("auth_type").map_or("md5", |entry| entry.value.as_str());
    let method = match kind {
        "trust" => Some(Method::Trust),
        "md5" => Some(Method::Md5),
        "scram-sha-256" => Some(Method::Scram),
        "plain" => Some(Method::Password),
        "cert" => Some(Method::Cert),
        "hba" => None,
        other => bail!("{}: {other} is not supported", place(settings, "auth_type")),
    };
    config.access.rules = match (method, settings.get("auth_hba_file")) {
        (Some(method), _) => Rules::all(method),
        (None, Some(entry)) => {
            let named = || format!("{}: auth_hba_file {}", at(entry), entry.value);
            Rules::read(&std::fs::read_to_string(&entry.value).with_context(named)?)
                .with_context(named)?
        }
        (None, None) => bail!("{}: hba needs auth_hba_file", place(settings, "auth_type")),
    };
    if let Some(user) = settings.get("auth_user") {
        let mut query = AuthQuery::by(&user.value);
        if let Some(text) = settings.get("auth_query") {
            query.text.clone_from(&text.value);
        }
        query.database = settings.get("auth_dbname").map(|entry| entry.value.clone());
        config.access.query = Some(query);
    }
    let file = |key: &str| settings.get(key).map(|entry| Path::new(&entry.value));
    if let Some(mode) = settings.get("client_tls_sslmode") {
        config.access.sslmode = mode.value.parse().with_context(|| at(mode))?;
    }
    if let (Some(cert), Some(key)) = (file("client_tls_cert_file"), file("client_tls_key_file")) {
        let loaded = ClientTls::load(cert, key, file("client_tls_ca_file"));
        config.access.tls = Some(loaded.with_context(|| place(settings, "client_tls_cert_file"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_the_list_of_users() {
        let text = "\"a\" \"first\"\n\"a\"\"b\" \"x\"\"y\"\nnonsense\n\"a\" \"last\"\n\
                    \"m\" \"md5AAAA0123456789abcdef0123456789ab\"\n";
        let secrets = Secrets { text: Some((PathBuf::from("list"), text.to_owned())) };
        let cases = [("a", Some("last")), ("a\"b", Some("x\"y")), ("m", None), ("n", None)];
        for (user, password) in cases {
            assert_eq!(secrets.password(user).as_deref(), password, "{user}");
        }
    }

    fn plan(text: &str) -> Plan {
        read("x.ini", text, None).unwrap()
    }

    #[test]
    fn a_realistic_file() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("userlist.txt");
        std::fs::write(&list, "\"app\" \"p@ss w:rd\"\n\"ann\" \"x\"\n").unwrap();
        let text = format!(
            "[databases]\nshop = host=10.0.0.5 port=6000 dbname=shop_production user=app \
             pool_size=7\n* = host=/run/pg user=ann password='it''s'\n[users]\n[pgbouncer]\n\
             listen_addr = 127.0.0.1, ::1\nlisten_port = 7000\nauth_type = scram-sha-256\n\
             auth_file = {}\npool_mode = transaction\ndefault_pool_size = 30\n\
             max_db_connections = 25\nmax_client_conn = 900\nquery_wait_timeout = 7\n\
             admin_users = ann, bob\nserver_reset_query = DISCARD ALL\nlogfile = /tmp/x.log\n",
            list.display()
        );
        let plan = plan(&text);
        let listen: Vec<String> = plan.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:7000", "[::1]:7000", "/tmp/.s.PGSQL.7000"]);
        let config = &plan.proxy;
        assert_eq!((config.mode, config.limit.map(NonZeroU32::get)), (Mode::Regulate, Some(25)));
        assert!(!config.adaptive);
        assert_eq!(config.queue_timeout, Duration::from_secs(7));
        assert_eq!(config.queue_notice, Some(Duration::from_secs(5)), "as in PgBouncer");
        assert_eq!(config.admin_users, ["ann", "bob"]);
        let shop = &config.databases[0];
        assert_eq!(shop.upstream.endpoint().to_string(), "10.0.0.5:6000");
        assert_eq!(shop.server_name.as_deref(), Some("shop_production"));
        assert_eq!(
            (shop.limit.map(NonZeroU32::get), shop.upstream.has_password()),
            (Some(7), true)
        );
        assert_eq!(config.databases[1].upstream.endpoint().to_string(), "/run/pg/.s.PGSQL.5432");
        assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
        assert!(!plan.describe().contains("p@ss"), "{}", plan.describe());
    }

    #[test]
    fn its_unix_socket_is_where_pgbouncer_has_it() {
        let listen = |more: &str| {
            let text = format!("[databases]\n* = host=h\n[pgbouncer]\n{more}");
            let plan = read("x.ini", &text, None).map_err(|error| format!("{error:#}"))?;
            let listen: Vec<String> = plan.listen.iter().map(ToString::to_string).collect();
            Ok::<_, String>((listen, plan.socket_permissions))
        };
        let (nothing, permissions) = listen("").unwrap();
        assert_eq!(nothing, ["/tmp/.s.PGSQL.6432"]);
        assert_eq!(permissions, SocketPermissions::default());
        let (addresses, permissions) = listen(
            "listen_addr = ::1\nunix_socket_dir = /run/x\nunix_socket_mode = 0770\n\
             unix_socket_group = app",
        )
        .unwrap();
        assert_eq!(addresses, ["[::1]:6432", "/run/x/.s.PGSQL.6432"]);
        assert_eq!(permissions, SocketPermissions { mode: 0o770, group: Some("app".into()) });
        assert_eq!(listen("listen_addr = ::1\nunix_socket_dir =").unwrap().0, ["[::1]:6432"]);
        let why = listen("unix_socket_dir = @abstract").unwrap_err();
        assert!(why.starts_with("x.ini:4: unix_socket_dir"), "{why}");
        let why = listen("unix_socket_mode = 0999").unwrap_err();
        assert!(why.starts_with("x.ini:4: unix_socket_mode"), "{why}");
    }

    #[test]
    fn clients_are_told_that_they_wait_unless_0_is_written() {
        let notice = |line: &str| {
            let text = format!("[databases]\nshop = host=h\n[pgbouncer]\n{line}\n");
            plan(&text).proxy.queue_notice
        };
        assert_eq!(notice("query_wait_notify = 0"), None);
        assert_eq!(notice("query_wait_notify = 2"), Some(Duration::from_secs(2)));
    }

    #[test]
    fn without_a_user_clients_log_in_as_themselves() {
        let plan = plan("[databases]\nshop = host=h\n[pgbouncer]\npool_mode = session\n");
        assert_eq!(plan.proxy.databases[0].upstream.user(), None);
        assert!(plan.describe().contains(" as the client's user "), "{}", plan.describe());
    }

    #[test]
    fn what_cannot_be_honoured_is_an_error() {
        let cases = [
            ("[pgbouncer]\nlisten_adr = x", "x.ini:2: \"listen_adr\" is no key of PgBouncer"),
            ("[databases]\na = user=b hots=c", "x.ini:2: database a: \"hots\" is no key"),
            ("[databases]\na = user=b\n[pgbouncer]\npool_mode = statement", "x.ini:4: pool_mode"),
            ("[nonsense]\na = b", "x.ini:2: [nonsense] is no section"),
            ("[pgbouncer]\nlisten_port = 1", "[databases] names none"),
        ];
        for (text, expected) in cases {
            let told = format!("{:#}", read("x.ini", text, None).unwrap_err());
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
    }
}
