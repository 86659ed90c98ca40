//! Containers of an ordinary user: a user namespace in which that user is root, over nothing but
//! what is in it.
//!
//! ```text
//!   surgetank ──spawns──▶ keeper (`__dyno keep 5432`)
//!      │ a thread's socket    │ makes the user namespace and the network in it; listens there;
//!      │◀── descriptors ──────┘ makes further sockets there when asked to; ends with the thread
//!      │
//!      └─spawns──▶ helper (`__dyno within USER NETWORK start FOLDER`)
//!                     │ enters both, hides the control groups, becomes itself anew
//!                     ▼
//!                  `__dyno start FOLDER`, as for root
//! ```
//!
//! This process itself cannot enter a user namespace, as it has many threads, nor the network
//! within without being in the other first: so somebody must stay there and make sockets.
//!
//! An ordinary user's control groups are not asked for: only the number of processes has a limit,
//! which the kernel knows without one. libcontainer insists on
//! joining groups where version 1 is mounted, so it finds a folder there that leads nowhere.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, ipproto, recvmsg, sendmsg,
    socket_with, socketpair,
};

use super::cgroup;
use super::network::{Made, listen, loopback_up};

/// Most descriptors in one message: two namespaces and the listeners.
const DESCRIPTORS_MAX: usize = 64;
/// The longest reason why there is no namespace.
const REASON_BYTES_MAX: usize = 1024;
/// A keeper's word for "done"; any other says why not.
const DONE: &[u8] = b"+";
/// The word for no network of its own.
pub(super) const SHARED: &str = "-";
/// The group of dynos of an ordinary user: the place itself, which is no group ([`within`]).
pub(super) const NO_GROUP: &str = "/";
/// Where libcontainer looks for control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The process that stays in the namespaces of one dyno, as its parent sees it. Dropping it ends
/// that process; the namespaces live for as long as somebody is in them or holds them.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Child,
    /// Dropped first when this is: the process reads its end of that and ends too.
    socket: Option<OwnedFd>,
}

impl Keeper {
    /// Starts it by this command, from a thread that outlives it, and hears what it made.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, Made)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        command.stdin(Stdio::from(its)).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn()?;
        // The command keeps a copy of the other end, so that its end would not be seen.
        drop(command);
        let keeper = Self { process, socket: Some(ours) };
        let mut descriptors = hear(keeper.socket()?)?.into_iter();
        let user = descriptors.next().ok_or_else(|| io::Error::other("no user namespace"))?;
        let namespace = descriptors.next().map(File::from);
        let listeners = descriptors.map(TcpListener::from).collect();
        Ok((keeper, Made { user: Some(user.into()), namespace, listeners }))
    }

    /// A socket in the network that it keeps, not connected yet.
    pub(super) fn connectable(&self) -> io::Result<std::net::TcpStream> {
        say(self.socket()?, DONE, &[])?;
        let socket = hear(self.socket()?)?.pop();
        Ok(socket.ok_or_else(|| io::Error::other("no socket came"))?.into())
    }

    fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        let socket = self.socket.as_ref().map(AsFd::as_fd);
        socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.socket = None;
        // It may have ended before it got that far.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Whether the kernel counts processes per user namespace, as it does since 5.14: before, the
/// limit would be on all that this user has on the machine.
pub(super) fn counts_processes() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-', '\n']).map(|number| number.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5_u32), Some(14))
}

/// The whole of a keeper: its other side is at its standard input. `words` are the ports to listen
/// on, or [`SHARED`] for no network of its own.
pub(super) fn keep(words: &[&str]) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let input = io::stdin();
    let made = match words {
        [SHARED] => user_namespace().map(|user| vec![OwnedFd::from(user)]),
        ports => own_network(ports),
    };
    match made {
        Ok(made) => {
            let made: Vec<BorrowedFd<'_>> = made.iter().map(AsFd::as_fd).collect();
            say(input.as_fd(), DONE, &made)?;
        }
        Err(error) => return say(input.as_fd(), error.to_string().as_bytes(), &[]),
    }
    let mut word = [0];
    while input.lock().read(&mut word)? > 0 {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP));
        match socket {
            Ok(socket) => say(input.as_fd(), DONE, &[socket.as_fd()])?,
            Err(error) => say(input.as_fd(), error.to_string().as_bytes(), &[])?,
        }
    }
    Ok(())
}

/// Goes into a new user namespace as its root. The process must have one thread only.
fn user_namespace() -> io::Result<File> {
    let (uid, gid) = (geteuid(), getegid());
    let refused = |what: &str, error: io::Error| io::Error::other(format!("{what}: {error}"));
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|error| refused("no user namespace for an ordinary user", error.into()))?;
    // user_namespaces(7): without this an ordinary user may not map a group.
    fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {uid} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {gid} 1")))
        .map_err(|error| refused("no root in the user namespace", error))?;
    File::open("/proc/self/ns/user")
}

fn own_network(ports: &[&str]) -> io::Result<Vec<OwnedFd>> {
    let user = user_namespace()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback_up()?;
    let mut made = vec![user.into(), File::open("/proc/self/ns/net")?.into()];
    for port in ports {
        let port = port.parse().map_err(io::Error::other)?;
        made.push(listen(&port)?.into());
    }
    Ok(made)
}

/// Enters the namespaces at these paths and becomes this program anew, with these words: only of
/// a process that was begun within does the kernel take the namespace's root for the owner.
///
/// Returns only when that fails.
pub(super) fn within(user: &Path, network: &Path, words: &[std::ffi::OsString]) -> io::Error {
    let entered = || {
        let user = File::open(user)?;
        let shared = network == Path::new(SHARED);
        let network = if shared { None } else { Some(File::open(network)?) };
        setns(&user, CloneFlags::CLONE_NEWUSER)?;
        if let Some(network) = network {
            setns(&network, CloneFlags::CLONE_NEWNET)?;
        }
        unshare(CloneFlags::CLONE_NEWNS)?;
        hide_control_groups()
    };
    match entered() {
        Ok(()) => Command::new("/proc/self/exe").arg0("surgetank").args(words).exec(),
        Err(error) => error,
    }
}

/// Puts a folder over the control groups that this user cannot write to anyway, with the files in
/// it that libcontainer writes to.
fn hide_control_groups() -> io::Result<()> {
    let mounted = cgroup::mounted();
    mount(Some("tmpfs"), CGROUPS, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    for folder in mounted.iter().filter(|folder| folder.starts_with(CGROUPS)) {
        fs::create_dir_all(folder)?;
        File::create(folder.join("cgroup.procs"))?;
    }
    Ok(())
}

fn say(socket: BorrowedFd<'_>, word: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    if !descriptors.is_empty() && !control.push(rights) {
        return Err(io::Error::other("too many ports"));
    }
    sendmsg(socket, &[IoSlice::new(word)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn hear(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut word = [0; REASON_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut word)];
    let received = recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    match &word[..received.bytes] {
        DONE => Ok(descriptors),
        [] => Err(io::Error::other("the process in the dyno's namespaces has ended")),
        reason => Err(io::Error::other(String::from_utf8_lossy(reason).into_owned())),
    }
}
