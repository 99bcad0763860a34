"""
The totals sink: adds a request's AI calls to its totals.
"""

from __future__ import annotations

from threading import RLock

from obskit.ai.ai_operation import AiOperation
from obskit.db.query_watch import totals_of
from obskit.operation import Operation
from obskit.recorder import Sink, Step


class TotalsSink(Sink):
    """
    Adds AI calls to the totals of the request they ran in; its access line shows them.
    """

    name = "totals"
    wants = frozenset[str]()

    def __init__(self) -> None:
        self._lock = RLock()

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Return a step that adds each AI call at its end; queries are added by `db.observe` itself.
        """
        return None, self._add_call if kind is AiOperation else None

    def _add_call(self, op: AiOperation) -> None:
        totals = totals_of(op.root)
        if totals is not None:
            usd, is_call = op.cost_usd or 0.0, op.is_call
            with self._lock:  # a request may make calls in parallel, and no cost may be lost
                if is_call:
                    totals.ai_calls += 1
                    totals.ai_seconds += op.duration_seconds
                totals.ai_cost_usd += usd
