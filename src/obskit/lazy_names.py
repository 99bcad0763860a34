"""
Public names of a package, imported when they are first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: dict[str, Any], modules: Mapping[str, Sequence[str]], of: str = ""
) -> tuple[Callable[[str], Any], list[str]]:
    """
    Return the `__getattr__` and the `__all__` of a package; type checkers read its `__init__.pyi`.

    Args:
        package: The package's `globals()`, where a name is kept once it was used.
        modules: Module below the package -> the names that it has.
        of: The package that the modules are below, where it is another one.
    """
    own = package["__name__"]
    homes = {name: module for module, names in modules.items() for name in names}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {own!r} has no attribute {name!r}")
        value = package[name] = getattr(import_module(f"{of or own}.{homes[name]}"), name)
        return value

    return find, sorted(homes)
