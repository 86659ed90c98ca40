"""A client of PostgreSQL 18's kind: protocol 3.2 by libpq, and byte by byte.

Runs against DATABASE_URL, without a password; prints a line `ok …` for each thing that works.
"""

import os
import socket
import struct
import sys
import threading
from urllib.parse import urlsplit

import psycopg
from psycopg import errors

URL = os.environ["DATABASE_URL"]
LIMIT_S = 30
LONG_KEY = 32
PG_SLEEP = "SELECT pg_sleep(60)"
CANCEL = 1234 << 16 | 5678


def ok(what):
    print(f"ok {what}", flush=True)


def connect(version):
    return psycopg.connect(URL, max_protocol_version=version, connect_timeout=LIMIT_S,
                           autocommit=True)


def until_running(watcher, text):
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
    while watcher.execute(query, [text]).fetchone()[0] == 0:
        pass


def libpq_cancels(version, cancel):
    """Cancels a query from another thread once the server runs it."""
    with connect(version) as conn, connect("3.0") as watcher:
        query = f"{PG_SLEEP} /* {version} {cancel} */"
        seen = []

        def sleep():
            try:
                conn.execute(query)
            except errors.QueryCanceled as error:
                seen.append(error)

        thread = threading.Thread(target=sleep, daemon=True)
        thread.start()
        until_running(watcher, query)
        getattr(conn, cancel)()
        thread.join(LIMIT_S)
        assert seen, "the query was not cancelled"
        assert conn.execute("SELECT 7").fetchone()[0] == 7


class Raw:
    """A connection without a library."""

    def __init__(self, minor, **options):
        url = urlsplit(URL)
        self.address = (url.hostname, url.port)
        self.socket = self.open()
        pairs = {"user": url.username, "database": url.path[1:], **options}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items()) + b"\0"
        self.packet(self.socket, 3 << 16 | minor, body)
        self.negotiated, self.key = None, None
        for tag, body in self.messages():
            if tag == b"v":
                self.negotiated = body
            elif tag == b"K":
                self.pid, self.key = struct.unpack(">i", body[:4])[0], body[4:]
            assert tag != b"E", body

    def open(self):
        return socket.create_connection(self.address, timeout=LIMIT_S)

    @staticmethod
    def packet(to, code, body):
        to.sendall(struct.pack(">ii", len(body) + 8, code) + body)

    def take(self, count):
        taken = b""
        while len(taken) < count:
            part = self.socket.recv(count - len(taken))
            assert part, "the connection ended"
            taken += part
        return taken

    def messages(self):
        """Those up to ReadyForQuery."""
        tag = b""
        while tag != b"Z":
            tag, length = struct.unpack(">ci", self.take(5))
            yield tag, self.take(length - 4)

    def query(self, text):
        body = text.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack(">i", len(body) + 4) + body)

    def cancel(self, key):
        """Returns when the request was taken, which is never answered."""
        with self.open() as other:
            self.packet(other, CANCEL, struct.pack(">i", self.pid) + key)
            assert other.recv(1) == b""


def keys():
    for minor, length in [(0, 4), (2, LONG_KEY), (9999, LONG_KEY)]:
        raw = Raw(minor)
        assert len(raw.key) == length, f"3.{minor}: {len(raw.key)} bytes"
        query = f"{PG_SLEEP} /* raw 3.{minor} */"
        raw.query(query)
        with connect("3.0") as watcher:
            until_running(watcher, query)
            if length > 4:
                raw.cancel(raw.key[:4])
                until_running(watcher, query)
        raw.cancel(raw.key)
        heard = [body for tag, body in raw.messages() if tag == b"E"]
        assert len(heard) == 1 and b"57014" in heard[0], heard


def negotiation():
    """What this server says is printed, to be compared with what others say."""
    for minor, options in [(0, {}), (1, {}), (2, {}), (3, {}), (9999, {"_pq_.a": "1"}),
                           (2, {"_pq_.a": "1", "_pq_.b": ""}), (0, {"_pq_.a": "1"})]:
        ok(f"3.{minor} {' '.join(options)}: {Raw(minor, **options).negotiated}")


def main():
    assert psycopg.pq.version() >= 180000, f"libpq {psycopg.pq.version()} knows no 3.2"
    for version, expected in [("3.0", 30000), ("3.2", 30002), ("latest", 30002)]:
        with connect(version) as conn:
            got = conn.pgconn.full_protocol_version
            assert got == expected, f"{version}: {got}"
            assert conn.execute("SELECT 5").fetchone()[0] == 5
        ok(f"libpq {version}")
        for cancel in ["cancel", "cancel_safe"]:
            libpq_cancels(version, cancel)
            ok(f"libpq {version} {cancel}")
    keys()
    ok("keys of every length cancel, a part of one does not")
    negotiation()


if __name__ == "__main__":
    sys.exit(main())
