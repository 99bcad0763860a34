"""
Watch the pools of psycopg_pool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from psycopg import conninfo

from obskit.db.pools import PoolSize, begin_use, begin_wait, end_use, end_wait, pools
from obskit.integrations.psycopg.cursors import SYSTEM
from obskit.integrations.psycopg.pipelines import Wrapper
from obskit.observation import unrecorded

_numbered_name = re.compile(r"pool-\d+").fullmatch
# Asked in turn for the name of a pool; the pool's own is the last resort.
pool_namers: list[Callable[[Any], str | None]] = []


def forget() -> None:
    """
    Stop reading the sizes of all pools.
    """
    pools.forget(_size_of)


def _name_of(pool: Any) -> str | None:
    known = pools.name_of(pool)
    if known is not None:
        return known
    name = next((found for namer in pool_namers if (found := namer(pool))), None)
    if name is None and _numbered_name(str(pool.name)):
        return pools.add_shared(pool, _shared_name_of(pool), _size_of)
    return pools.add(pool, name or str(pool.name), _size_of)


def _shared_name_of(pool: Any) -> str:
    """
    Return the name of a pool that has only the number that psycopg_pool gives it: an application may make many.
    """
    try:
        named = (pool.kwargs or {}).get("dbname") or conninfo.conninfo_to_dict(pool.conninfo or "").get("dbname")
    except Exception:  # functions give them
        named = None
    return str(named or SYSTEM)


def _size_of(pool: Any) -> PoolSize | None:
    if pool.closed:
        return None
    stats = pool.get_stats()
    idle = stats["pool_available"]
    return PoolSize(stats["pool_size"] - idle, idle, stats["pool_max"] or None)


@contextmanager
def _waiting(pool: Any) -> Iterator[SimpleNamespace]:
    """
    Time the wait for a connection, which the block sets, and begin its use.
    """
    taken, name = SimpleNamespace(), _name_of(pool)
    if name is None:
        yield taken
        return
    op = begin_wait(name)
    try:
        # Where the pool checks a connection before it returns it, its queries are not counted.
        with nullcontext() if getattr(pool, "_check", None) is None else unrecorded():
            yield taken
    except BaseException as error:
        end_wait(op, error)
        raise
    end_wait(op)
    taken.connection._obskit_use = begin_use(name)


def _getconn(original: Wrapper) -> Wrapper:
    def getconn(self: Any, timeout: Any = None) -> Any:
        with _waiting(self) as taken:
            taken.connection = original(self, timeout)
        return taken.connection

    return getconn


def _getconn_async(original: Wrapper) -> Wrapper:
    async def getconn(self: Any, timeout: Any = None) -> Any:
        with _waiting(self) as taken:
            taken.connection = await original(self, timeout)
        return taken.connection

    return getconn


def _putconn(original: Wrapper) -> Wrapper:
    def putconn(self: Any, conn: Any) -> Any:  # returns an awaitable where it is to be awaited
        op = getattr(conn, "_obskit_use", None)
        if op is not None:
            conn._obskit_use = None
            end_use(op)
        return original(self, conn)

    return putconn


METHODS = {"getconn": _getconn, "putconn": _putconn}
ASYNC_METHODS = {"getconn": _getconn_async, "putconn": _putconn}
