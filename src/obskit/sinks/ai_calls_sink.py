"""
Store AI calls for `obskit.ai.report()`.
"""

from __future__ import annotations

from obskit.ai.ai_operation import AiOperation
from obskit.ai.recent_calls import recent_calls
from obskit.operation import Operation
from obskit.recorder import Sink, Step


class AiCallsSink(Sink):
    """
    Stores AI calls in the buffer of this process, which it clears when it is created.
    """

    name = "ai_report"
    wants = frozenset[str]()

    def __init__(self) -> None:
        recent_calls.start_over()

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        return None, recent_calls.add if kind is AiOperation else None
