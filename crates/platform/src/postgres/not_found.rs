//! One screen for the user who has no PostgreSQL: where we looked, what to type.

use std::fmt;
use std::path::PathBuf;

use super::packages::install_line;
use super::{FoundBy, Search};

/// No usable PostgreSQL server was found. `Display` is one screen for the user.
#[derive(Clone, Debug, thiserror::Error)]
pub struct NotFound(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Named { folder: PathBuf, why: String },
    Anywhere { looked: Vec<Looked>, install: Option<String> },
}

#[derive(Clone, Debug)]
struct Looked {
    by: FoundBy,
    folder: Option<PathBuf>,
    why: String,
}

impl NotFound {
    pub(crate) fn named(folder: PathBuf, why: String) -> Self {
        Self(Kind::Named { folder, why })
    }

    pub(crate) fn anywhere(search: &Search) -> Self {
        Self(Kind::Anywhere { looked: Vec::new(), install: install_line(&search.root) })
    }

    pub(crate) fn looked(&mut self, by: FoundBy, folder: Option<PathBuf>, why: String) {
        if let Kind::Anywhere { looked, .. } = &mut self.0 {
            looked.push(Looked { by, folder, why });
        }
    }

    /// Whether [`obtain`](super::obtain) would help: not if the user named a folder that is wrong.
    #[must_use]
    pub fn may_be_obtained(&self) -> bool {
        matches!(self.0, Kind::Anywhere { .. })
    }

    /// The line that installs PostgreSQL on this system, where it is known.
    #[must_use]
    pub fn install_line(&self) -> Option<&str> {
        match &self.0 {
            Kind::Named { .. } => None,
            Kind::Anywhere { install, .. } => install.as_deref(),
        }
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (looked, install) = match &self.0 {
            Kind::Named { folder, why } => {
                return write!(
                    f,
                    "{} holds no usable postgresql server: {why} (it was named by --pg-bin or \
                     SURGETANK_PG_BIN; name a folder with postgres and initdb, or neither)",
                    folder.display()
                );
            }
            Kind::Anywhere { looked, install } => (looked, install),
        };
        writeln!(f, "no postgresql server (version 13 or later) on this machine; looked at")?;
        for Looked { by, folder, why } in looked {
            match folder {
                Some(folder) => writeln!(f, "  {by}: {}: {why}", folder.display())?,
                None => writeln!(f, "  {by}: {why}")?,
            }
        }
        match install {
            Some(install) => writeln!(f, "install one:\n  {install}")?,
            None => writeln!(f, "install your system's postgresql server package")?,
        }
        writeln!(f, "or let surgetank obtain one: the same command again with --yes")?;
        write!(f, "or name one: --pg-bin FOLDER")
    }
}
