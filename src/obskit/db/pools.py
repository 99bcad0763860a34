"""
Connection pools: their sizes, how long connections are waited for, and how long they are used.

Sizes are read when the metrics page is asked for, and every five seconds where other workers show them. Waiting for a
connection and holding one are operations, made by the hooks of SQLAlchemy and psycopg_pool.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from threading import RLock
from typing import Any, NamedTuple

from obskit.forks import at_fork
from obskit.operation import Operation
from obskit.recorder import recorder

# Bounds the series of an application that keeps making pools.
MAX_POOLS = 100
# Where more pools share a name, only the metrics page reads them all: taking a connection would wait for it.
MAX_ASKED = 8
TIMEOUT = "timeout"


class PoolSize(NamedTuple):
    """
    The size of a pool.

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
    The wait for one connection; its `error` is `timeout` where none came in time.
    """

    __slots__ = ("pool",)

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.nest()


class ConnectionUse(Operation):
    """
    One connection's time outside of its pool.
    """

    __slots__ = ("pool",)

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.nest()


class _Registration(NamedTuple):
    """
    The name of one pool, and how its size is read; `asked` is the name that was requested, None for a shared one.
    """

    name: str
    read: Callable[[Any], PoolSize | None]
    asked: str | None


class PoolRegistry:
    """
    The names of live pools, held weakly: unique, or shared by all pools of one database.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._registrations: weakref.WeakKeyDictionary[Any, _Registration] = weakref.WeakKeyDictionary()
        self._named: dict[str, weakref.WeakSet[Any]] = {}

    def add(self, pool: Any, name: str, read: Callable[[Any], PoolSize | None]) -> str | None:
        """
        Register a pool under a unique name and return it: a second pool `shop` is `shop-2`. Return None beyond
        `MAX_POOLS` names.

        Args:
            pool: Any object; it is referred to weakly.
            read: Returns its size; None where it is not known.
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
        Register a pool under a name that others may share, and return its name; an earlier name is kept.
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
        registration = self._registrations.get(pool)
        return registration.name if registration is not None else None

    def discard(self, pool: Any) -> None:
        with self._lock:
            self._drop(pool)

    def forget(self, read: Callable[[Any], PoolSize | None]) -> None:
        """
        Remove the pools that are read by this function: their hook is taken back.
        """
        with self._lock:
            for pool in [pool for pool, registration in self._registrations.items() if registration.read is read]:
                self._drop(pool)

    def size_of(self, name: str) -> PoolSize | None:
        """
        Return the total size of the pools of one name; None where it is unknown, or they are more than `MAX_ASKED`.
        """
        members = list(self._named.get(name, ()))
        if len(members) > MAX_ASKED:
            return None
        registration = [(pool, self._registrations.get(pool)) for pool in members]
        sizes = [size for pool, found in registration if found is not None and (size := found.read(pool)) is not None]
        return _total(sizes) if sizes else None

    def sizes(self) -> Iterator[tuple[str, PoolSize]]:
        """
        Yield each name and the total size of its pools, of those whose size is known.
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
        Replace the lock, in a forked child: the parent may have held the old one.
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
_waits, _uses = recorder.plan(ConnectionWait), recorder.plan(ConnectionUse)  # whose metrics ask for `pools`


def begin_wait(pool: str) -> ConnectionWait:
    """
    Begin the wait for a connection.
    """
    op = ConnectionWait(pool)
    _waits.begin(op)
    return op


def end_wait(op: ConnectionWait, error: BaseException | None = None) -> None:
    """
    End the wait, with what was raised in place of a connection.
    """
    if error is not None:
        op.error = TIMEOUT if "Timeout" in type(error).__name__ else type(error).__name__
    _waits.end(op)


def begin_use(pool: str) -> ConnectionUse:
    """
    Begin one connection's time outside of its pool.
    """
    op = ConnectionUse(pool)
    _uses.begin(op)
    return op


def end_use(op: ConnectionUse) -> None:
    """
    End one connection's time outside of its pool.
    """
    _uses.end(op)
