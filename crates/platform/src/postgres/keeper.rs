//! The thread that makes, starts and stops one server.
//!
//! A thread of its own, because the kernel sends the parent-death signal when the *thread* that
//! started the child ends: a worker of a runtime may end long before the process does. The keeper
//! lives exactly as long as its server.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::launch::Launcher;
use super::process::{self, POLL};
use super::{Binaries, Error};

/// How often a port that was free a moment ago may turn out to be taken.
const PORT_TRIES: u32 = 5;

/// How long a server may take to die of SIGQUIT before it is killed.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);

/// Everything the keeper has to know to make and start a server.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) binaries: Binaries,
    /// The folder that holds all of the cluster's files; exists.
    pub(crate) folder: PathBuf,
    pub(crate) superuser: String,
    pub(crate) password: String,
    /// Further arguments of `initdb`.
    pub(crate) initdb: Vec<String>,
    /// Lines for `postgresql.conf`.
    pub(crate) config: String,
    /// For `initdb` and for the start, each.
    pub(crate) limit: Duration,
}

impl Plan {
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Short, because a socket's whole path may have 103 bytes (104 with its final NUL on macOS).
    pub(crate) fn sockets(&self) -> PathBuf {
        self.folder.join("s")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

/// What the owner asks of the keeper. That the owner is gone means: stop at once.
#[derive(Debug)]
pub(crate) enum Order {
    /// Stop: sessions are ended (a *fast* shutdown); after `grace`, at once.
    Stop { grace: Duration, done: oneshot::Sender<()> },
}

/// What the orders say while the keeper waits for something else.
enum Interrupt {
    Stopped,
    Exited(ExitStatus),
    TimedOut,
}

/// The thread's body: make, start, report, wait for the end, stop.
pub(crate) fn keep(
    plan: &Plan,
    orders: &Receiver<Order>,
    ready: oneshot::Sender<Result<u16, Error>>,
) {
    match start(plan, orders) {
        Ok((server, port)) => {
            // If nobody waits for this any more, the orders are closed too.
            let _ = ready.send(Ok(port));
            keep_running(server, orders);
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
}

fn keep_running(mut server: Child, orders: &Receiver<Order>) {
    match orders.recv() {
        Ok(Order::Stop { grace, done }) => {
            end(&mut server, Signal::SIGINT, grace);
            let _ = done.send(());
        }
        Err(_owner_gone) => end(&mut server, Signal::SIGQUIT, IMMEDIATE_LIMIT),
    }
}

/// Signals the server and waits for its end; SIGINT is a fast shutdown, SIGQUIT an immediate one
/// (manual, "Shutting Down the Server").
fn end(server: &mut Child, signal: Signal, limit: Duration) {
    // Not yet waited for, the child keeps its number: no other process can be hit.
    let pid = i32::try_from(server.id()).expect("process numbers fit pid_t");
    let mut exited = || matches!(server.try_wait(), Ok(Some(_)) | Err(_));
    if exited() {
        return;
    }
    process::signal(pid, signal);
    if process::wait_until(limit, &mut exited) {
        return;
    }
    process::signal(pid, Signal::SIGQUIT);
    if process::wait_until(IMMEDIATE_LIMIT, &mut exited) {
        return;
    }
    process::signal(pid, Signal::SIGKILL);
    process::wait_until(IMMEDIATE_LIMIT, &mut exited);
}

fn start(plan: &Plan, orders: &Receiver<Order>) -> Result<(Child, u16), Error> {
    let launcher = Launcher::choose(&plan.binaries)?;
    make_folders(plan, &launcher)?;
    initialise(plan, &launcher, orders)?;
    let mut tries = PORT_TRIES;
    loop {
        tries -= 1;
        let port = free_port()?;
        match launch(plan, &launcher, port, orders) {
            Err(Error::PortTaken { .. }) if tries > 0 => {}
            other => return other.map(|server| (server, port)),
        }
    }
}

fn make_folders(plan: &Plan, launcher: &Launcher) -> Result<(), Error> {
    for folder in [plan.data(), plan.sockets()] {
        fs::create_dir(&folder)
            .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o700)))
            .and_then(|()| launcher.give(&folder))
            .map_err(|source| Error::Folder { path: folder, source })?;
    }
    Ok(())
}

/// `initdb`, then our settings at the end of `postgresql.conf`, where they win over initdb's and
/// lose to ALTER SYSTEM.
fn initialise(plan: &Plan, launcher: &Launcher, orders: &Receiver<Order>) -> Result<(), Error> {
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Folder { path, source }
    };
    let password_file = plan.folder.join("password");
    File::create(&password_file)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(plan.password.as_bytes())
        })
        .and_then(|()| launcher.give(&password_file))
        .map_err(io_error(&password_file))?;
    let log = File::create(plan.log()).map_err(io_error(&plan.log()))?;
    let errors = log.try_clone().map_err(io_error(&plan.log()))?;
    let program = plan.binaries.bin("initdb");
    let mut initdb = launcher
        .command(&program)
        .arg("--pgdata")
        .arg(plan.data())
        .args(["--username", &plan.superuser, "--encoding", "UTF8", "--no-locale"])
        .arg(format!("--pwfile={}", password_file.display()))
        .args(&plan.initdb)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .current_dir(&plan.folder)
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Spawn { program, source })?;
    match wait(&mut initdb, orders, plan.limit, || false) {
        Some(Interrupt::Exited(status)) if status.success() => {}
        Some(Interrupt::Exited(_)) => return Err(Error::Initdb { log: log_tail(plan) }),
        Some(Interrupt::TimedOut) => {
            end(&mut initdb, Signal::SIGQUIT, IMMEDIATE_LIMIT);
            return Err(Error::Deadline { what: "initdb", limit: plan.limit, log: log_tail(plan) });
        }
        Some(Interrupt::Stopped) | None => {
            end(&mut initdb, Signal::SIGQUIT, IMMEDIATE_LIMIT);
            return Err(Error::Cancelled);
        }
    }
    fs::remove_file(&password_file).map_err(io_error(&password_file))?;
    let config = plan.data().join("postgresql.conf");
    OpenOptions::new()
        .append(true)
        .open(&config)
        .and_then(|mut file| file.write_all(plan.config.as_bytes()))
        .map_err(io_error(&config))
}

