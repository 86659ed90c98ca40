"""The suites: how each is got from its registry, what it wants of a server, how it is run.

A suite gives `outcomes(port)`: what became of each of its tests against 127.0.0.1:port, as
`passed`, `failed`, `skipped`, or `unfinished` (the run was cut off by its time limit).
"""

import json
import re
import subprocess
import venv

from throwaway import Broken, clean_environment


def run(command, log, limit, **options):
    """Runs to the end or to the limit (seconds); gives its output, which the log keeps as well."""
    with open(log, "wb") as out:
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out,
                                   stdin=subprocess.DEVNULL, **options)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            out.write(f"\n*** stopped by the limit of {limit} s ***\n".encode())
    return log.read_text(errors="replace")


class TokioPostgres:
    """tokio-postgres: its crate holds its tests."""

    name = "tokio-postgres"
    VERSION = "0.7.18"
    LIMIT = 120
    # Users, passwords and extensions that its tests name; in regulate mode the users are ours to know.
    USERS = {"postgres": "", "pass_user": "password", "md5_user": "password",
             "scram_user": "password"}
    HBA = """host all pass_user 127.0.0.1/32 password
host all md5_user 127.0.0.1/32 md5
host all scram_user 127.0.0.1/32 scram-sha-256
"""
    SQL = """
SET password_encryption = 'md5';
CREATE ROLE md5_user LOGIN PASSWORD 'password';
SET password_encryption = 'scram-sha-256';
CREATE ROLE pass_user LOGIN PASSWORD 'password';
CREATE ROLE scram_user LOGIN PASSWORD 'password';
CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION ltree;
"""
    # Its tests connect to this port, wherever they are run.
    ITS_PORT = 5433

    def __init__(self, folder, cache):
        self.folder = folder / self.name
        self.cache = cache
        self.program = None

    def fetch(self, port):
        """Gets the crate with cargo, and builds its tests to connect to `port`."""
        crate = self._crate()
        source = self.folder / "source"
        subprocess.run(["cp", "-r", "--no-preserve=mode", crate, source], check=True)
        for path in source.glob("tests/**/*.rs"):
            path.write_text(path.read_text().replace(str(self.ITS_PORT), str(port)))
        manifest = (source / "Cargo.toml").read_text()
        # All types that it can convert; `js` is for browsers only.
        features = re.findall(r"^(with-[\w-]+|array-impls) =", manifest, re.M)
        command = ["cargo", "test", "--no-run", "--test", "test", "--features",
                   ",".join(features), "--message-format", "json", "--manifest-path",
                   source / "Cargo.toml", "--target-dir", self.cache / self.name]
        built = run(command, self.folder / "build.log", 1800)
        programs = [json.loads(line).get("executable")
                    for line in built.splitlines() if line.startswith("{")]
        self.program = next((path for path in reversed(programs) if path), None)
        if self.program is None:
            raise Broken(f"tokio-postgres does not build, see {self.folder / 'build.log'}")

    def _crate(self):
        """The folder that cargo has unpacked the crate into."""
        probe = self.folder / "probe"
        (probe / "src").mkdir(parents=True)
        (probe / "src/lib.rs").touch()
        (probe / "Cargo.toml").write_text(
            f'[package]\nname = "probe"\nversion = "0.0.0"\n\n[workspace]\n\n'
            f'[dependencies]\ntokio-postgres = "={self.VERSION}"\n')
        command = ["cargo", "metadata", "--format-version", "1", "--manifest-path",
                   str(probe / "Cargo.toml")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Broken(f"cargo could not get tokio-postgres: {done.stderr.strip()}")
        found = [package["manifest_path"] for package in json.loads(done.stdout)["packages"]
                 if package["name"] == self.name]
        return found[0].removesuffix("/Cargo.toml")

    def outcomes(self, port, log):
        listed = run([self.program, "--list"], log, self.LIMIT)
        names = re.findall(r"^(\S+): test$", listed, re.M)
        output = run([self.program], log, self.LIMIT, env=clean_environment())
        words = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
        said = {name: words[word]
                for name, word in re.findall(r"^test (\S+) \.\.\. (ok|FAILED|ignored)", output,
                                             re.M)}
        return {name: said.get(name, "unfinished") for name in names}


class Asyncpg:
    """asyncpg: its source distribution holds its tests; the driver itself comes as a wheel."""

    name = "asyncpg"
    VERSION = "0.32.0"
    LIMIT = 1200
    TEST_LIMIT = 60
    HBA = ""
    SQL = ""
    # Needs a second server that it starts itself, which neither root nor a proxy can serve; and a
    # check of its authors' source style.
    LEFT_OUT = ["TestConnectionAttributes", "TestCodeQuality", "TestFlake8"]

    def __init__(self, folder, cache):
        self.folder = folder / self.name
        self.python = None

    def fetch(self, _port):
        """Makes a virtual environment with the driver, and unpacks its tests."""
        home = self.folder / "venv"
        venv.create(home, with_pip=True)
        self.python = home / "bin/python"
        pip = [self.python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        self._must([*pip, "install", f"asyncpg=={self.VERSION}", "distro", "pytest",
                    "pytest-timeout"])
        self._must([*pip, "download", "--no-deps", "--no-binary", "asyncpg", "-d", self.folder,
                    f"asyncpg=={self.VERSION}"])
        archive = next(self.folder.glob("asyncpg-*.tar.gz"))
        # Only the tests: beside the source they would import it instead of the built driver.
        self._must(["tar", "xzf", archive, "-C", self.folder, "--strip-components=1",
                    f"asyncpg-{self.VERSION}/tests"])

    def _must(self, command):
        log = self.folder / "fetch.log"
        words = [str(word) for word in command]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        log.write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            raise Broken(f"{' '.join(words)}: {done.stderr.strip()}")

    def outcomes(self, port, log):
        deselect = " and ".join(f"not {name}" for name in self.LEFT_OUT)
        environment = clean_environment(
            PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="postgres", PGDATABASE="postgres",
            PYTHONDONTWRITEBYTECODE="1")
        pytest = [self.python, "-m", "pytest", "tests", "-p", "no:cacheprovider", "-k", deselect]
        listed = run([*pytest, "--collect-only", "-q"], log, self.LIMIT, cwd=self.folder,
                     env=environment)
        names = re.findall(r"^tests/(\S+::\S+)$", listed, re.M)
        if not names:
            raise Broken(f"asyncpg's tests cannot be listed, see {log}")
        output = run([*pytest, "-v", "--tb=short", "--timeout", self.TEST_LIMIT], log, self.LIMIT,
                     cwd=self.folder, env=environment)
        said = {}
        # Several lines for one test: its subtests, its tear-down. The worst of them counts.
        for name, word in re.findall(r"^tests/(\S+::\S+) .*?(PASSED|FAILED|SKIPPED|ERROR)",
                                     output, re.M):
            words = {"PASSED": "passed", "SKIPPED": "skipped"}
            said[name] = max(said.get(name, "passed"), words.get(word, "failed"),
                             key=["passed", "skipped", "failed"].index)
        return {name: said.get(name, "unfinished") for name in names}


SUITES = [TokioPostgres, Asyncpg]
