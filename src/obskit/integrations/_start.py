"""
Configure, and carry out `auto`: what every way into obskit begins with.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from obskit.runtime import Runtime
from obskit.runtime import configure as configure_runtime

# Integrations that `auto=True` turns on where their library is installed.
AUTO = ("sqlite3",)


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
            if name not in runtime.hooks:
                import_module(f"obskit.integrations.{name}").instrument()
                runtime.hooks.append(name)
    return runtime
