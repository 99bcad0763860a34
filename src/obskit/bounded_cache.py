"""
A cache of bounded memory, for what is looked up by texts that strangers write.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import getsizeof
from typing import Any, Generic, TypeVar

# Of one text, or of a pair together: what is longer is looked at anew each time. Browsers' headers are shorter.
LONGEST_BYTES = 1024
MOST_BYTES = 1024 * 1024
# About what an entry of a dict takes, beside its key and its value.
_ENTRY_BYTES = 100

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V], Generic[K, V]):
    """
    A cache by a text, or by a tuple with texts: `cache[key]` looks up what is missing, and keeps what was used lately.

    What is too long is no key, and never its beginning: two texts would share an answer. When it is full, all is
    forgotten at once. Safe in threads, which may find the same answer twice.

    Args:
        find: Makes the answer to a key. What it raises is not kept.

    Attributes:
        size_bytes: About what keys and answers take in memory; at most `MOST_BYTES`.
    """

    def __init__(self, find: Callable[[K], V]) -> None:
        super().__init__()
        self._find = find
        self.size_bytes = 0

    def __missing__(self, key: K) -> V:
        """
        Find an answer that is not kept, and keep it where the key is short.
        """
        answer = self._find(key)
        length = _size_of(key)
        if length <= LONGEST_BYTES:
            size = length + getsizeof(answer) + _ENTRY_BYTES
            if self.size_bytes + size > MOST_BYTES:
                self.clear()
                self.size_bytes = 0
            self.size_bytes += size
            self[key] = answer
        return answer


def _size_of(key: Any) -> int:
    return sum(map(getsizeof, key)) if type(key) is tuple else getsizeof(key)
