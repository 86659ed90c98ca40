"""Archives what has been done, a few at a time, until it is told to stop."""

import os
import signal
import threading

import psycopg

stop = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stop.set())

with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    print("worker is ready", flush=True)
    while not stop.wait(1.0):
        archived = connection.execute(
            """
            UPDATE note SET archived = true WHERE id IN (
                SELECT id FROM note WHERE done AND NOT archived
                ORDER BY id LIMIT 50 FOR UPDATE SKIP LOCKED
            )
            """
        ).rowcount
        if archived:
            print(f"archived {archived} notes", flush=True)
print("worker has stopped", flush=True)
