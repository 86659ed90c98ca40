//! What the service manager is told: sd_notify(3), one datagram a message.
//!
//! Without `NOTIFY_SOCKET` nobody listens and nothing is sent. That a message cannot be delivered
//! is no reason to stop serving.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Speaks to the service manager.
#[derive(Debug)]
pub(crate) struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, as the service manager sets them.
    pub(crate) fn from_env() -> io::Result<Self> {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let others = number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && !others);
        let manager = match std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => Some((UnixDatagram::unbound()?, address(&name)?)),
            None => None,
        };
        Ok(Self { manager, watchdog: watchdog.map(Duration::from_micros) })
    }

    /// Whether there is a service manager.
    pub(crate) fn is_heard(&self) -> bool {
        self.manager.is_some()
    }

    /// How often the service manager wants to hear from us at least.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.manager.as_ref().and(self.watchdog)
    }

    /// It serves; also the end of a reload.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// It begins to reload its configuration, or to make room for a successor.
    pub(crate) fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS={status}"));
    }

    /// Another process serves now, and speaks for the service from here on.
    pub(crate) fn succeeded_by(&self, pid: u32) {
        self.send(&format!("READY=1\nMAINPID={pid}"));
    }

    /// It ends.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// It is alive.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, manager)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), manager) {
            tracing::warn!(%error, "the service manager cannot be reached");
        }
    }
}

/// A path, or with `@` a name in Linux's abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram, notifier: &Notifier) -> Vec<String> {
        notifier.ready("listening");
        notifier.reloading("x");
        notifier.succeeded_by(7);
        notifier.stopping("done");
        let mut bytes = [0; 200];
        (0..4)
            .map(|_| {
                let length = socket.recv(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes[..length]).into_owned()
            })
            .collect()
    }

    fn to(name: &OsStr) -> Notifier {
        let manager = Some((UnixDatagram::unbound().unwrap(), address(name).unwrap()));
        Notifier { manager, watchdog: None }
    }

    #[test]
    fn messages_arrive_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let said = heard(&socket, &to(path.as_os_str()));
        assert_eq!(said[0], "READY=1\nSTATUS=listening");
        assert!(said[1].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{}", said[1]);
        assert_eq!(said[2], "READY=1\nMAINPID=7");
        assert_eq!(said[3], "STOPPING=1\nSTATUS=done");
        #[cfg(target_os = "linux")]
        {
            let name = format!("@surgetank-test-{}", std::process::id());
            let address = address(OsStr::new(&name)).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            assert_eq!(heard(&socket, &to(OsStr::new(&name))).len(), 4);
        }
    }

    #[test]
    fn without_a_manager_nothing_is_sent() {
        let silent = Notifier { manager: None, watchdog: Some(Duration::from_secs(1)) };
        silent.ready("x");
        assert_eq!(silent.watchdog(), None);
    }
}
