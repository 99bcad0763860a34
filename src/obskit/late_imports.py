"""
Await the first import of a library, or of a module of ours, without importing it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class Awaited:
    """
    A library whose first import is awaited: a finder that finds nothing but it, once, and has no part in any other
    import. Where it has been imported, the step is taken at once.

    Args:
        library: Its name, or that of a module whose package is imported.
        step: Called when its code has run, by whoever imports it. What it raises, the importer gets.
    """

    def __init__(self, library: str, step: Callable[[], object]) -> None:
        self._library, self._step = library, step
        if library in sys.modules:
            step()
        else:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """
        Find the library by the other finders, and have its loader take the step.
        """
        if name != self._library or not self.cancel():
            return None
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def cancel(self) -> bool:
        """
        Await it no longer; return whether it was awaited.
        """
        try:
            sys.meta_path.remove(self)
        except ValueError:
            return False
        return True

    def _follow(self, loader: Any) -> None:
        run = loader.exec_module

        def run_and_tell(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)  # others may have awaited it too
            run(module)
            self._step()

        loader.exec_module = run_and_tell
