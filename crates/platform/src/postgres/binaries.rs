//! Finding a PostgreSQL server's programs on this machine.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use super::NotFound;

/// The oldest major version that is accepted: older ones are no longer maintained.
const OLDEST: u32 = 13;

/// The programs without which there is no server.
const NEEDED: [&str; 2] = ["postgres", "initdb"];

/// Where distributions put server programs; `*` stands for a version, the highest is tried first.
const WELL_KNOWN: [&str; 10] = [
    "usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
    "usr/pgsql-*/bin",                                   // PGDG's rpm packages
    "usr/libexec/postgresql*",                           // Alpine
    "usr/lib/postgresql*/bin",                           // SUSE
    "opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
    "usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
    "Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
    "usr/local/pgsql/bin",                               // built from source
    "run/current-system/sw/bin",                         // NixOS
    "usr/bin",                                           // Fedora, Arch
];

/// The same, below the user's home.
const WELL_KNOWN_AT_HOME: [&str; 2] = [".theseus/postgresql/*/bin", ".nix-profile/bin"];

/// Where to look. Everything that is read from the environment is a field, so that a test can
/// look at a machine of its own making.
#[derive(Clone, Debug)]
pub struct Search {
    /// `--pg-bin` or `SURGETANK_PG_BIN`: if given, nothing else is looked at.
    pub pg_bin: Option<PathBuf>,
    /// `PATH`: where `pg_config`, `postgres` and package clients are looked for.
    pub path: OsString,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Our own cache: one folder per version that [`obtain`](super::obtain) has unpacked.
    pub cache: PathBuf,
    /// The root of the file system.
    pub root: PathBuf,
}

impl Search {
    /// On this machine, with the given `--pg-bin`.
    ///
    /// The cache is `$XDG_DATA_HOME/surgetank/postgres` (`~/.local/share/…`); for root, whose home
    /// the server's user cannot enter, `/var/lib/surgetank/postgres`.
    #[must_use]
    pub fn this_machine(pg_bin: Option<PathBuf>) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let data_home = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        let cache_parent = match (data_home, &home) {
            (Some(data_home), _) if data_home.is_absolute() => data_home,
            (_, Some(home)) if !Uid::effective().is_root() => home.join(".local/share"),
            _ => PathBuf::from("/var/lib"),
        };
        Self {
            pg_bin,
            path: std::env::var_os("PATH").unwrap_or_default(),
            home,
            cache: cache_parent.join("surgetank/postgres"),
            root: PathBuf::from("/"),
        }
    }

    /// The program `name` in `PATH`.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|program| is_program(program))
    }
}

/// By which of the ways the programs were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// The user named the folder.
    PgBin,
    /// `pg_config --bindir` named it.
    PgConfig,
    /// It is in `PATH`.
    Path,
    /// A distribution's usual folder.
    WellKnown,
    /// Our own cache.
    Cache,
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PgBin => "--pg-bin",
            Self::PgConfig => "pg_config --bindir",
            Self::Path => "PATH",
            Self::WellKnown => "well-known folders",
            Self::Cache => "surgetank's cache",
        })
    }
}

/// A server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 15 of 15.18.
    pub major: u32,
    /// 18 of 15.18; 0 of an unreleased version.
    pub minor: u32,
}

