//! Starting PostgreSQL's programs: as a user that PostgreSQL accepts, and so that they end when
//! we do.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};

use super::{Binaries, Error};

/// How PostgreSQL's programs are started here.
///
/// * Every server refuses to run as root, so root hands it to the user `postgres`, else `nobody`
///   (the user must have an entry in the user database, or the server refuses as well).
/// * `setpriv --pdeathsig QUIT` (util-linux) asks the kernel to send SIGQUIT, PostgreSQL's
///   immediate shutdown, when the thread that started it ends, be it by `kill -9`. Where there
///   is no such `setpriv` (BusyBox's cannot do it, macOS has none), the next start sweeps.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    user: Option<ServerUser>,
    death_signal: DeathSignal,
}

#[derive(Clone, Debug)]
struct ServerUser {
    name: String,
    uid: Uid,
    gid: Gid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeathSignal {
    Setpriv,
    None,
}

impl Launcher {
    /// Finds a way to run these binaries here, by running one.
    ///
    /// # Errors
    /// [`Error::NoServerUser`] as root without a user to run as; [`Error::NotRunnable`] if that
    /// user cannot run them (a cache below `/root`, say).
    pub(crate) fn choose(binaries: &Binaries) -> Result<Self, Error> {
        let user = server_user()?;
        let mut said = String::new();
        for death_signal in [DeathSignal::Setpriv, DeathSignal::None] {
            let launcher = Self { user: user.clone(), death_signal };
            let initdb = binaries.bin("initdb");
            let tried = launcher.command(&initdb).arg("--version").stdin(Stdio::null()).output();
            match tried {
                Ok(output) if output.status.success() => return Ok(launcher),
                Ok(output) => said = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => said = error.to_string(),
            }
        }
        let user = user.map_or_else(|| "this user".to_owned(), |user| user.name);
        Err(Error::NotRunnable { user, folder: binaries.folder().to_owned(), said })
    }

    /// A command that runs `program` as the server's user.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = match self.death_signal {
            DeathSignal::Setpriv => self.through_setpriv(program),
            DeathSignal::None => {
                let mut command = Command::new(program);
                if let Some(user) = &self.user {
                    // As root, the standard library clears the supplementary groups with it.
                    command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
                }
                command
            }
        };
        // Messages are read by us (and shown): one language. The caller's PG* variables would
        // reach initdb and the server as defaults.
        for (name, _) in std::env::vars_os() {
            if is_of_libpq(&name) {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        command
    }

    fn through_setpriv(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(user) = &self.user {
            command.arg("--reuid").arg(user.uid.to_string());
            command.arg("--regid").arg(user.gid.to_string()).arg("--init-groups");
        }
        command.arg("--").arg(program);
        command
    }

    /// Gives a file or folder to the server's user.
    pub(crate) fn give(&self, path: &Path) -> io::Result<()> {
        self.user
            .as_ref()
            .map_or(Ok(()), |user| chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())))
    }
}

fn is_of_libpq(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"PG")
}

/// Whom root lets the server run as; `None` for everybody else.
fn server_user() -> Result<Option<ServerUser>, Error> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| Some(ServerUser { name: user.name, uid: user.uid, gid: user.gid }))
        .ok_or(Error::NoServerUser)
}
