"""
Count what went wrong or was left out, from any thread.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from threading import RLock
from typing import Any, TypeVar

from obskit.forks import at_fork

K = TypeVar("K")


class Counts(Mapping[K, int]):
    """
    Be counts by key, to look at; `inc()` is exact under threads, and where a finaliser or a signal interrupts it.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._figures: dict[K, int] = {}
        self._told: Callable[[K, int], object] | None = None
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
        return f"Counts({self._figures})"

    def inc(self, key: K, amount: int = 1) -> int:
        """
        Count; give what it comes to.
        """
        with self._lock:
            self._figures.setdefault(key, 0)
            self._figures[key] += amount
            total, told = self._figures[key], self._told
        if told is not None:
            told(key, amount)
        return total

    def show(self, told: Callable[[K, int], object]) -> None:
        """
        Tell each count from now on, once; what was counted by now at once.
        """
        with self._lock:
            before, self._told = list(self._figures.items()), told
        for key, amount in before:
            told(key, amount)

    def pop(self, key: K) -> int:
        """
        Forget one count; give what it was.
        """
        with self._lock:
            return self._figures.pop(key, 0)

    def clear(self) -> None:
        """
        Forget the counts.
        """
        with self._lock:
            self._figures = {}


_all: weakref.WeakSet[Counts[Any]] = weakref.WeakSet()


def _unlock_in_child() -> None:
    for counts in list(_all):
        counts._lock = RLock()


at_fork(after_in_child=_unlock_in_child)
