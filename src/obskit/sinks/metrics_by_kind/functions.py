"""
Metrics of functions: how long they took, and how often they failed.
"""

from __future__ import annotations

from obskit.catalogue import function
from obskit.observation import FunctionOperation
from obskit.recorder import Step
from obskit.sinks.metrics_by_kind.binding import Binding


def bind_functions(binding: Binding) -> tuple[None, Step]:
    """
    Return the step at a function's end.
    """
    duration, failed = binding.histogram(function.DURATION), binding.recorder.failed

    def finish(op: FunctionOperation) -> None:
        try:
            key = (op.function, op.outcome)
            duration.cell(key).observe(op.duration_seconds)
            if op.sparse is not None and op.sampled:
                duration.record_exemplar(key, op.duration_seconds, op.trace_id, binding.recorder.wall_clock())
        except Exception as error:
            failed("metrics", error)

    return None, finish
