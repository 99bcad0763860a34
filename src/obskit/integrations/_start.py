"""
Configure, and carry out `auto`: what every way into obskit begins with.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from obskit.runtime import Runtime, standing
from obskit.runtime import configure as configure_runtime

# Integrations that `auto=True` turns on when the library of that name is imported: one that nobody uses stays unread.
AUTO = ("psycopg", "sqlalchemy", "sqlite3")


def configure(**settings: Any) -> Runtime:
    """
    Build the runtime of this process, or join the one that stands.

    Args:
        **settings: `docs/reference/settings.md` lists them. A later call may give none, or equal ones.

    Raises:
        AlreadyConfiguredError: A runtime stands, with another value for one of these settings.
        UnknownSettingError: No setting has this name.
        ConfigurationError: A value of the wrong type or range, here or in an `OBSKIT_*` variable.
        MetricConflictError: The application's own code registered a metric of the same name.
    """
    runtime = configure_runtime(**settings)
    if runtime.settings.enabled and runtime.settings.auto:
        for name in AUTO:
            if name not in runtime.hooks and find_spec(name) is not None:
                _instrument_when_imported(name)
                runtime.hooks.append(name)
    return runtime


def _instrument_when_imported(name: str) -> None:
    def instrument(module: object) -> None:
        runtime = standing()
        if runtime is not None and name in runtime.hooks:
            import_module(f"obskit.integrations.{name}").instrument()

    if name in sys.modules or name == "sqlite3":
        import_module(f"obskit.integrations.{name}").instrument()
    elif name not in _awaited:
        from wrapt import register_post_import_hook  # 20 ms, which only `auto` pays

        _awaited.add(name)
        register_post_import_hook(instrument, name)


_awaited: set[str] = set()
