//! What a service manager such as systemd sees: notifications, its own sockets, SIGUSR2.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Process, SOON};
use crate::cli::surgetank;

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(SOON)).expect("a limit");
        Self { socket, folder }
    }

    fn hear(&self) -> io::Result<String> {
        let mut bytes = [0; 1000];
        let length = self.socket.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// The next message that is no sign of life.
    fn hear_news(&self) -> String {
        loop {
            let message = self.hear().expect("it says something");
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    fn hear_a_sign_of_life(&self) {
        while self.hear().expect("it says something") != "WATCHDOG=1" {}
    }
}

/// Ends whoever the service manager takes for the main process.
struct Main(Pid);

impl Drop for Main {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[tokio::test]
async fn it_tells_its_life_in_order() {
    let manager = Manager::new();
    let path = |name: &str| manager.folder.path().join(name).display().to_string();
    let words = ["proxy", "postgres://app@127.0.0.1:1/app", "--listen", "127.0.0.1:0"];
    let mut command = surgetank(&words);
    command.args(["--handover", &path("handover")]);
    command.env("NOTIFY_SOCKET", path("notify")).env("WATCHDOG_USEC", "100000");
    // As `exec` keeps the process id, the variable can be right.
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\""]).arg(program).args(arguments);
    for (name, value) in command.get_envs() {
        shell.env(name, value.expect("set, not removed"));
    }
    let mut old = Process::spawn(&mut shell);

    let ready = manager.hear_news();
    assert_eq!(ready, format!("READY=1\nSTATUS=listening on {}", old.addr));
    manager.hear_a_sign_of_life();
    old.signal(Signal::SIGUSR2);
    let reloading = manager.hear_news();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    let news = manager.hear_news();
    let main = news.strip_prefix("READY=1\nMAINPID=").and_then(|pid| pid.parse().ok());
    let main = Main(Pid::from_raw(main.expect("the new one's pid")));
    // It waits for the end of its own children only.
    let status = std::fs::read_to_string(format!("/proc/{}/status", main.0)).expect("it runs");
    assert!(!status.contains(&format!("PPid:\t{}\n", old.pid())), "{status}");
    // Nobody would listen to it before.
    assert_eq!(manager.hear_news(), ready);
    assert_ne!(main.0, old.pid());
    assert!(old.ended().await.success());
    while manager.socket.set_nonblocking(true).is_ok() && manager.hear().is_ok() {}
    manager.socket.set_nonblocking(false).expect("a mode");
    manager.hear_a_sign_of_life();
    kill(main.0, Signal::SIGTERM).expect("it runs");
    assert!(manager.hear_news().starts_with("STOPPING=1\nSTATUS="));
}

#[tokio::test]
async fn the_managers_second_sigterm_takes_no_time_away() {
    let manager = Manager::new();
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let url = database.url();
    let mut command = surgetank(&["proxy", &url, "--listen", "127.0.0.1:0", "--grace", "60"]);
    command.env("NOTIFY_SOCKET", manager.folder.path().join("notify"));
    let mut proxy = Process::spawn(&mut command);
    assert!(manager.hear_news().starts_with("READY=1"));
    let session = testkit::connect(&database.url_through(proxy.addr)).await;
    session.batch_execute("BEGIN").await.expect("a transaction");
    for _ in 0..2 {
        proxy.signal(Signal::SIGTERM);
        assert!(manager.hear_news().starts_with("STOPPING=1"));
    }
    session.batch_execute("COMMIT").await.expect("there is time for it");
    proxy.signal(Signal::SIGINT);
    assert!(proxy.ended().await.success());
    drop(session);
}

/// Starts what follows as `$0` with its standard input as a service manager's socket.
const PASSED_IN: &str = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";

#[tokio::test]
async fn a_unix_socket_passed_in_stays_the_managers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(".s.PGSQL.6432");
    let listener = UnixListener::bind(&path).expect("a socket");
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    let mut shell = Command::new("sh");
    shell.args(["-c", PASSED_IN, env!("CARGO_BIN_EXE_surgetank"), "proxy"]);
    let mut proxy = shell
        .arg(database.url())
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().expect("a copy"))))
        .spawn()
        .expect("it runs");
    let mut config = tokio_postgres::Config::new();
    config.host_path(folder.path()).port(6432).dbname(&database.name);
    config.user(&database.owner.user).password(&database.owner.password);
    // Whoever comes before the service does waits.
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a session");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(connection);
    client.simple_query("SELECT 1").await.expect("an answer");
    drop(client);
    kill(Pid::from_raw(proxy.id().try_into().expect("a pid")), Signal::SIGTERM).expect("it runs");
    assert!(proxy.wait().expect("our child").success());
    assert!(path.exists(), "it is not ours to remove");
}

#[tokio::test]
async fn sockets_passed_in_are_used_instead_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let postgres = testkit::postgres().await;
    let database = postgres.database().await;
    // Whoever comes before the service does waits.
    let url = database.url_through(addr);
    let mut early = tokio::task::JoinSet::new();
    early.spawn(async move {
        let session = testkit::connect(&url).await;
        session.simple_query("SELECT 1").await.expect("an answer");
    });
    let mut shell = Command::new("sh");
    let words = ["--workers", "3", "--listen", "127.0.0.1:1"];
    shell.args(["-c", PASSED_IN, env!("CARGO_BIN_EXE_surgetank"), "proxy"]);
    shell.arg(database.url()).args(words).stdin(Stdio::from(OwnedFd::from(listener)));
    let proxy = Process::spawn(&mut shell);
    assert_eq!(proxy.addr, addr);
    early.join_next().await.expect("a client").expect("it was served");
    let wrong = Command::new("sh")
        .args(["-c", PASSED_IN, env!("CARGO_BIN_EXE_surgetank"), "proxy"])
        .arg(database.url())
        .stdin(Stdio::from(OwnedFd::from(std::net::UdpSocket::bind(addr).expect("a port"))))
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && told.contains("LISTEN_FDS"), "{told}");
}
