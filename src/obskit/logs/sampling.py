"""
Sample lines that repeat, and count those that are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import RLock
from weakref import WeakSet

from obskit.forks import at_fork

# Messages that are counted separately in one second; others are written.
MAX_KEYS = 4096
SAMPLED_OUT = -1

_samplers: WeakSet[Sampler | EveryNth] = WeakSet()


class Sampler:
    """
    Passes the first lines of a key in each second, and then one in `every`.

    It is exact under threads. Each process counts for itself.

    Args:
        first: Lines of one key a second that are all written.
        every: Of the lines beyond those, one in `every` is written.
        dropped: Is called for each line that is left out.
    """

    def __init__(self, first: int, every: int, dropped: Callable[[], None]) -> None:
        self._first = first
        self._every = every
        self._dropped = dropped
        self._lock = RLock()  # a finaliser may log while its thread is here
        self._second = 0
        _samplers.add(self)
        self._counts: dict[Hashable, list[int]] = {}  # key -> lines in this second, lines left out since the last one

    def admit(self, key: Hashable, now: float) -> int:
        """
        Return how many lines of a key were left out since the last written one, or SAMPLED_OUT where this one is.
        """
        second = int(now)
        with self._lock:
            if second != self._second:
                self._second, before, self._counts = second, self._counts, {}
                for other, (_, left_out) in before.items():
                    if left_out:
                        self._counts.setdefault(other, [0, 0])[1] += left_out
            counts = self._counts.get(key)
            if counts is None:
                if len(self._counts) < MAX_KEYS:
                    self._counts.setdefault(key, [0, 0])[0] += 1
                return 0
            counts[0] += 1
            beyond = counts[0] - self._first
            if beyond <= 0 or beyond % self._every == 0:
                left_out, counts[1] = counts[1], 0
                return left_out
            counts[1] += 1
        self._dropped()
        return SAMPLED_OUT


class EveryNth:
    """
    Passes one line in `every`, whatever the time: for the access lines of one route.
    """

    def __init__(self, every: int, dropped: Callable[[], None]) -> None:
        self._every = every
        self._dropped = dropped
        self._lock = RLock()  # a finaliser may log while its thread is here
        self._seen = 0
        _samplers.add(self)
        self._left_out = 0

    def admit(self, always: bool) -> int:
        """
        Return how many were left out since the last one, or SAMPLED_OUT where this one is; `always` counts too.
        """
        with self._lock:
            turn = self._seen % self._every == 0
            self._seen += 1
            if turn or always:
                left_out, self._left_out = self._left_out, 0
                return left_out
            self._left_out += 1
        self._dropped()
        return SAMPLED_OUT


def _unlock_in_child() -> None:
    # A thread of the parent may have been counting; the child has no such thread.
    for sampler in list(_samplers):
        sampler._lock = RLock()


at_fork(after_in_child=_unlock_in_child)
