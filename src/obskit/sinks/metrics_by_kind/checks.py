"""
Metrics of health checks.
"""

from __future__ import annotations

from obskit.catalogue import events, health
from obskit.health.check_operation import CheckOperation
from obskit.operation import Event
from obskit.recorder import Step
from obskit.sinks.metrics_by_kind.binding import Binding

_VALUES = {"pass": 1.0, "warn": 0.5, "fail": 0.0}


def bind_checks(binding: Binding) -> tuple[None, Step]:
    """
    Return the step at a run's end. A new status is shown at once, since it may change while its check hangs.
    """
    gauge, duration = binding.gauge(health.STATUS), binding.histogram(health.DURATION)
    timeouts, last_run = binding.counter(health.TIMEOUTS), binding.gauge(health.LAST_RUN)
    expiry = binding.gauge(health.CERTIFICATE_EXPIRY)
    failed = binding.recorder.failed

    def show(component: str, status: str) -> None:
        value = _VALUES.get(status)
        if value is None:  # skipped
            gauge.remove((component,))
        else:
            gauge.cell((component,)).set(value)

    def show_change(event: Event) -> None:
        fields = event.fields
        if "component" in fields and "health" in fields:
            show(fields["component"], fields["health"])

    def finish(op: CheckOperation) -> None:
        try:
            key = (op.component,)
            show(op.component, op.status)
            duration.cell(key).observe(op.duration_seconds)
            last_run.cell(key).set(binding.recorder.wall_clock())
            if op.certificate_expires_at is not None:
                expiry.cell(key).set(op.certificate_expires_at)
            if op.timed_out:
                timeouts.cell(key).inc()
        except Exception as error:
            failed("metrics", error)

    binding.events[events.HEALTH_TRANSITION.name] = show_change
    return None, finish
