"""
What the sinks of metrics and spans are made by.
"""

from __future__ import annotations

from obskit.fields import section
from obskit.logs.settings import LogSettings
from obskit.metrics.settings import MetricsSettings
from obskit.redaction.settings import RedactionSettings
from obskit.service_settings import ServiceSettings
from obskit.sinks.settings import TracingSettings


@section
class MetricsSinkSettings(MetricsSettings, ServiceSettings):
    """
    What metrics are made by, and what they say of the service.
    """


@section
class SpanSinkSettings(TracingSettings, RedactionSettings, LogSettings, ServiceSettings):
    """
    What spans are made by, what they say of the service, and how much of the client.
    """
