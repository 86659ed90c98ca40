//! Our own file. Every key is known or an error with its place; so is every value.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use proxy::{
    Address, AuthQuery, ClientTls, Config, Database, Dynos, Method, Mode, Rules, SocketPermissions,
    SslMode, Upstream, Users,
};
use serde::Deserialize;
use toml::Spanned;

use super::{ModeWord, Plan, beside, mode, with_given};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<Vec<Spanned<String>>>,
    unix_socket_permissions: Option<Spanned<String>>,
    unix_socket_group: Option<String>,
    mode: Option<ModeWord>,
    workers: Option<NonZeroUsize>,
    limit: Option<NonZeroU32>,
    adaptive: Option<bool>,
    state: Option<String>,
    queue_timeout: Option<Spanned<f64>>,
    queue_notice: Option<Spanned<f64>>,
    connect_timeout: Option<Spanned<f64>>,
    max_client_conn: Option<NonZeroU32>,
    #[serde(default)]
    admin_users: Vec<String>,
    #[serde(default)]
    stats_users: Vec<String>,
    record: Option<String>,
    dyno: Option<String>,
    #[serde(default)]
    databases: BTreeMap<String, Entry>,
    #[serde(default)]
    dynos: BTreeMap<String, Process>,
    auth: Option<Auth>,
    tls: Option<Tls>,
    metrics: Option<Metrics>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    url: Option<Spanned<String>>,
    url_env: Option<Spanned<String>>,
    server_name: Option<String>,
    limit: Option<NonZeroU32>,
}

/// How the dynos of one process type are treated; what is not said stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    weight: Option<NonZeroU32>,
    patience: Option<Spanned<f64>>,
    impatient: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    file: Option<Spanned<String>>,
    #[serde(default)]
    users: BTreeMap<String, Spanned<String>>,
    hba_file: Option<Spanned<String>>,
    method: Option<MethodWord>,
    query: Option<String>,
    query_user: Option<Spanned<String>>,
    query_database: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum MethodWord {
    #[serde(rename = "trust")]
    Trust,
    #[serde(rename = "md5")]
    Md5,
    #[serde(rename = "scram-sha-256")]
    Scram,
    #[serde(rename = "password")]
    Password,
    #[serde(rename = "cert")]
    Cert,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert: Spanned<String>,
    key: String,
    ca: Option<String>,
    sslmode: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metrics {
    listen: SocketAddr,
}

/// A text and its name, for places in it.
struct Places<'a> {
    name: &'a str,
    text: &'a str,
}

impl Places<'_> {
    fn wrong(&self, span: &Range<usize>, what: impl std::fmt::Display) -> anyhow::Error {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        anyhow!("{}:{line}:{column}: {what}", self.name)
    }
}

/// Reads the file of a folder; a server may be given by other means.
pub(super) fn read(
    name: &str,
    text: &str,
    (folder, given): (&Path, Option<&Upstream>),
) -> anyhow::Result<Plan> {
    let places = Places { name, text };
    let file: File = toml::from_str(text)
        .map_err(|error| places.wrong(&error.span().unwrap_or_default(), error.message()))?;
    let mut databases = Vec::new();
    for (name, entry) in &file.databases {
        databases.push(database(name, entry, &places)?);
    }
    let Some((databases, first)) = with_given(databases, given) else {
        let text = "databases: there is none; write [databases.NAME], or give DATABASE_URL";
        return Err(places.wrong(&(0..0), text));
    };
    let mut config = Config::new(file.mode.map_or(Mode::Observe, Into::into), first);
    config.databases = databases;
    if let Some(workers) = file.workers {
        config.workers = workers;
    }
    config.limit = file.limit;
    config.adaptive = file.adaptive.unwrap_or(config.adaptive);
    let seconds = |value: &Spanned<f64>| {
        let time = Some(*value.get_ref()).filter(|time| *time > 0.0);
        time.and_then(|time| Duration::try_from_secs_f64(time).ok())
            .ok_or_else(|| places.wrong(&value.span(), "a number of seconds above 0"))
    };
    if let Some(time) = &file.queue_timeout {
        config.queue_timeout = seconds(time)?;
    }
    if let Some(time) = &file.queue_notice {
        config.queue_notice = Some(seconds(time)?);
    }
    if let Some(time) = &file.connect_timeout {
        config.connect_timeout = seconds(time)?;
    }
    config.dynos = Arc::new(dynos(&file.dynos, seconds)?);
    config.max_client_conn = file.max_client_conn;
    config.admin_users = file.admin_users;
    config.stats_users = file.stats_users;
    if let Some(auth) = &file.auth {
        access(auth, &mut config, folder, &places)?;
    }
    if let Some(tls) = &file.tls {
        encryption(tls, &mut config, folder, &places)?;
    }
    let address = |text: Spanned<String>| -> anyhow::Result<Address> {
        text.get_ref().parse().map_err(|why| places.wrong(&text.span(), why))
    };
    let listen = file.listen.into_iter().flatten().map(address).collect::<Result<_, _>>()?;
    let mut socket_permissions =
        SocketPermissions { group: file.unix_socket_group, ..SocketPermissions::default() };
    if let Some(text) = &file.unix_socket_permissions {
        socket_permissions.mode =
            mode(text.get_ref()).map_err(|why| places.wrong(&text.span(), why))?;
    }
    Ok(Plan {
        proxy: config,
        listen,
        socket_permissions,
        metrics: file.metrics.map(|metrics| metrics.listen),
        dyno: file.dyno,
        record: file.record.map(|path| beside(folder, &path)),
        state: file.state.map(|path| beside(folder, &path)),
        notes: Vec::new(),
    })
}

