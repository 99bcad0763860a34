"""
Counts of what failed or was dropped, from any thread.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from threading import RLock
from typing import Any, TypeVar

from obskit.forks import at_fork

K = TypeVar("K")


class LossCounts(Mapping[K, int]):
    """
    Counts by key, to read; `inc()` is exact under threads, and where a finalizer or a signal interrupts it.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._figures: dict[K, int] = {}
        self._listener: Callable[[K, int], object] | None = None
        _all.add(self)

    def __getitem__(self, key: K) -> int:
        return self._figures.get(key, 0)

    def __iter__(self) -> Iterator[K]:
        return iter(self._figures.copy())

    def __len__(self) -> int:
        return len(self._figures)

    def __contains__(self, key: object) -> bool:
        return key in self._figures

    def __hash__(self) -> int:  # a mapping has none
        return id(self)

    def __repr__(self) -> str:
        return f"LossCounts({self._figures})"

    def inc(self, key: K, amount: int = 1) -> int:
        with self._lock:
            self._figures.setdefault(key, 0)
            self._figures[key] += amount
            total, listener = self._figures[key], self._listener
        if listener is not None:
            listener(key, amount)
        return total

    def subscribe(self, listener: Callable[[K, int], object]) -> None:
        """
        Call a listener with each increment from now on, and at once with what has been counted so far.
        """
        with self._lock:
            before, self._listener = list(self._figures.items()), listener
        for key, amount in before:
            listener(key, amount)

    def pop(self, key: K) -> int:
        with self._lock:
            return self._figures.pop(key, 0)

    def clear(self) -> None:
        with self._lock:
            self._figures = {}


_all: weakref.WeakSet[LossCounts[Any]] = weakref.WeakSet()


def _unlock_in_child() -> None:
    for counts in list(_all):
        counts._lock = RLock()


at_fork(after_in_child=_unlock_in_child)
