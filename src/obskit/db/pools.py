"""
Know the connection pools: how large they are, how long their connections are waited for, and how long they are held.

Sizes are read when the metrics page is asked for. Waiting for a connection and holding one are operations, made by
the hooks of SQLAlchemy and psycopg_pool.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, NamedTuple

from obskit.forks import at_fork
from obskit.operation import Operation
from obskit.recorder import recorder

# An application that makes pools without end must not make series without end.
MAX_POOLS = 100
TIMEOUT = "timeout"


class Size(NamedTuple):
    """
    Say how large a pool is.

    Attributes:
        active: Connections that are in use.
        idle: Connections that are open and free.
        max: Connections that it may have; None where it knows no bound.
    """

    active: int
    idle: int
    max: int | None


class ConnectionWait(Operation):
    """
    Describe the wait for one connection; its `error` is `timeout` where none came in time.
    """

    __slots__ = ("pool",)

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.nest()


class ConnectionUse(Operation):
    """
    Describe one connection's time outside of its pool.
    """

    __slots__ = ("pool",)

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.nest()


_waits, _uses = recorder.plan(ConnectionWait), recorder.plan(ConnectionUse)


class Pools:
    """
    Give each pool a name of its own, as long as somebody else keeps the pool alive.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: weakref.WeakKeyDictionary[Any, tuple[str, Callable[[Any], Size | None]]]
        self._known = weakref.WeakKeyDictionary()

    def add(self, pool: Any, name: str, read: Callable[[Any], Size | None]) -> str | None:
        """
        Take up a pool, once, and give its name: a second pool `shop` is `shop-2`. None beyond `MAX_POOLS`.

        Args:
            pool: Any object; it is referred to weakly.
            read: Asks it for its size; None where it cannot tell.
        """
        with self._lock:
            known = self._known.get(pool)
            if known is not None:
                return known[0]
            taken = {other for other, _ in self._known.values()}
            if len(taken) >= MAX_POOLS:
                recorder.dropped["pools", "too_many"] += 1
                return None
            unique, number = name, 1
            while unique in taken:
                number += 1
                unique = f"{name}-{number}"
            self._known[pool] = unique, read
            return unique

    def name_of(self, pool: Any) -> str | None:
        """
        Give the name of a pool that was taken up.
        """
        known = self._known.get(pool)
        return known[0] if known is not None else None

    def discard(self, pool: Any) -> None:
        """
        Forget a pool.
        """
        with self._lock:
            self._known.pop(pool, None)

    def forget(self, read: Callable[[Any], Size | None]) -> None:
        """
        Forget the pools that are read in this way: whoever took them up is taken back.
        """
        with self._lock:
            for pool in [pool for pool, (_, known) in self._known.items() if known is read]:
                del self._known[pool]

    def size_of(self, name: str) -> Size | None:
        """
        Ask one pool, by its name; None where it is gone, or cannot tell.
        """
        for pool, (known, read) in list(self._known.items()):
            if known == name:
                return read(pool)
        return None

    def sizes(self) -> Iterator[tuple[str, Size]]:
        """
        Ask every pool that can tell.
        """
        for pool, (name, read) in list(self._known.items()):
            try:
                size = read(pool)
            except Exception as error:
                recorder.failed("pools", error)
                continue
            if size is not None:
                yield name, size

    def start_over(self) -> None:
        """
        Take a fresh lock, in a child whose parent may have held the old one when it forked.
        """
        self._lock = Lock()


pools = Pools()
at_fork(after_in_child=pools.start_over)


def begin_wait(pool: str) -> ConnectionWait:
    """
    Start the clock of one wait.
    """
    op = ConnectionWait(pool)
    _waits.begin(op)
    return op


def end_wait(op: ConnectionWait, error: BaseException | None = None) -> None:
    """
    Stop it, with what came in place of a connection.
    """
    if error is not None:
        op.error = TIMEOUT if "Timeout" in type(error).__name__ else type(error).__name__
    _waits.end(op)


def begin_use(pool: str) -> ConnectionUse:
    """
    Start the clock of one connection's time outside of its pool.
    """
    op = ConnectionUse(pool)
    _uses.begin(op)
    return op


def end_use(op: ConnectionUse) -> None:
    """
    Stop it.
    """
    _uses.end(op)
