//! The outer side of a terminal that a process has.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;

use super::WindowSize;

/// The side on which we are.
#[derive(Debug)]
pub(super) struct Terminal {
    outer: AsyncFd<OwnedFd>,
}

impl Terminal {
    /// Makes a terminal; returns our side and the process's. Must be called within a runtime.
    pub(super) fn open(size: WindowSize) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let outer = rustix::pty::openpt(flags)?;
        rustix::pty::grantpt(&outer)?;
        rustix::pty::unlockpt(&outer)?;
        let path = rustix::pty::ptsname(&outer, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inner = rustix::fs::open(path, flags, Mode::empty())?;
        rustix::io::ioctl_fionbio(&outer, true)?;
        #[expect(deprecated, reason = "an `OwnedFd` that stays in there is what it is sound for")]
        let terminal = Self { outer: AsyncFd::new(outer)? };
        terminal.resize(size)?;
        Ok((terminal, inner))
    }

    /// Tells the processes of another window size (they get SIGWINCH).
    pub(super) fn resize(&self, size: WindowSize) -> io::Result<()> {
        let size = Winsize { ws_row: size.lines, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(&self.outer, size)?)
    }

    /// Reads what was written to it; 0 when nobody has its inner side open any more.
    pub(super) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.outer.readable().await?;
            let read = ready.try_io(|outer| match rustix::io::read(outer, &mut *into) {
                // How Linux says that the last inner side was closed.
                Err(Errno::IO) => Ok(0),
                read => Ok(read?),
            });
            if let Ok(read) = read {
                return read;
            }
        }
    }

    /// Types bytes.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.outer.writable().await?;
            if let Ok(written) = ready.try_io(|outer| Ok(rustix::io::write(outer, bytes)?)) {
                bytes = &bytes[written?..];
            }
        }
        Ok(())
    }
}
