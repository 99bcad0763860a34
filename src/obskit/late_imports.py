"""
Await the first import of a library, or of a module of ours, without importing it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import get_ident
from types import ModuleType
from typing import Any


class Awaited:
    """
    A library whose first import is awaited. Where it has been imported, the step is taken at once. Who only asks
    whether it is there, or fails to import it, changes nothing.

    Args:
        library: Its name, or that of a module whose package is imported.
        step: Called when its code has run, by whoever imports it. What it raises, the importer gets.
    """

    def __init__(self, library: str, step: Callable[[], object]) -> None:
        self._library, self.step = library, step
        if library in sys.modules:
            step()
        else:
            _finder.awaited.setdefault(library, []).append(self)
            _finder.ensure_asked()

    def cancel(self) -> bool:
        """
        Await it no longer; return whether it was awaited.
        """
        try:
            _finder.awaited.get(self._library, []).remove(self)
        except ValueError:
            return False
        return True


class _Finder:
    """
    Finds nothing but what is awaited, by the other finders, and has its loader take the steps.

    It stays among the finders for good: other threads may be going through them at any moment, and to take one out has
    them skip another.

    Attributes:
        awaited: By name.
    """

    def __init__(self) -> None:
        self.awaited: dict[str, list[Awaited]] = {}
        self._asking: set[tuple[int, str]] = set()

    def ensure_asked(self) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """
        Find it by the other finders.
        """
        if not self.awaited.get(name):
            return None
        asked = get_ident(), name
        if asked in self._asking:
            return None
        self._asking.add(asked)
        try:
            spec = find_spec(name)
        finally:
            self._asking.discard(asked)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader, name)
        return spec

    def _follow(self, loader: Any, name: str) -> None:
        run = loader.exec_module

        def run_and_tell(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            run(module)
            for awaited in list(self.awaited.get(name, ())):
                if awaited.cancel():
                    awaited.step()

        loader.exec_module = run_and_tell


_finder = _Finder()
