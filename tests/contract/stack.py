"""
What a stack is: how it is built, how it writes its templates, and what it cannot express.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .scene import Scene

UNMATCHED = "<unmatched>"


@dataclass(frozen=True)
class Stack:
    """
    Describe one framework, or bare protocol, to the tests.

    Attributes:
        build: Makes a fresh application, not instrumented.
        spell: Writes a template of `scene.py` as this framework does.
        can: Abilities that not every stack has:
            `background`: work after the reply;
            `error page`: it answers an unhandled exception with a 500 of its own;
            `late routing`: it routes when the whole body has arrived, not before;
            `late validation`: it validates a path's values after routing, not with it;
            `prefix`: its templates begin with where it is mounted, which WSGI has in `SCRIPT_NAME`;
            `options`: it answers OPTIONS for every route;
            `route of 405`: its routing tells which route a wrong method was meant for;
            `sub-application`: applications inside of its own routing;
            `trio`: it runs on Trio's event loop too;
            `websocket`;
            `whole replies`: obskit knows replies that lie in memory, and counts them when they are handed over;
            and the protocol's name.
        invalid_status: What it answers to a body that fails validation.
    """

    name: str
    protocol: Literal["wsgi", "asgi"]
    build: Callable[[Scene], Any]
    spell: Callable[[str], str]
    can: frozenset[str] = frozenset()
    invalid_status: int = 400

    def has(self, ability: str) -> bool:
        return ability in self.can or ability == self.protocol

    def endpoint_of_405(self, template: str) -> str:
        return self.spell(template) if self.has("route of 405") else UNMATCHED


def plain(template: str) -> str:
    """
    Leave converters out: `/items/{item_id}`.
    """
    return re.sub(r":\w+", "", template)


def starlette(template: str) -> str:
    """
    Return the template as it is: `/items/{item_id:int}`.
    """
    return template


def angled(template: str) -> str:
    """
    Put the converter first, as Flask and Django do: `/items/<int:item_id>`.
    """
    template = re.sub(r"{(\w+):(\w+)}", r"<\2:\1>", template)
    return re.sub(r"{(\w+)}", r"<\1>", template)