/// `"*"` are all that are not named.
fn dynos(
    processes: &BTreeMap<String, Process>,
    seconds: impl Fn(&Spanned<f64>) -> anyhow::Result<Duration>,
) -> anyhow::Result<Dynos> {
    let mut dynos = Dynos::default();
    for (name, process) in processes {
        let mut treatment = dynos.treatment(name);
        treatment.weight = process.weight.map_or(treatment.weight, NonZeroU32::get);
        if let Some(patience) = &process.patience {
            treatment.patience = Some(seconds(patience)?);
        }
        treatment.impatient = process.impatient.unwrap_or(treatment.impatient);
        if name == "*" {
            dynos.others = treatment;
        } else {
            dynos.types.insert(name.clone(), treatment);
        }
    }
    Ok(dynos)
}

fn database(name: &str, entry: &Entry, places: &Places<'_>) -> anyhow::Result<Database> {
    let (url, span) = match (&entry.url, &entry.url_env) {
        (Some(url), None) => (url.get_ref().clone(), url.span()),
        (None, Some(variable)) => {
            let missing = || {
                let text = format!("the environment has no {}", variable.get_ref());
                places.wrong(&variable.span(), text)
            };
            (std::env::var(variable.get_ref()).map_err(|_| missing())?, variable.span())
        }
        (Some(_), Some(variable)) => {
            return Err(places.wrong(&variable.span(), "url or url_env, not both"));
        }
        (None, None) => {
            let text = format!("databases.{name}: url or url_env is missing");
            return Err(places.wrong(&(0..0), text));
        }
    };
    let key = |error| places.wrong(&span, format!("databases.{name}: {error}"));
    Ok(Database {
        name: (name != "*").then(|| name.into()),
        upstream: Upstream::parse(&url).map_err(key)?,
        server_name: entry.server_name.as_deref().map(Into::into),
        limit: entry.limit,
    })
}

fn access(
    auth: &Auth,
    config: &mut Config,
    folder: &Path,
    places: &Places<'_>,
) -> anyhow::Result<()> {
    let open = |path: &Spanned<String>| {
        std::fs::read_to_string(beside(folder, path.get_ref()))
            .map_err(|error| places.wrong(&path.span(), format!("{}: {error}", path.get_ref())))
    };
    if let Some(path) = &auth.file {
        let users = Users::read_userlist(&open(path)?);
        config.access.users = users.map_err(|error| places.wrong(&path.span(), error))?;
    }
    for (user, secret) in &auth.users {
        let inserted = config.access.users.insert(user, secret.get_ref());
        inserted.map_err(|error| places.wrong(&secret.span(), error))?;
    }
    if let Some(method) = auth.method {
        config.access.rules = Rules::all(match method {
            MethodWord::Trust => Method::Trust,
            MethodWord::Md5 => Method::Md5,
            MethodWord::Scram => Method::Scram,
            MethodWord::Password => Method::Password,
            MethodWord::Cert => Method::Cert,
        });
    }
    if let Some(path) = &auth.hba_file {
        let rules = Rules::read(&open(path)?);
        config.access.rules = rules.map_err(|error| places.wrong(&path.span(), error))?;
    }
    if let Some(user) = &auth.query_user {
        let mut query = AuthQuery::by(user.get_ref());
        if let Some(text) = &auth.query {
            query.text.clone_from(text);
        }
        query.database.clone_from(&auth.query_database);
        config.access.query = Some(query);
    } else if auth.query.is_some() || auth.query_database.is_some() {
        return Err(places.wrong(&(0..0), "auth.query needs auth.query_user"));
    }
    Ok(())
}

