"""
Put functions in the place of others, and take them back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any

_ABSENT = object()


class Patches:
    """
    Hold what stood where ours stands now. Thread-safe.

    What others have put over ours since stays when ours is taken back, and calls it still: so ours must do without
    obskit then, which `on` tells.

    Attributes:
        on: Whether anything is patched.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: dict[tuple[int, str], tuple[Any, Any, Any]] = {}
        self.on = False

    def put(self, owner: Any, name: str, around: Callable[[Any], Any]) -> None:
        """
        Put `around(what stands there)` into an attribute of a module, class or object, once; None stands for nothing.
        """
        with self._lock:
            if (id(owner), name) in self._made:
                return
            original = getattr(owner, name, None)
            ours = around(original)
            if original is not None:
                wraps(original)(ours)
            self._made[id(owner), name] = owner, vars(owner).get(name, _ABSENT), ours
            self.on = True
            setattr(owner, name, ours)

    def take_back(self, *owners: Any) -> None:
        """
        Put back what stood there: at these owners, or everywhere.
        """
        chosen = {id(owner) for owner in owners}
        with self._lock:
            for key in [key for key in self._made if not owners or key[0] in chosen]:
                owner, original, ours = self._made.pop(key)
                self.on = bool(self._made)
                if vars(owner).get(key[1]) is not ours:
                    continue
                if original is _ABSENT:
                    delattr(owner, key[1])
                else:
                    setattr(owner, key[1], original)
