"""A throw-away PostgreSQL, and Surgetank in front of it, for scripts.

    with tempfile.TemporaryDirectory() as folder:
        template = Template(Path(folder), superuser="postgres", hba=HBA, sql=SQL)
        with template.server(port) as server: ...           # a fresh copy of the cluster each time
        with surgetank(binary, "regulate", port, url, log): ...

`initdb` runs once; every server starts on a copy of what it and `sql` made. Whatever is started
here ends when the block ends, and (on Linux, with util-linux) when this process is killed.
"""

import contextlib
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

START_LIMIT = 60
STOP_LIMIT = 10


class Broken(Exception):
    """What was to be started is not there or does not run; the message says what it said."""


def free_port():
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres_bin():
    """The folder of PostgreSQL's programs: Debian's newest version, else what is in the PATH."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if found:
        return Path(max(found, key=lambda path: int(path.split("/")[4]))).parent
    in_path = shutil.which("initdb")
    if in_path is None:
        raise Broken("no PostgreSQL server programs (initdb) on this machine")
    return Path(os.path.realpath(in_path)).parent


def clean_environment(**extra):
    """This process's environment without what libpq would read from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8", **extra}


class ServerUser:
    """Whom the server runs as: PostgreSQL refuses to run as root, so root lends it another."""

    def __init__(self):
        self.entry = None
        if os.geteuid() == 0:
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            self.entry = names.get("postgres") or names.get("nobody")
            if self.entry is None:
                raise Broken("root needs a user `postgres` or `nobody` to run the server as")

    def give(self, path):
        if self.entry:
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)

    def command(self, *words):
        if self.entry is None:
            return dying_with_us("QUIT", words)
        user = ["--reuid", str(self.entry.pw_uid), "--regid", str(self.entry.pw_gid)]
        return dying_with_us("QUIT", words, *user, "--init-groups")


def dying_with_us(signal_name, words, *setpriv):
    """The command, such that the kernel ends it when this process is killed, where it can."""
    words = [str(word) for word in words]
    if not shutil.which("setpriv"):
        if setpriv:
            raise Broken("root needs `setpriv` (util-linux) to run the server as another user")
        return words
    return ["setpriv", "--pdeathsig", signal_name, *setpriv, "--", *words]


@contextlib.contextmanager
def running(command, stop_signal, log, **options):
    """The process, until the end of the block; then it is asked to end, then made to."""
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                   **options)
    try:
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready, process, what, log):
    """Returns when `ready()` holds; says why if the process ends before, or takes too long."""
    end = time.monotonic() + START_LIMIT
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise Broken(f"{what} did not start; it said:\n{Path(log).read_text()[-2000:]}")
        time.sleep(0.05)


class Server:
    """A running PostgreSQL."""

    def __init__(self, programs, folder, port, superuser):
        self.programs, self.folder, self.port = programs, folder, port
        self.superuser = superuser
        self.log = folder.parent / f"{folder.name}.log"

    def url(self, database, user=""):
        """The superuser's URL; without a user each client is itself."""
        who = "" if user is None else f"{user or self.superuser}@"
        return f"postgres://{who}127.0.0.1:{self.port}/{database}"

    def psql(self, sql, database="postgres"):
        """Runs SQL as the superuser; gives what psql prints, unaligned."""
        done = subprocess.run(
            [self.programs / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.url(database)],
            input=sql, text=True, capture_output=True, env=clean_environment())
        if done.returncode != 0:
            raise Broken(f"psql: {done.stderr.strip()}")
        return done.stdout


class Template:
    """A cluster that no server runs on, to be copied."""

    def __init__(self, folder, superuser="postgres", hba="", sql="", settings=()):
        self.folder, self.superuser = folder, superuser
        self.programs, self.user = postgres_bin(), ServerUser()
        self.copies = 0
        # The server's user walks through it to its own folder.
        folder.chmod(0o755)
        self.data = folder / "template"
        self.data.mkdir(mode=0o700)
        self.user.give(self.data)
        done = subprocess.run(
            self.user.command(self.programs / "initdb", "-D", self.data, "-U", superuser,
                              "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            env=clean_environment(), cwd="/", capture_output=True, text=True)
        if done.returncode != 0:
            raise Broken(f"initdb: {done.stderr.strip()}")
        lines = ["fsync = off", "synchronous_commit = off", "full_page_writes = off",
                 "unix_socket_directories = ''", "jit = off", *settings]
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write("\n".join(lines) + "\n")
        trust = "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
        (self.data / "pg_hba.conf").write_text(hba + trust)
        if sql:
            with self._run(self.data, free_port()) as server:
                server.psql(sql)

    @contextlib.contextmanager
    def server(self, port=None):
        """A server on a fresh copy of the cluster, gone with its data at the end of the block."""
        self.copies += 1
        data = self.folder / f"copy{self.copies}"
        subprocess.run(["cp", "-a", self.data, data], check=True)
        try:
            with self._run(data, port or free_port()) as server:
                yield server
        finally:
            shutil.rmtree(data)

    @contextlib.contextmanager
    def _run(self, data, port):
        server = Server(self.programs, data, port, self.superuser)
        command = self.user.command(self.programs / "postgres", "-D", data, "-p", port,
                                    "-c", "listen_addresses=127.0.0.1")
        is_ready = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        # SIGINT is PostgreSQL's fast shutdown.
        with running(command, signal.SIGINT, server.log, env=clean_environment(), cwd="/") as it:
            wait_until(lambda: subprocess.call(is_ready) == 0, it, "PostgreSQL", server.log)
            yield server


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def surgetank(binary, mode, port, upstream, log, options=()):
    """`surgetank proxy` on this port, until the end of the block."""
    command = dying_with_us("KILL", [binary, "proxy", "--mode", mode, *options,
                                     "--listen", f"127.0.0.1:{port}", upstream])
    with running(command, signal.SIGINT, log, env=clean_environment()) as process:
        wait_until(lambda: listens(port), process, "surgetank proxy", log)
        yield process
        if process.poll() is not None:
            raise Broken(f"surgetank proxy ended; it said:\n{Path(log).read_text()[-2000:]}")
        panics = re.findall(r".*panicked at.*", Path(log).read_text())
        if panics:
            raise Broken("surgetank proxy panicked: " + "; ".join(panics))
