//! What an app keeps from one run to the next: files for their owner only, never half written.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The folder of the app's folder in which everything of ours is.
pub(crate) const FOLDER: &str = ".surgetank";

/// The files that one run of an app keeps. While this lives, no other run has them.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    lock: File,
}

impl Kept {
    /// Those of the app in `app_dir`; makes the folder if it is not there.
    ///
    /// # Errors
    /// The folder cannot be written to, or another run has it.
    pub(crate) fn open(app_dir: &Path) -> Result<Self> {
        let folder = app_dir.join(FOLDER);
        let wrong = |source| Error::Kept { path: folder.clone(), source };
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(wrong(error)),
            Ok(()) | Err(_) => {}
        }
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, lock }),
            Err(TryLockError::WouldBlock) => Err(Error::AlreadyRunning { path: folder }),
            Err(TryLockError::Error(error)) => Err(wrong(error)),
        }
    }

    /// A file's place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a file holds; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Kept { path, source }),
        };
        // The text may hold secrets, so only the place of the mistake is told.
        let place = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            io::Error::other(format!("not what we wrote, at line {line}, column {column}"))
        };
        let value = serde_json::from_slice(&bytes);
        value.map(Some).map_err(|error| Error::Kept { path, source: place(error) })
    }

    /// Replaces a file whole: after a crash at any moment the old or the new one is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.path(name);
        let bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other);
        let written = bytes.and_then(|bytes| replace(&path, &bytes));
        written.map_err(|source| Error::Kept { path, source })
    }

    /// As [`Kept::write`], as it is; for a file that others read.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        match replace(&path, text.as_bytes()) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Kept { path, source }),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Closing would not do: a process that is just being started has a copy for a moment.
        let _unlocked = self.lock.unlock();
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Left by a run that was killed: its mode need not be ours.
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_for_its_owner_only_and_replaced_whole() {
        let app = tempfile::tempdir().unwrap();
        let kept = Kept::open(app.path()).unwrap();
        assert_eq!(kept.read::<Vec<u32>>("numbers.json").unwrap(), None);
        // As left by a run that was killed between writing and renaming.
        std::fs::write(kept.path("numbers.new"), "[1, 2").unwrap();
        kept.write("numbers.json", &[3, 4]).unwrap();
        assert_eq!(kept.read::<Vec<u32>>("numbers.json").unwrap(), Some(vec![3, 4]));
        let mode = std::fs::metadata(kept.path("numbers.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!kept.path("numbers.new").exists());
    }

    #[test]
    fn only_one_run_has_them() {
        let app = tempfile::tempdir().unwrap();
        let kept = Kept::open(app.path()).unwrap();
        assert!(matches!(Kept::open(app.path()), Err(Error::AlreadyRunning { .. })));
        drop(kept);
        Kept::open(app.path()).unwrap();
    }

    #[test]
    fn a_damaged_file_is_told_without_its_text() {
        let app = tempfile::tempdir().unwrap();
        let kept = Kept::open(app.path()).unwrap();
        std::fs::write(kept.path("numbers.json"), "[1,\n\"s3cret\"]").unwrap();
        let error = kept.read::<Vec<u32>>("numbers.json").unwrap_err().to_string();
        assert!(error.contains("numbers.json") && error.contains("line 2"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
