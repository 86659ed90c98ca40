"""The pool of this process, and cursors that say whose request a statement belongs to."""

import os

import psycopg
from flask import g, has_request_context, request
from psycopg_pool import ConnectionPool


class Tagged(psycopg.Cursor):
    """Writes the request's `traceparent` behind each statement, as sqlcommenter does."""

    def execute(self, query, params=None, **options):
        trace = request.headers.get("traceparent") if has_request_context() else None
        if trace:
            query = f"{query} /*route='{request.endpoint}',traceparent='{trace}'*/"
        return super().execute(query, params, **options)


_pool = None


def pool():
    """Made at the first use: not before gunicorn has made this process."""
    global _pool
    if _pool is None:
        # So many that all threads can be served, and one for the unexpected.
        _pool = ConnectionPool(
            os.environ["DATABASE_URL"],
            min_size=1,
            max_size=int(os.environ.get("DB_POOL", "3")),
            timeout=5,
            kwargs={"cursor_factory": Tagged},
        )
    return _pool


def connection():
    """The connection of this request: one transaction from its first statement to its end."""
    if "connection" not in g:
        g.connection = pool().getconn()
    return g.connection


def give_back(error=None):
    """Ends the request's transaction, by its success."""
    used = g.pop("connection", None)
    if used is not None:
        if error is None:
            used.commit()
        else:
            used.rollback()
        pool().putconn(used)
