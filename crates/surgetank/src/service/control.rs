//! The Unix socket at which a successor finds us.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::net::UnixListener;

use super::link::Link;

/// Listens where a successor comes; the path goes with it.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, by which we know our own.
    identity: Option<(u64, u64)>,
}

impl ControlSocket {
    /// Listens there instead of whoever did before: a predecessor, or one that was killed. There is
    /// no moment at which the path is not there, or is open to other users.
    pub(super) fn bind(path: &Path) -> anyhow::Result<Self> {
        Self::try_bind(path).with_context(|| format!("--handover {}", path.display()))
    }

    fn try_bind(path: &Path) -> io::Result<Self> {
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        let identity = identity(Path::new(&new));
        std::fs::rename(&new, path)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }

    /// The next process that wants to take over.
    pub(super) async fn accept(&self) -> io::Result<Link> {
        let (stream, _) = self.listener.accept().await?;
        Link::new(stream)
    }

    /// The path is the successor's now.
    pub(super) fn leave(mut self) {
        self.identity = None;
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Left behind, it does no harm: nobody listens there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_path_is_ours_alone_and_goes_with_us_unless_it_was_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let old = ControlSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let new = ControlSocket::bind(&path).unwrap();
        drop(old);
        assert!(path.exists(), "it is the new one's");
        assert!(Link::connect(&path).await.unwrap().is_some());
        drop(new);
        assert!(!path.exists());
        assert!(Link::connect(&path).await.unwrap().is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
