"""
Put the hooks into an SDK when it is imported, and take them out again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from obskit.catalogue import events
from obskit.errors import MissingExtraError
from obskit.integrations import _ai_replies, _ai_requests
from obskit.integrations._ai_sdk import Sdk, Wrapper
from obskit.integrations._patches import when_imported
from obskit.recorder import recorder

NEEDED = (*_ai_requests.NEEDED, *_ai_replies.NEEDED)
WANTED = (*_ai_requests.WANTED, *_ai_replies.WANTED)


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


def install(sdk: Sdk, providers: Mapping[str, str]) -> None:
    """
    Install the hooks in an SDK once: now, or when the application imports it, which takes up to a second.

    Raises:
        MissingExtraError: It is not installed.
    """
    if sys.modules.get(sdk.name) is None and find_spec(sdk.name) is None:
        raise MissingExtraError(
            f"instrument_{sdk.name}() needs the package {sdk.name}: pip install 'obskit[{sdk.name}]'"
        )
    with sdk.lock:
        sdk.mapped.update(providers)
        sdk.providers.clear()
        sdk.is_wanted = True
        is_awaited, sdk.is_awaited = sdk.is_awaited, True
    if sdk.name in sys.modules:
        _module(sdk.name)  # another thread may be importing it: wait, and hold no lock that its hook asks for
        _put(sdk)
    elif not is_awaited:
        when_imported(sdk.name, lambda module: _imported(sdk))


def _imported(sdk: Sdk) -> None:
    try:
        _put(sdk)
    except Exception as error:  # it would be the application's `import` that fails
        recorder.failed(sdk.name, error)


def _put(sdk: Sdk) -> None:
    if sdk.is_on or not sdk.is_wanted:
        return
    needed = [_found(sdk, *hook) for hook in NEEDED]  # which imports: without the lock
    missing = [f"{hook[0]}.{hook[1]}.{hook[2]}" for hook, found in zip(NEEDED, needed, strict=True) if found is None]
    if missing:
        message = f"this version of {sdk.name} has no {', '.join(missing)}: its calls are not observed"
        recorder.emit(events.UNKNOWN_SDK.event(message, {"sdk": sdk.name}))
        return
    further = tuple((module, cls, "close", _ai_replies.close_hook) for module, cls in sdk.stream_classes)
    wanted = [_found(sdk, *hook) for hook in (*WANTED, *further)]
    with sdk.lock:
        if sdk.is_on or not sdk.is_wanted:
            return
        sdk.is_on = True
        for owner, name, wrapper in (found for found in (*needed, *wanted) if found is not None):
            sdk.patches.put(owner, name, partial(wrapper, sdk))
        sdk.tells_retries = {found[2] for found in wanted if found is not None} >= _ai_requests.SLEEPS


def _found(sdk: Sdk, module: str, cls: str, name: str, wrapper: Wrapper) -> tuple[Any, str, Wrapper] | None:
    owner = getattr(_module(f"{sdk.name}.{module}"), cls, None)
    return (owner, name, wrapper) if name in vars(owner or object) else None


def remove(sdk: Sdk) -> None:
    """
    Remove the hooks. Those that another library has wrapped meanwhile stay, and pass everything on.
    """
    with sdk.lock:
        sdk.is_wanted = sdk.is_on = False
        sdk.patches.restore()
        sdk.mapped.clear()
        sdk.providers.clear()
