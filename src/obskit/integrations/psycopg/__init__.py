"""
Time the queries of psycopg 3: synchronous and asynchronous cursors, pipelines, COPY, streams and server-side cursors.

A client-side cursor has all of its rows when `execute()` returns, so that is the query. A server-side one is a single
query from its `execute()` to its last row or `close()`, timed while the driver works. A COPY is as long as its block.
In a pipeline a query takes what it took to send, and what the driver waited until its result was there: the server
answers several at once, so each of them has the wait, and the request's totals have it once. The answer's error is its
own. The ends of transactions are no queries.

The methods of psycopg's cursor classes are replaced, so that connections that are open already, and the application's
own cursor classes, are timed too.
"""

from __future__ import annotations

from obskit.errors import MissingExtraError
from obskit.integrations._patches import Patches
from obskit.integrations.dbapi import TIMED_ATTRIBUTE

try:
    import psycopg
except ImportError as error:
    raise MissingExtraError("obskit.integrations.psycopg needs psycopg 3: pip install 'obskit[psycopg]'") from error

from obskit.integrations.psycopg import cursors, pipelines, pools, server_cursors
from obskit.integrations.psycopg.plans import explain
from obskit.integrations.psycopg.pools import pool_namers
from obskit.integrations.psycopg.server_cursors import ITERATIONS

__all__ = ["STREAMS", "explain", "instrument", "instrument_pools", "pool_namers", "uninstrument"]

_patches = Patches()


def instrument() -> None:
    """
    Time the queries of every psycopg connection, and the pools of psycopg_pool where that is installed.
    """
    for owner, methods in (
        (psycopg.Cursor, cursors.METHODS),
        (psycopg.AsyncCursor, cursors.ASYNC_METHODS),
        (psycopg.ServerCursor, server_cursors.METHODS),
        (psycopg.AsyncServerCursor, server_cursors.ASYNC_METHODS),
        (psycopg.Pipeline, pipelines.METHODS),
        (psycopg.AsyncPipeline, pipelines.METHODS),
    ):
        # Methods of pipelines are private, and may go.
        if methods is not pipelines.METHODS or all(hasattr(owner, name) for name in methods):
            for name, around in methods.items():
                if hasattr(owner, name) and not hasattr(owner, ITERATIONS.get(name, "")):
                    _patches.put(owner, name, around)
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor):
        setattr(cursor, TIMED_ATTRIBUTE, True)
    instrument_pools()


def instrument_pools() -> None:
    """
    Watch the pools of psycopg_pool alone, where that is installed.
    """
    try:
        import psycopg_pool
    except ImportError:
        return
    for owner, methods in (
        (psycopg_pool.ConnectionPool, pools.METHODS),
        (psycopg_pool.AsyncConnectionPool, pools.ASYNC_METHODS),
    ):
        for name, around in methods.items():
            _patches.put(owner, name, around)


def uninstrument() -> None:
    """
    Restore psycopg's methods.
    """
    _patches.restore()
    pools.forget()
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor):
        if TIMED_ATTRIBUTE in vars(cursor):
            delattr(cursor, TIMED_ATTRIBUTE)


# Of a cursor, what a layer above has no method of its own for.
STREAMS = {name: cursors.METHODS[name] for name in ("copy", "stream")}
