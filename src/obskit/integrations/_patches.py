"""
Patch functions of libraries, now or when they are imported, and restore them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from inspect import getattr_static
from threading import RLock
from typing import Any
from weakref import WeakSet

from obskit.forks import at_fork
from obskit.recorder import recorder
from obskit.wrapper_signatures import accepts_arguments_of, with_signature

_ABSENT = object()


def when_imported(library: str, step: Callable[[Any], object]) -> None:
    """
    Call `step` with a library's module: now, where it has been imported, else when it is.
    """
    module = sys.modules.get(library)
    if module is not None:
        step(module)
        return
    from wrapt import register_post_import_hook  # 20 ms, which only those pay who wait for an import

    register_post_import_hook(step, library)


_all_patches: WeakSet[Patches] = WeakSet()


class Patches:
    """
    Functions that ours replace, and what they replaced. Thread-safe.

    What others have patched over ours stays when ours is restored, and still calls it: so ours must do without
    obskit then, while `on` is False.

    Attributes:
        on: Whether anything is patched.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        _all_patches.add(self)
        self._made: dict[tuple[int, str], tuple[Any, Any, Any]] = {}
        self.on = False

    def start_over(self) -> None:
        """
        Take a new lock in a forked child: a thread of the parent may have been at it.
        """
        self._lock = RLock()

    def __iter__(self) -> Iterator[tuple[Any, str, Any, Any]]:
        """
        Yield what is patched: the owner, the attribute's name, the original, and the replacement.
        """
        return iter([(owner, key[1], before, ours) for key, (owner, before, ours) in self._made.items()])

    def put(self, owner: Any, name: str, around: Callable[[Any], Any]) -> None:
        """
        Replace an attribute of a module, class or object by `around(original)`, once; the original may be None.

        What stands there then looks as before to those who inspect it: a static method stays one. A function with
        parameters that ours does not know is left alone; `obskit_errors_total` counts that, and a line says so.
        """
        with self._lock:
            if (id(owner), name) in self._made:
                return
            found = getattr_static(owner, name, None)
            holder = type(found) if isinstance(found, (staticmethod, classmethod)) else None
            original = found if holder is None else found.__func__
            ours = around(original)
            if original is not None and not accepts_arguments_of(original, ours):
                recorder.failed("patches", TypeError(f"{original!r} has parameters that obskit does not know"))
                return
            if original is not None:
                ours = with_signature(original, ours)
            if holder is not None:
                ours = holder(ours)
            self._made[id(owner), name] = owner, vars(owner).get(name, _ABSENT), ours
            self.on = True
            setattr(owner, name, ours)

    def restore(self, *owners: Any) -> None:
        """
        Restore the originals: of these owners, or all.
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


def _start_over() -> None:
    for patches in list(_all_patches):
        patches.start_over()


at_fork(after_in_child=_start_over)