fn encryption(
    tls: &Tls,
    config: &mut Config,
    folder: &Path,
    places: &Places<'_>,
) -> anyhow::Result<()> {
    let ca = tls.ca.as_ref().map(|path| beside(folder, path));
    let (cert, key) = (beside(folder, tls.cert.get_ref()), beside(folder, &tls.key));
    let loaded = ClientTls::load(&cert, &key, ca.as_deref());
    config.access.tls = Some(loaded.map_err(|error| places.wrong(&tls.cert.span(), error))?);
    if let Some(mode) = &tls.sslmode {
        let mode_or: Result<SslMode, _> = mode.get_ref().parse();
        config.access.sslmode = mode_or.map_err(|error| places.wrong(&mode.span(), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read("x.toml", text, (Path::new("."), None)).unwrap_err().to_string()
    }

    #[test]
    fn the_example_is_sound() {
        let text = include_str!("../../../../packaging/surgetank.toml");
        let plan = read("surgetank.toml", text, (Path::new("."), None)).unwrap();
        plan.proxy.check().unwrap();
        assert_eq!(plan.proxy.databases.len(), 2);
        assert_eq!(plan.proxy.admin_users, ["ann"]);
        assert!(!plan.describe().contains("secret"), "{}", plan.describe());
    }

    #[test]
    fn what_is_not_said_of_a_process_type_stays_as_it_is() {
        let text = "adaptive = false\nstate = \"found.json\"\n[dynos.web]\npatience = 2.5\n\
                    impatient = true\n[dynos.\"*\"]\nweight = 7\n[databases.a]\n\
                    url = \"postgres://a@h/d\"";
        let plan = read("x.toml", text, (Path::new("/etc"), None)).unwrap();
        assert_eq!((plan.proxy.adaptive, plan.proxy.limit), (false, None));
        assert_eq!(plan.state.as_deref(), Some(Path::new("/etc/found.json")));
        let treatment = |name| plan.proxy.dynos.treatment(name);
        let web = treatment("web.3");
        assert_eq!((web.weight, web.impatient), (4, true));
        assert_eq!(web.patience, Some(Duration::from_millis(2500)));
        assert_eq!((treatment("worker.1").weight, treatment("10.0.0.1").weight), (2, 7));
    }

    #[test]
    fn a_given_server_goes_before_the_entry_for_all() {
        let given = Upstream::parse("postgres://ann@given/d").unwrap();
        let plan = |text| read("x.toml", text, (Path::new("."), Some(&given))).unwrap();
        let servers = |text| -> Vec<String> {
            let databases = plan(text).proxy.databases;
            databases
                .iter()
                .map(|one| format!("{} {}", one.label(), one.upstream.endpoint()))
                .collect()
        };
        assert_eq!(servers("limit = 3"), ["* given:5432"]);
        assert_eq!(plan("limit = 3").proxy.limit, NonZeroU32::new(3));
        let text = "[databases.a]\nurl = \"postgres://a@h/d\"\n[databases.\"*\"]\n\
                    url = \"postgres://a@other/d\"";
        assert_eq!(servers(text), ["a h:5432", "* given:5432"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let cases = [
            ("limit = 5\nlimt = 5\n[databases]", "x.toml:2:1: unknown field `limt`"),
            ("limit = 0\n[databases]", "x.toml:1:9: "),
            ("mode = \"both\"\n[databases]", "x.toml:1:8: unknown variant `both`, expected"),
            ("queue_timeout = -1.0\n[databases.a]\nurl = \"postgres://a@h/d\"", "x.toml:1:17: "),
            ("[databases.a]\nurl = \"mysql://a@h/d\"", "x.toml:2:7: databases.a: database URL"),
            ("[databases.a]\nurl_env = \"NOT_THERE_1\"", "x.toml:2:11: the environment has no"),
            ("[databases]", "x.toml:1:1: databases: there is none"),
            ("", "x.toml:1:1: databases: there is none"),
            ("limit = ", "x.toml:1:9: "),
            ("[dynos.web]\nweight = 0\n[databases.a]", "x.toml:2:10: "),
            ("[databases]\n[metrics]\nlisten = \"x\"", "x.toml:3:10: invalid socket address"),
        ];
        for (text, expected) in cases {
            let told = wrong(text);
            assert!(told.starts_with(expected), "{text:?}: {told}");
        }
    }
}
