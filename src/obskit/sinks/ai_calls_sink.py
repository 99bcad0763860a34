"""
Store AI calls for `obskit.ai.report()`.
"""

from __future__ import annotations

import sys

from obskit.ai.ai_operation import AiOperation
from obskit.operation import Operation
from obskit.recorder import Sink, Step


class AiCallsSink(Sink):
    """
    Stores AI calls in the buffer of this process, which it clears when it is created.
    """

    name = "ai_report"
    wants = frozenset[str]()

    def __init__(self) -> None:
        if recent_calls := sys.modules.get("obskit.ai.recent_calls"):
            recent_calls.recent_calls.start_over()

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        if kind is not AiOperation:
            return None, None
        from obskit.ai.recent_calls import recent_calls

        return None, recent_calls.add
