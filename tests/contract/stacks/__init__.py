"""
Gather the stacks whose framework is installed; the bare protocols always are.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import pytest

from ..stack import Stack

# Module of this package, and the library it needs.
MODULES = {
    "wsgi": "wsgiref",
    "asgi": "asyncio",
    "flask": "flask",
    "starlette": "starlette",
    "fastapi": "fastapi",
    "django_sync": "django",
    "django_async": "django",
}
STACKS: tuple[Stack, ...] = tuple(
    import_module(f".{module}", __name__).STACK for module, library in MODULES.items() if find_spec(library)
)


def stacks(*abilities: str, protocols: Sequence[str] = ("wsgi", "asgi")) -> pytest.MarkDecorator:
    """
    Run a test on every stack that has these abilities and speaks one of these protocols.
    """
    able = [stack for stack in STACKS if stack.protocol in protocols and all(map(stack.has, abilities))]
    return pytest.mark.parametrize("stack", able, ids=lambda stack: stack.name)


def only(*names: str, needs: Sequence[str] = ()) -> pytest.MarkDecorator:
    """
    Run a test on these stacks, where they and one of the libraries that the test needs are installed.
    """
    ready = not needs or any(map(find_spec, needs))
    able = [stack for stack in STACKS if ready and stack.name in names]
    return pytest.mark.parametrize("stack", able, ids=lambda stack: stack.name)
