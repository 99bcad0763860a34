"""
Add up what a request's own operations cost it.
"""

from __future__ import annotations

from threading import Lock

from obskit.ai.operation import AiOperation
from obskit.db.operation import DbOperation
from obskit.operation import Event, HttpOperation, Operation, Totals
from obskit.recorder import Step


class TotalsSink:
    """
    Put queries and AI calls into the totals of the request they ran in; its access line shows them.
    """

    name = "totals"

    def __init__(self) -> None:
        self._lock = Lock()

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Add at the end of each query and AI call.
        """
        if kind is AiOperation:
            return None, self._add_call
        return None, self._add_query if kind is DbOperation else None

    def _add_query(self, op: DbOperation) -> None:
        root = op.root
        if isinstance(root, HttpOperation):
            totals = root.totals or self._totals_of(root)
            totals.db_queries += 1
            totals.db_seconds += op.duration_seconds

    def _add_call(self, op: AiOperation) -> None:
        root = op.root
        if isinstance(root, HttpOperation):
            totals = root.totals or self._totals_of(root)
            with self._lock:  # a page may make many calls at once, and cents must not get lost
                totals.ai_calls += 1
                totals.ai_cost_usd += op.cost_usd or 0.0

    def _totals_of(self, root: HttpOperation) -> Totals:
        with self._lock:  # a request's first queries may end in two threads
            totals = root.totals = root.totals or Totals()
            return totals

    def emit(self, event: Event) -> None:
        """
        Add nothing.
        """

    def flush(self) -> None:
        """
        Have nothing queued.
        """

    def close(self) -> None:
        """
        Hold nothing.
        """
