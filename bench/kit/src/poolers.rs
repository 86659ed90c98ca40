//! Starts the poolers that are compared, all in front of the same server.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::postgres::Cluster;

/// Where poolers are started: nobody proves who he is, and the server is reached by its socket.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// What all of them stand in front of.
    pub cluster: &'a Cluster,
    /// The program.
    pub surgetank: &'a Path,
}

/// How often it is looked whether a pooler has ended by itself, and how many times at most: 5 s.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LOOKS: u32 = 500;

/// How often it is checked whether a pooler listens, and how many times at most: 30 s, since
/// valgrind starts a program in some ten times the usual time.
const START_LOOK_EVERY: Duration = Duration::from_millis(20);
const START_LOOKS_MAX: u32 = 1_500;

/// A running pooler; dropping it ends it, in order if it can: what it writes at its end (a profile,
/// the last block of a recording) is there afterwards.
#[derive(Debug)]
pub struct Pooler {
    /// What it is called in tables.
    pub name: String,
    /// For libpq.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Who may come in.
    pub user: String,
    /// Its process.
    pub pid: u32,
    /// Clients it can serve at once: some have a server connection for each.
    pub clients_max: u32,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// Ends it without a word to anybody.
    pub fn kill(mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Already gone is as good as ended or killed.
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        for _ in 0..LOOKS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How PgBouncer is to run.
#[derive(Clone, Copy, Debug)]
pub struct PgBouncer<'a> {
    /// Its version, from [`pgbouncer_version`].
    pub version: (u32, u32),
    /// `transaction` or `session`.
    pub pool_mode: &'a str,
    /// Server connections.
    pub size: u32,
}

/// Since this version PgBouncer can pool named prepared statements by transaction.
pub const POOLS_PREPARED: (u32, u32) = (1, 21);

impl Site<'_> {
    /// Starts PgBouncer.
    ///
    /// # Errors
    /// If it cannot be started, or does not listen.
    pub fn pgbouncer(&self, how: PgBouncer<'_>) -> anyhow::Result<Pooler> {
        let PgBouncer { version, pool_mode, size } = how;
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let superuser = self.cluster.superuser();
        let users = folder.path().join("users.txt");
        fs::write(&users, format!("\"{}\" \"\"\n", superuser.user))?;
        let prepared =
            if version >= POOLS_PREPARED { "max_prepared_statements = 200\n" } else { "" };
        let server = self.cluster.address();
        let ini = folder.path().join("pgbouncer.ini");
        fs::write(
            &ini,
            format!(
                "[databases]\npostgres = host={} port={} dbname=postgres user={}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {}\npool_mode = {pool_mode}\n\
                 default_pool_size = {size}\nmax_client_conn = 20000\n{prepared}\
                 log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n",
                server.socket_dir.display(),
                server.port,
                superuser.user,
                users.display()
            ),
        )?;
        // PgBouncer refuses to run as root, must be able to read its files, and as the server's own
        // user may use its socket.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let mut command = if nix::unistd::Uid::effective().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "pgbouncer"]);
            command
        } else {
            Command::new("pgbouncer")
        };
        let log = log(&folder)?;
        let child = quiet(&mut command, log).arg("-q").arg(&ini).spawn().context("pgbouncer")?;
        let name = format!("PgBouncer {}.{} {pool_mode}", version.0, version.1);
        let mut pooler = self.ready(name, port, child, folder)?;
        if pool_mode == "session" {
            pooler.clients_max = size;
        }
        Ok(pooler)
    }

    /// Starts `surgetank proxy` with these further arguments.
    ///
    /// # Errors
    /// If it cannot be started, or does not listen.
    pub fn surgetank(&self, name: String, arguments: &[&str]) -> anyhow::Result<Pooler> {
        self.proxy(name, &[], arguments, false)
    }

    /// The same, recording every request into a folder that goes with it.
    ///
    /// # Errors
    /// If it cannot be started, or does not listen.
    pub fn surgetank_recording(&self, name: String, arguments: &[&str]) -> anyhow::Result<Pooler> {
        self.proxy(name, &[], arguments, true)
    }

    /// The same under a tool that runs programs, such as valgrind: its name and its options.
    ///
    /// # Errors
    /// If it cannot be started, or does not listen.
    pub fn surgetank_recording_under(
        &self,
        tool: &[&str],
        name: String,
        arguments: &[&str],
    ) -> anyhow::Result<Pooler> {
        self.proxy(name, tool, arguments, true)
    }

    fn proxy(
        &self,
        name: String,
        tool: &[&str],
        arguments: &[&str],
        records: bool,
    ) -> anyhow::Result<Pooler> {
        let superuser = self.cluster.superuser();
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = match tool {
            [] => Command::new(self.surgetank),
            [tool, options @ ..] => {
                let mut command = Command::new(tool);
                command.args(options).arg(self.surgetank);
                command
            }
        };
        command
            .arg("proxy")
            .arg(self.cluster.address().socket_url(&superuser.user, "postgres"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            // Whoever ends it does not wait for its clients.
            .args(["--grace", "0"])
            .args(arguments);
        if records {
            command.arg("--record").arg(folder.path().join("recording"));
        }
        let missing = || format!("{}: build it first", self.surgetank.display());
        let child = quiet(&mut command, log(&folder)?).spawn().with_context(missing)?;
        self.ready(name, port, child, folder)
    }

    fn ready(
        &self,
        name: String,
        port: u16,
        mut child: Child,
        folder: tempfile::TempDir,
    ) -> anyhow::Result<Pooler> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..START_LOOKS_MAX {
            if TcpStream::connect(address).is_ok() {
                let user = self.cluster.superuser().user.clone();
                let (url, pid) = (format!("postgresql://{user}@{address}/postgres"), child.id());
                return Ok(Pooler {
                    name,
                    url,
                    address,
                    user,
                    pid,
                    clients_max: u32::MAX,
                    child,
                    _folder: folder,
                });
            }
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(folder.path().join(LOG)).unwrap_or_default();
                bail!("{name} ended at once: {status}: {said}");
            }
            std::thread::sleep(START_LOOK_EVERY);
        }
        let _ = child.kill();
        bail!("{name} does not listen on {address} after 30 s")
    }
}

/// What a pooler says, in its folder: told if it does not start.
const LOG: &str = "log";

fn log(folder: &tempfile::TempDir) -> anyhow::Result<fs::File> {
    Ok(fs::File::create(folder.path().join(LOG))?)
}

fn quiet(command: &mut Command, log: fs::File) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The version of PgBouncer, if it is installed.
#[must_use]
pub fn pgbouncer_version() -> Option<(u32, u32)> {
    let output = Command::new("pgbouncer").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
