"""
Whether spans are recorded, and how many.
"""

from __future__ import annotations

from typing import Any

from obskit.fields import Section, number, section, setting, when

_tracing = when(
    lambda value: value in ("otlp", "console") or hasattr(value, "get_tracer"),
    "'otlp', 'console', a tracer provider, or None to use the one that OpenTelemetry was given",
)


@section
class TracingSettings(Section, subject="Traces"):
    """
    Whether spans are recorded, and how many.
    """

    tracing: Any = setting(
        None,
        _tracing,
        "Record spans: `otlp` or `console` builds an exporter, a tracer provider is used as it is. None: "
        "spans where OpenTelemetry has been given a provider, none elsewhere.",
    )
    trace_ratio: float = setting(
        1.0,
        number(0, 1, "a ratio from 0 to 1"),
        "Share of new traces to record with `otlp` and `console`; a sampled parent's children are always recorded.",
    )