/// Starts the server and waits until it says that it accepts connections.
fn launch(
    plan: &Plan,
    launcher: &Launcher,
    port: u16,
    orders: &Receiver<Order>,
) -> Result<Child, Error> {
    let io_error = |source| Error::Folder { path: plan.log(), source };
    let log = File::create(plan.log()).map_err(io_error)?;
    let errors = log.try_clone().map_err(io_error)?;
    let program = plan.binaries.bin("postgres");
    let mut server = launcher
        .command(&program)
        .arg("-D")
        .arg(plan.data())
        .args(["-p", &port.to_string(), "-k"])
        .arg(plan.sockets())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .current_dir(&plan.folder)
        // A Ctrl-C at the terminal is for us: we end the server after those who use it.
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Spawn { program, source })?;
    match wait(&mut server, orders, plan.limit, || is_ready(&plan.data())) {
        None => Ok(server),
        Some(Interrupt::Exited(_)) => {
            let log = log_tail(plan);
            // The words of bind(2)'s EADDRINUSE; LC_ALL=C makes them these.
            if log.contains("Address already in use") {
                return Err(Error::PortTaken { port });
            }
            Err(Error::Start { log })
        }
        Some(Interrupt::TimedOut) => {
            end(&mut server, Signal::SIGQUIT, IMMEDIATE_LIMIT);
            Err(Error::Deadline { what: "postgres", limit: plan.limit, log: log_tail(plan) })
        }
        Some(Interrupt::Stopped) => {
            end(&mut server, Signal::SIGQUIT, IMMEDIATE_LIMIT);
            Err(Error::Cancelled)
        }
    }
}

/// Waits for a child until `condition` holds (`None`), it exits, time is up, or we are told to
/// stop.
fn wait(
    child: &mut Child,
    orders: &Receiver<Order>,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Option<Interrupt> {
    let deadline = Instant::now() + limit;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(Interrupt::Exited(status));
        }
        if condition() {
            return None;
        }
        if Instant::now() >= deadline {
            return Some(Interrupt::TimedOut);
        }
        // The queue of orders is also the clock of this loop.
        match orders.recv_timeout(POLL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::Stop { .. }) | Err(RecvTimeoutError::Disconnected) => {
                return Some(Interrupt::Stopped);
            }
        }
    }
}

/// Line 8 of `postmaster.pid` is `ready` once connections are accepted: what `pg_ctl -w` waits for.
fn is_ready(data: &Path) -> bool {
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    file.lines().nth(7).is_some_and(|line| line.trim() == "ready")
}

/// A loopback port that is free now. PostgreSQL cannot be asked to choose one (`port = 0` is
/// refused).
fn free_port() -> Result<u16, Error> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::NoPort { source })
}

/// The last lines of the log, for an error message.
fn log_tail(plan: &Plan) -> String {
    const LINES: usize = 15;
    let log = fs::read(plan.log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
