"""psycopg in pipeline mode: many requests under way before the first answer."""

import os

import psycopg
from psycopg import errors

URL = os.environ["DATABASE_URL"]


def main():
    with psycopg.connect(URL, autocommit=True, connect_timeout=20) as conn:
        conn.execute("CREATE TABLE step (n int PRIMARY KEY)")
        with conn.pipeline():
            cursors = [conn.execute("SELECT %s::int", [n], prepare=True) for n in range(500)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(500))
        print("ok 500 requests under way", flush=True)

        with conn.pipeline(), conn.cursor() as cursor:
            cursor.executemany("INSERT INTO step VALUES (%s)", [(n,) for n in range(1000)])
        assert conn.execute("SELECT count(*) FROM step").fetchone()[0] == 1000
        print("ok executemany", flush=True)

        try:
            with conn.pipeline() as pipeline:
                conn.execute("INSERT INTO step VALUES (2000)")
                conn.execute("INSERT INTO step VALUES (1)")
                conn.execute("INSERT INTO step VALUES (2001)")
                pipeline.sync()
            raise AssertionError("a duplicate was taken")
        except errors.UniqueViolation:
            pass
        # Up to the Sync it is one transaction.
        assert conn.execute("SELECT max(n) FROM step").fetchone()[0] == 999
        print("ok an error undoes its pipeline up to the Sync", flush=True)

        with conn.pipeline() as pipeline:
            conn.execute("INSERT INTO step VALUES (3000)")
            pipeline.sync()
            bad = conn.execute("SELECT 1 / (SELECT 0)")
            try:
                pipeline.sync()
                bad.fetchall()
                raise AssertionError("divided by zero")
            except errors.DivisionByZero:
                pass
            assert conn.execute("SELECT max(n) FROM step").fetchone()[0] == 3000
        print("ok the pipeline goes on after an error", flush=True)

        with conn.pipeline():
            with conn.transaction():
                conn.execute("INSERT INTO step VALUES (4000)")
            conn.execute("SET work_mem = '5MB'")
            shown = conn.execute("SHOW work_mem")
        assert shown.fetchone()[0] == "5MB"
        print("ok transactions and settings in a pipeline", flush=True)


main()
