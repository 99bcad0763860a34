"""
Know the connection pools: how large they are, how long their connections are waited for, and how long they are held.

Sizes are read when the metrics page is asked for. Waiting for a connection and holding one are operations, made by
the hooks of SQLAlchemy and psycopg_pool.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from threading import RLock
from typing import Any, NamedTuple

from obskit.forks import at_fork
from obskit.operation import Operation
from obskit.recorder import recorder

# An application that makes pools without end must not make series without end.
MAX_POOLS = 100
# Where more share a name, only the metrics page asks them all: a connection that is taken would wait for that.
MAX_ASKED = 8
TIMEOUT = "timeout"


class PoolSize(NamedTuple):
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


class _Registration(NamedTuple):
    """
    Keep what is known of one pool; `asked` is the name that was asked for, None for a shared one.
    """

    name: str
    read: Callable[[Any], PoolSize | None]
    asked: str | None


class PoolRegistry:
    """
    Name pools, as long as somebody else keeps them alive: each for itself, or all of one database alike.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._registrations: weakref.WeakKeyDictionary[Any, _Registration] = weakref.WeakKeyDictionary()
        self._named: dict[str, weakref.WeakSet[Any]] = {}

    def add(self, pool: Any, name: str, read: Callable[[Any], PoolSize | None]) -> str | None:
        """
        Take up a pool under a name of its own, once, and give that: a second pool `shop` is `shop-2`. None beyond
        `MAX_POOLS` names.

        Args:
            pool: Any object; it is referred to weakly.
            read: Asks it for its size; None where it cannot tell.
        """
        with self._lock:
            registration = self._registrations.get(pool)
            if registration is not None and registration.asked == name:
                return registration.name
            unique, number = name, 1
            while self._named.get(unique):
                number += 1
                unique = f"{name}-{number}"
            return self._register(pool, _Registration(unique, read, name))

    def add_shared(self, pool: Any, name: str, read: Callable[[Any], PoolSize | None]) -> str | None:
        """
        Take up a pool under a name that others may have too, and give its name; one that it was given stays.
        """
        with self._lock:
            registration = self._registrations.get(pool)
            return (
                registration.name if registration is not None else self._register(pool, _Registration(name, read, None))
            )

    def _register(self, pool: Any, registration: _Registration) -> str | None:
        if not self._named.get(registration.name) and self._count() >= MAX_POOLS:
            recorder.dropped.inc(("pools", "too_many"))
            return None
        self._drop(pool)
        self._registrations[pool] = registration
        self._named.setdefault(registration.name, weakref.WeakSet()).add(pool)
        return registration.name

    def _count(self) -> int:
        for name in [name for name, members in self._named.items() if not members]:
            del self._named[name]
        return len(self._named)

    def _drop(self, pool: Any) -> None:
        registration = self._registrations.pop(pool, None)
        if registration is not None:
            self._named[registration.name].discard(pool)

    def name_of(self, pool: Any) -> str | None:
        """
        Give the name of a pool that was taken up.
        """
        registration = self._registrations.get(pool)
        return registration.name if registration is not None else None

    def discard(self, pool: Any) -> None:
        """
        Forget a pool.
        """
        with self._lock:
            self._drop(pool)

    def forget(self, read: Callable[[Any], PoolSize | None]) -> None:
        """
        Forget the pools that are read in this way: whoever took them up is taken back.
        """
        with self._lock:
            for pool in [pool for pool, registration in self._registrations.items() if registration.read is read]:
                self._drop(pool)

    def size_of(self, name: str) -> PoolSize | None:
        """
        Ask the pools of one name; None where they are gone, cannot tell, or are more than `MAX_ASKED`.
        """
        members = list(self._named.get(name, ()))
        if len(members) > MAX_ASKED:
            return None
        registration = [(pool, self._registrations.get(pool)) for pool in members]
        sizes = [size for pool, found in registration if found is not None and (size := found.read(pool)) is not None]
        return _total(sizes) if sizes else None

    def sizes(self) -> Iterator[tuple[str, PoolSize]]:
        """
        Ask every pool that can tell.
        """
        found: dict[str, list[PoolSize]] = {}
        for pool, registration in list(self._registrations.items()):
            try:
                size = registration.read(pool)
            except Exception as error:
                recorder.failed("pools", error)
                continue
            if size is not None:
                found.setdefault(registration.name, []).append(size)
        for name, sizes in found.items():
            yield name, _total(sizes)

    def start_over(self) -> None:
        """
        Take a fresh lock, in a child whose parent may have held the old one when it forked.
        """
        self._lock = RLock()


def _total(sizes: list[PoolSize]) -> PoolSize:
    bounds = [size.max for size in sizes]
    most = sum(bound for bound in bounds if bound is not None)
    return PoolSize(
        sum(size.active for size in sizes), sum(size.idle for size in sizes), None if None in bounds else most
    )


pools = PoolRegistry()
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
