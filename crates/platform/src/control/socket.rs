//! Where the control socket is, and how it comes to be ours.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use tokio::net::{UnixListener, UnixStream};

use crate::error::{Error, Result};
use crate::hash::fnv1a;
use crate::private::FOLDER;

/// A socket's path must fit into `sockaddr_un`: 108 bytes on Linux, 104 on macOS, with the zero.
const PATH_BYTES_MAX: usize = 100;

/// Where the control socket of an app may be, the best place first: in the app's own folder, or,
/// where that path is too long or cannot be written, in `runtime_dir`.
#[must_use]
pub fn candidates(app_dir: &Path, runtime_dir: &Path) -> Vec<PathBuf> {
    // Two ways to the same folder must lead to the same socket.
    let app_dir = std::fs::canonicalize(app_dir).unwrap_or_else(|_| app_dir.to_owned());
    let own = app_dir.join(FOLDER).join("control.sock");
    let name = format!("{:016x}.sock", fnv1a(app_dir.as_os_str().as_encoded_bytes()));
    let short = |path: &PathBuf| path.as_os_str().len() <= PATH_BYTES_MAX;
    [own, runtime_dir.join(name)].into_iter().filter(short).collect()
}

/// A folder for sockets that belongs to this user only.
#[must_use]
pub fn runtime_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("surgetank"),
        // The temporary place may be far away (macOS) and is then too long for a socket.
        None => PathBuf::from(format!("/tmp/surgetank-{}", Uid::current())),
    }
}

/// Listens at the first candidate that can be had.
pub(super) async fn bind(candidates: &[PathBuf]) -> Result<(UnixListener, PathBuf)> {
    let mut failure = None;
    for path in candidates {
        match bind_one(path).await {
            Ok(listener) => return Ok((listener, path.clone())),
            Err(error @ Error::AlreadyRunning { .. }) => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::ControlSocket {
        path: PathBuf::new(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "every possible path is too long"),
    }))
}

async fn bind_one(path: &Path) -> Result<UnixListener> {
    let wrong = |source| Error::ControlSocket { path: path.to_owned(), source };
    private_folder(path.parent().unwrap_or(path)).map_err(wrong)?;
    match UnixStream::connect(path).await {
        Ok(_) => return Err(Error::AlreadyRunning { path: path.to_owned() }),
        // Nobody listens: left behind by one that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(wrong)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error)),
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(wrong)?;
    Ok(listener)
}

/// Makes the folder for this user only. One that is there must be ours: in a place that everybody
/// can write to, somebody else may have made it to listen in our stead.
fn private_folder(dir: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().recursive(false).mode(0o700).create(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = std::fs::symlink_metadata(dir)?;
    let ours = found.is_dir() && found.uid() == Uid::effective().as_raw();
    if ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = "the folder is not this user's alone; remove it or correct its owner and mode";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_leads_to_the_runtime_folder() {
        let runtime = Path::new("/run/user/7/surgetank");
        let near = candidates(Path::new("/nowhere/app"), runtime);
        assert_eq!(near[0], Path::new("/nowhere/app/.surgetank/control.sock"));
        assert_eq!(near.len(), 2);
        let deep = PathBuf::from("/nowhere").join("x".repeat(100));
        let far = candidates(&deep, runtime);
        assert_eq!(far.len(), 1);
        assert!(far[0].starts_with(runtime));
        assert_ne!(far[0], near[1]);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let paths = candidates(dir.path(), &dir.path().join("run"));
        let (listener, path) = bind(&paths).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(matches!(bind(&paths).await, Err(Error::AlreadyRunning { .. })));
        drop(listener);
        let (_listener, again) = bind(&paths).await.unwrap();
        assert_eq!(again, path);
    }

    #[tokio::test]
    async fn a_folder_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = bind(&[open.join("control.sock")]).await.unwrap_err();
        assert!(error.to_string().contains("not this user's alone"), "{error}");
    }
}
