//! A Unix socket that is listened on, and its file.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use socket2::{Domain, SockAddr, Socket, Type};

use super::BACKLOG;

/// Who may connect to a Unix socket, as far as its file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPermissions {
    /// Its mode; whoever may write to it may connect. 0777 by default, as PostgreSQL has it
    /// (`unix_socket_permissions`).
    pub mode: u32,
    /// Its group, if it is not to be that of the process (`unix_socket_group`).
    pub group: Option<String>,
}

impl Default for SocketPermissions {
    fn default() -> Self {
        Self { mode: 0o777, group: None }
    }
}

/// The file of a socket of ours; dropped, it is removed, if it is still the one that it was.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Nothing once it is another process'.
    identity: Option<Identity>,
}

/// Which file it is: device, inode, and when it was made, in seconds and nanoseconds, since the
/// number of an inode is used again. Its mode and group may change.
type Identity = (u64, u64, i64, i64);

impl SocketFile {
    /// Of a socket that is bound there.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: Some(identity(path)?) })
    }

    /// It is another process' from now on.
    pub(crate) fn leave(mut self) {
        self.identity = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path).ok() == self.identity {
            // Left behind, it does no harm: whoever comes next there removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

/// Listens on a path. A socket that a killed process has left there is replaced; anything else
/// that is there stays, and is an error.
pub(crate) fn bind(
    path: &Path,
    permissions: &SocketPermissions,
) -> io::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    make_way(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let file = SocketFile::of(path)?;
    // Nobody can connect before `listen`: at no time is more allowed than is meant.
    if let Some(name) = &permissions.group {
        let group = Group::from_name(name)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group {name:?}")))?;
        chown(path, None, Some(group.gid.as_raw()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(permissions.mode))?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Removes a socket that nobody listens on.
fn make_way(path: &Path, address: &SockAddr) -> io::Result<()> {
    let socket = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?.file_type().is_socket(),
    };
    if !socket {
        let why = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Of a socket whose queue is full, the answer would come when somebody accepts.
    caller.set_nonblocking(true)?;
    match caller.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn at(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join(".s.PGSQL.6432")
    }

    #[test]
    fn its_file_has_the_mode_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let permissions = SocketPermissions { mode: 0o750, group: None };
        let (_socket, file) = bind(&at(&folder), &permissions).unwrap();
        assert_eq!(fs::metadata(at(&folder)).unwrap().permissions().mode() & 0o7777, 0o750);
        drop(UnixStream::connect(at(&folder)).unwrap());
        drop(file);
        assert!(!at(&folder).exists());
    }

    #[test]
    fn what_was_left_behind_is_replaced_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let bind = || bind(&at(&folder), &SocketPermissions::default());
        let (socket, file) = bind().unwrap();
        assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // As if it had been killed.
        drop(socket);
        let (_socket, _next) = bind().unwrap();
        drop(file);
        assert!(UnixStream::connect(at(&folder)).is_ok(), "another's file is left alone");
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(at(&folder), "mine").unwrap();
        let error = bind(&at(&folder), &SocketPermissions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(at(&folder)).unwrap(), "mine");
    }

    #[test]
    fn what_cannot_be_given_its_group_is_not_listened_on() {
        let folder = tempfile::tempdir().unwrap();
        let group = Some("no such group".to_owned());
        let permissions = SocketPermissions { group, ..SocketPermissions::default() };
        let error = bind(&at(&folder), &permissions).unwrap_err();
        assert!(error.to_string().contains("no such group"));
        assert!(!at(&folder).exists());
    }
}
