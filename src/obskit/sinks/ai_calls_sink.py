"""
Keep AI calls for `obskit.ai.report()`.
"""

from __future__ import annotations

from obskit.ai.operation import AiOperation
from obskit.ai.recent_calls import recent_calls
from obskit.operation import Operation
from obskit.recorder import Sink, Step


class AiCallsSink(Sink):
    """
    Put AI calls into the ring of this process, from the time on that it is made.
    """

    name = "ai_report"

    def __init__(self) -> None:
        recent_calls.start_over()

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Add at the end of each AI call.
        """
        return None, recent_calls.add if kind is AiOperation else None
