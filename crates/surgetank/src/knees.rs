//! What was found of each database's limit, kept in a small file for the next run: it then begins
//! where this one was, and not at a guess.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use proxy::{Knee, Proxy};

use crate::exit::one_line;

/// How often the file is written, if there is anything new.
const EVERY: Duration = Duration::from_secs(60);

/// Its name in systemd's state folder.
const NAME: &str = "limits.json";

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Knees {
    path: Option<PathBuf>,
}

impl Knees {
    /// A file that is configured; else one in systemd's `StateDirectory=`; else none.
    pub(crate) fn at(configured: Option<PathBuf>) -> Self {
        let folder = || std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        Self { path: configured.or_else(|| folder().map(|folder| folder.join(NAME))) }
    }

    /// What is in it. One that is not there, or cannot be read, is as good as none: it is only a
    /// better guess.
    pub(crate) fn read(&self) -> Vec<Knee> {
        let Some(path) = &self.path else { return Vec::new() };
        match read(path) {
            Ok(knees) => knees,
            Err(error) => {
                tracing::warn!("what was found of the limits is not used: {}", one_line(&error));
                Vec::new()
            }
        }
    }

    /// Writes it again and again. Cancellation safe; does not end.
    pub(crate) async fn keep(&self, proxy: &Proxy) {
        let mut last = Vec::new();
        loop {
            tokio::time::sleep(EVERY).await;
            let knees = proxy.control().knees();
            if knees != last {
                self.write(&knees);
                last = knees;
            }
        }
    }

    /// Writes it. Nothing found is no reason to forget what was there.
    pub(crate) fn write(&self, knees: &[Knee]) {
        let Some(path) = &self.path else { return };
        if knees.is_empty() {
            return;
        }
        if let Err(error) = write(path, knees) {
            tracing::warn!("what was found of the limits is not kept: {}", one_line(&error));
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Knee>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let found: BTreeMap<String, u32> =
        serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let knee = |(database, statements)| Knee { database, statements };
    Ok(found.into_iter().map(knee).collect())
}

/// Whole or not at all: another process may read it at any time.
fn write(path: &Path, knees: &[Knee]) -> anyhow::Result<()> {
    let found: BTreeMap<&str, u32> =
        knees.iter().map(|knee| (knee.database.as_str(), knee.statements)).collect();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    serde_json::to_writer(&mut file, &found)?;
    file.persist(path).with_context(|| path.display().to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_found_forgets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let knees = Knees::at(Some(folder.path().join("limits.json")));
        assert_eq!(knees.read(), []);
        let found = vec![Knee { database: "shop".to_owned(), statements: 12 }];
        knees.write(&found);
        knees.write(&[]);
        assert_eq!(knees.read(), found);
        std::fs::write(folder.path().join("limits.json"), "{").unwrap();
        assert_eq!(knees.read(), []);
    }
}
