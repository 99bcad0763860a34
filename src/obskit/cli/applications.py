"""
The application that a command is about: `--app MODULE:NAME`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from obskit.cli.usage import UsageError, nearest


def load_application(name: str) -> None:
    """
    Import `module:application`, from the working directory too.

    Raises:
        UsageError: There is no such module, or it has no such name.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--app is MODULE:NAME, such as shop.app:app, and not {name!r}")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (error.name == module_name or module_name.startswith(f"{error.name}.")):
            raise UsageError(f"no module {error.name!r}, looked for from {os.getcwd()}") from None
        raise
    for part in attribute.removesuffix("()").split("."):
        if not hasattr(found, part):
            raise UsageError(f"{module_name} has no {part!r}{nearest(part, dir(found))}")
        found = getattr(found, part)
    if attribute.endswith("()"):
        found()
