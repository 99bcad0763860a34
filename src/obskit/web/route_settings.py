"""
What obskit's own routes are made by.
"""

from __future__ import annotations

from obskit.fields import section
from obskit.health.settings import HealthSettings
from obskit.metrics.settings import MetricsSettings
from obskit.redaction.settings import RedactionSettings
from obskit.service_settings import ServiceSettings


@section
class RouteSettings(HealthSettings, RedactionSettings, MetricsSettings, ServiceSettings):
    """
    What obskit's own routes are made by: where they are, who may see what, and which service they speak of.
    """
