"""psycopg, the blocking way: what a web app and its jobs do."""

import os
import threading

import psycopg
from psycopg import errors

URL = os.environ["DATABASE_URL"]


def connect(**options):
    return psycopg.connect(URL, connect_timeout=20, **options)


def one(conn, query, *values, **options):
    return conn.execute(query, values or None, **options).fetchone()[0]


def ok(what):
    print(f"ok {what}", flush=True)


def transactions(conn):
    conn.execute("CREATE TABLE account (id int PRIMARY KEY, amount numeric)")
    conn.execute("INSERT INTO account VALUES (1, 100), (2, 0)")
    conn.commit()
    conn.execute("UPDATE account SET amount = amount - 50 WHERE id = 1")
    conn.rollback()
    assert one(conn, "SELECT amount FROM account WHERE id = 1") == 100
    with conn.transaction():
        conn.execute("UPDATE account SET amount = amount - 50 WHERE id = 1")
        try:
            with conn.transaction():
                conn.execute("UPDATE account SET amount = 1 / 0")
        except errors.DivisionByZero:
            pass
        conn.execute("UPDATE account SET amount = amount + 50 WHERE id = 2")
    conn.commit()
    assert one(conn, "SELECT array_agg(amount ORDER BY id) FROM account") == [50, 50]
    conn.commit()
    ok("transactions and savepoints")


def errors_inside(conn):
    try:
        conn.execute("INSERT INTO account VALUES (1, 0)")
        raise AssertionError("a duplicate was taken")
    except errors.UniqueViolation as error:
        assert error.diag.constraint_name == "account_pkey"
    try:
        conn.execute("SELECT 1")
        raise AssertionError("a failed transaction went on")
    except errors.InFailedSqlTransaction:
        pass
    conn.rollback()
    assert one(conn, "SELECT 1") == 1
    conn.commit()
    ok("an error inside a transaction")


def prepared(conn):
    conn.autocommit = True
    for number in range(20):
        assert one(conn, "SELECT %s::int * 2", number, prepare=True) == 2 * number
    conn.execute("DEALLOCATE ALL")
    assert one(conn, "SELECT %s::int * 2", 4, prepare=True) == 8
    conn.execute("DISCARD ALL")
    assert one(conn, "SELECT %s::int * 2", 5, prepare=True) == 10
    ok("prepared statements, thrown away and made again")


def many_clients():
    wrong = []

    def work(number):
        try:
            with connect(autocommit=True) as conn:
                conn.prepare_threshold = 1
                for turn in range(10):
                    with conn.transaction():
                        got = one(conn, "SELECT %s::int + %s::int", number, turn)
                        if got != number + turn:
                            wrong.append((number, turn, got))
        except Exception as error:  # pylint: disable=broad-except
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number * 1000,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    ok("eight clients at once")


def copy(conn):
    conn.execute("CREATE TABLE line (n int, words text)")
    with conn.cursor().copy("COPY line FROM STDIN") as stream:
        for number in range(5000):
            stream.write_row((number, f"tab\tand\\line\n{number}"))
    with conn.cursor().copy("COPY (SELECT * FROM line ORDER BY n) TO STDOUT") as stream:
        stream.set_types(["int4", "text"])
        rows = list(stream.rows())
    assert len(rows) == 5000 and rows[7] == (7, "tab\tand\\line\n7")
    try:
        with conn.cursor().copy("COPY line FROM STDIN") as stream:
            stream.write("no number\n")
        raise AssertionError("nonsense was copied")
    except errors.BadCopyFileFormat:
        pass
    except errors.InvalidTextRepresentation:
        pass
    assert one(conn, "SELECT count(*) FROM line") == 5000
    ok("COPY in, out, and failing")


def large(conn):
    value = os.urandom(3_000_000)
    assert one(conn, "SELECT %b::bytea", value) == value
    assert len(one(conn, "SELECT repeat('x', 8000000)")) == 8_000_000
    ok("large values both ways")


def settings(conn):
    conn.execute("SET statement_timeout = '12345ms'")
    conn.execute("SET search_path = pg_catalog, public")
    with connect(autocommit=True) as other:
        assert one(other, "SHOW statement_timeout") == "0"
        other.execute("SET statement_timeout = '7s'")
        assert one(conn, "SHOW statement_timeout") == "12345ms"
        assert one(other, "SHOW statement_timeout") == "7s"
    with conn.transaction():
        conn.execute("SET LOCAL statement_timeout = '1s'")
        assert one(conn, "SHOW statement_timeout") == "1s"
    assert one(conn, "SHOW statement_timeout") == "12345ms"
    assert one(conn, "SHOW search_path") == "pg_catalog, public"
    conn.execute("RESET ALL")
    assert one(conn, "SHOW statement_timeout") == "0"
    with connect(options="-c work_mem=5MB", application_name="web.7") as other:
        assert one(other, "SHOW work_mem") == "5MB"
        assert one(other, "SHOW application_name") == "web.7"
    ok("settings belong to their session")


def session_things():
    with connect(autocommit=True) as conn:
        conn.execute("CREATE TEMP TABLE basket (n int) ON COMMIT PRESERVE ROWS")
        conn.execute("INSERT INTO basket VALUES (1), (2)")
        assert one(conn, "SELECT sum(n) FROM basket") == 3
    with connect(autocommit=True) as conn:
        assert one(conn, "SELECT to_regclass('basket')") is None
        assert one(conn, "SELECT pg_try_advisory_lock(42)")
        with connect(autocommit=True) as other:
            assert not one(other, "SELECT pg_try_advisory_lock(42)")
        assert one(conn, "SELECT pg_advisory_unlock(42)")
    ok("temporary tables and advisory locks")


def cursors(conn):
    with conn.transaction(), conn.cursor(name="walk") as cursor:
        cursor.itersize = 100
        cursor.execute("SELECT generate_series(1, 1000)")
        assert sum(row[0] for row in cursor) == 500_500
    with conn.cursor(name="held", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        assert one(conn, "SELECT 1") == 1
        assert len(cursor.fetchall()) == 10
    ok("cursors, in a transaction and beyond")


def cancel(conn):
    def when_it_runs():
        with connect(autocommit=True) as watcher:
            running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' " \
                      "AND query LIKE 'SELECT pg_sleep(100)%%' AND datname = current_database()"
            while one(watcher, running) == 0:
                pass
        conn.cancel()

    thread = threading.Thread(target=when_it_runs)
    thread.start()
    try:
        conn.execute("SELECT pg_sleep(100)")
        raise AssertionError("it was not cancelled")
    except errors.QueryCanceled:
        pass
    thread.join()
    assert one(conn, "SELECT 1") == 1
    ok("cancel")


def notices_and_notifications(conn):
    heard = []
    conn.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'look here'; END $$")
    assert heard == ["look here"], heard
    with connect(autocommit=True) as other:
        conn.execute("LISTEN news")
        other.execute("NOTIFY news, 'hello'")
        got = next(conn.notifies(timeout=20), None)
        assert got is not None and (got.channel, got.payload) == ("news", "hello"), got
        conn.execute("UNLISTEN *")
    ok("notices and notifications")


def main():
    with connect() as conn:
        transactions(conn)
        errors_inside(conn)
        prepared(conn)
        copy(conn)
        large(conn)
        settings(conn)
        cursors(conn)
        cancel(conn)
        notices_and_notifications(conn)
    session_things()
    many_clients()


main()
