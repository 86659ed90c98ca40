"""The release process: makes the tables, and fills them once. May run again and again."""

import os

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute(
        """
        CREATE TABLE IF NOT EXISTS note (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            list text NOT NULL,
            text text NOT NULL,
            done boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            archived boolean NOT NULL DEFAULT false
        )
        """
    )
    filled = connection.execute("SELECT EXISTS (SELECT FROM note)").fetchone()[0]
    if not filled:
        connection.execute(
            """
            INSERT INTO note (list, text, done, finished_at)
            SELECT 'list-' || n % 20, 'note ' || n, n % 3 = 0, CASE WHEN n % 3 = 0 THEN now() END
            FROM generate_series(1, 20000) AS n
            """
        )
print("schema is there", flush=True)
