//! Starts the poolers that are compared, all in front of the same server.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use platform::postgres::Cluster;

/// Server connections each pooler may use in transaction mode.
const POOL_SIZE: u32 = 8;

/// Server connections at most, where each client has its own.
pub(crate) const SERVERS_MAX: u32 = 300;

/// What all poolers stand in front of.
pub(crate) struct Setup<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) mode: &'a str,
    pub(crate) surgetank: &'a Path,
}

/// A running pooler; dropping it ends it.
pub(crate) struct Pooler {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) user: String,
    pub(crate) pid: u32,
    /// Clients it can serve at once: some have a server connection for each.
    pub(crate) clients_max: u32,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Setup<'_> {
    /// PgBouncer first, where it is installed: it is the base of the ratio.
    pub(crate) fn start_all(&self) -> anyhow::Result<Vec<Pooler>> {
        let mut poolers = Vec::new();
        match pgbouncer_version() {
            Some(version) => poolers.push(self.pgbouncer(version)?),
            None => crate::say("pgbouncer is not installed: nothing to compare with")?,
        }
        for mode in ["regulate", "observe"] {
            poolers.push(self.surgetank(mode)?);
        }
        Ok(poolers)
    }

    fn pgbouncer(&self, version: (u32, u32)) -> anyhow::Result<Pooler> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let superuser = self.cluster.superuser();
        let pools_prepared = version >= (1, 21);
        let by_session = self.mode == "prepared" && !pools_prepared;
        let (pool_mode, size) =
            if by_session { ("session", SERVERS_MAX) } else { ("transaction", POOL_SIZE) };
        let users = folder.path().join("users.txt");
        fs::write(&users, format!("\"{}\" \"\"\n", superuser.user))?;
        let prepared = if pools_prepared { "max_prepared_statements = 200\n" } else { "" };
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
        let child = quiet(&mut command).arg("-q").arg(&ini).spawn().context("pgbouncer")?;
        let name = format!("PgBouncer {}.{} {pool_mode}", version.0, version.1);
        let clients_max = if by_session { SERVERS_MAX } else { u32::MAX };
        self.ready(name, port, child, folder, clients_max)
    }

    fn surgetank(&self, mode: &str) -> anyhow::Result<Pooler> {
        let superuser = self.cluster.superuser();
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(self.surgetank);
        command
            .arg("proxy")
            .arg(self.cluster.address().socket_url(&superuser.user, "postgres"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--mode", mode])
            .arg("--record")
            .arg(folder.path().join("recording"));
        if mode == "regulate" {
            command.args(["--limit", &POOL_SIZE.to_string()]);
        }
        let missing = || format!("{}: build it first", self.surgetank.display());
        let child = quiet(&mut command).spawn().with_context(missing)?;
        let clients_max = if mode == "regulate" { u32::MAX } else { SERVERS_MAX };
        self.ready(format!("surgetank {mode}, recording"), port, child, folder, clients_max)
    }

    fn ready(
        &self,
        name: String,
        port: u16,
        mut child: Child,
        folder: tempfile::TempDir,
        clients_max: u32,
    ) -> anyhow::Result<Pooler> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..500 {
            if TcpStream::connect(address).is_ok() {
                let user = self.cluster.superuser().user.clone();
                let (url, pid) = (format!("postgresql://{user}@{address}/postgres"), child.id());
                return Ok(Pooler {
                    name,
                    url,
                    address,
                    user,
                    pid,
                    clients_max,
                    child,
                    _folder: folder,
                });
            }
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended at once: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        bail!("{name} does not listen on {address} after 10 s")
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn pgbouncer_version() -> Option<(u32, u32)> {
    let output = Command::new("pgbouncer").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