impl Version {
    /// Reads the answer to `postgres --version`: `postgres (PostgreSQL) 15.18 (Debian …)`, `…
    /// 19devel`.
    pub(crate) fn parse(answer: &str) -> Option<Self> {
        let number = answer.split_once("(PostgreSQL) ")?.1;
        let digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse().ok()
        };
        let major = digits(number)?;
        let rest = number.trim_start_matches(|c: char| c.is_ascii_digit());
        Some(Self { major, minor: rest.strip_prefix('.').and_then(digits).unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A PostgreSQL server's programs. `Display` says which, and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    version: Version,
    found_by: FoundBy,
}

impl Binaries {
    /// Finds them: `--pg-bin` if given, else `pg_config --bindir`, `PATH`, the folders that
    /// distributions use, our own cache; the first that has a server of version 13 or later.
    ///
    /// Blocks while it runs `postgres --version` of some of them: milliseconds.
    ///
    /// # Errors
    /// [`NotFound`] says where it looked and what to type. A wrong `--pg-bin` is an error, not a
    /// reason to look elsewhere.
    pub fn discover(search: &Search) -> Result<Self, NotFound> {
        if let Some(folder) = &search.pg_bin {
            return check(folder, FoundBy::PgBin)
                .map_err(|why| NotFound::named(folder.clone(), why));
        }
        let mut not_found = NotFound::anywhere(search);
        for (found_by, folders) in candidates(search) {
            if folders.is_empty() {
                not_found.looked(found_by, None, "nothing there".to_owned());
            }
            for folder in folders {
                match check(&folder, found_by) {
                    Ok(binaries) => {
                        tracing::debug!(%binaries, "postgresql found");
                        return Ok(binaries);
                    }
                    Err(why) => not_found.looked(found_by, Some(folder), why),
                }
            }
        }
        Err(not_found)
    }

    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The server's version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// How they were found.
    #[must_use]
    pub fn found_by(&self) -> FoundBy {
        self.found_by
    }

    /// The path of one of them, whether or not it exists (not every package has `psql`).
    #[must_use]
    pub fn bin(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether the server can load the library `name` (`pg_stat_statements` is in a package of its
    /// own in some distributions).
    #[must_use]
    pub fn has_library(&self, name: &str) -> bool {
        let told = ask(&self.bin("pg_config"), "--pkglibdir").map(PathBuf::from);
        // Some packages have no pg_config; their libraries are beside the programs.
        let near =
            ["../lib/postgresql", "../lib", "../lib64/pgsql"].map(|near| self.folder.join(near));
        told.into_iter().chain(near).any(|folder| {
            ["so", "dylib"].iter().any(|end| folder.join(name).with_extension(end).exists())
        })
    }
}

impl fmt::Display for Binaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, version, by) = (self.folder.display(), self.version, self.found_by);
        write!(f, "PostgreSQL {version} in {folder} (found by {by})")
    }
}

/// The folders to look at, in order.
fn candidates(search: &Search) -> [(FoundBy, Vec<PathBuf>); 4] {
    let told = search.program("pg_config").and_then(|program| ask(&program, "--bindir"));
    let in_path = search.program("postgres").map(|program| {
        // A link into the real folder (Debian's alternatives) has no `initdb` beside it.
        let real = program.canonicalize().unwrap_or_else(|_| program.clone());
        let folder = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
        if missing(&folder(&real)).is_none() { folder(&real) } else { folder(&program) }
    });
    let at_root = WELL_KNOWN.map(|pattern| (&search.root, pattern));
    let at_home = WELL_KNOWN_AT_HOME.map(|pattern| (search.home.as_ref(), pattern));
    let at_home = at_home.into_iter().filter_map(|(home, pattern)| Some((home?, pattern)));
    let well_known =
        at_root.into_iter().chain(at_home).flat_map(|(base, pattern)| expand(base, pattern));
    [
        (FoundBy::PgConfig, told.map(PathBuf::from).into_iter().collect()),
        (FoundBy::Path, in_path.into_iter().collect()),
        (FoundBy::WellKnown, highest_first(well_known)),
        (FoundBy::Cache, highest_first(expand(&search.cache, "*/bin"))),
    ]
}

/// Folders that match `pattern`, with the version that its `*` stood for.
fn expand(base: &Path, pattern: &str) -> Vec<(Vec<u32>, PathBuf)> {
    let Some((head, tail)) = pattern.split_once('*') else {
        let folder = base.join(pattern);
        // Of a folder that holds all kinds of programs only a hit is worth a word.
        return if missing(&folder).is_none() { vec![(Vec::new(), folder)] } else { Vec::new() };
    };
    let (parent, prefix) = head.rsplit_once('/').unwrap_or(("", head));
    let tail = tail.trim_start_matches('/');
    let Ok(entries) = fs::read_dir(base.join(parent)) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?;
            let numbers: Vec<u32> =
                version.split('.').map_while(|part| part.parse().ok()).collect();
            let folder = if tail.is_empty() { entry.path() } else { entry.path().join(tail) };
            (!numbers.is_empty() && folder.is_dir()).then_some((numbers, folder))
        })
        .collect()
}

fn highest_first(found: impl IntoIterator<Item = (Vec<u32>, PathBuf)>) -> Vec<PathBuf> {
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Whether the folder holds a server that we can use; if not, why.
pub(crate) fn check(folder: &Path, found_by: FoundBy) -> Result<Binaries, String> {
    if let Some(missing) = missing(folder) {
        return Err(missing);
    }
    let answer = ask(&folder.join("postgres"), "--version")
        .ok_or_else(|| "postgres --version does not answer".to_owned())?;
    let version =
        Version::parse(&answer).ok_or_else(|| format!("postgres --version says `{answer}`"))?;
    if version.major < OLDEST {
        return Err(format!("version {version} is older than {OLDEST}"));
    }
    Ok(Binaries { folder: folder.to_owned(), version, found_by })
}

/// What keeps this from being a server's folder.
fn missing(folder: &Path) -> Option<String> {
    if !folder.is_dir() {
        return Some("no such folder".to_owned());
    }
    let missing: Vec<&str> =
        NEEDED.into_iter().filter(|name| !is_program(&folder.join(name))).collect();
    (!missing.is_empty()).then(|| format!("no {} there", missing.join(" and no ")))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first line that a program prints when called with `argument`.
fn ask(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(OsStr::new(argument))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
