"""
Call the application's own function with each finished request.
"""

from __future__ import annotations

from obskit.operation import HttpOperation, Operation
from obskit.recorder import Sink, Step


class RequestHook(Sink):
    """
    The application's `request_hook`. It reads a request's client and agent if it likes.
    """

    name = "hook"
    wants = frozenset(["client", "agent"])

    def __init__(self, hook: Step) -> None:
        self._hook = hook

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        return None, self._hook if kind is HttpOperation else None
