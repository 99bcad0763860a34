"""
What lines are made by.
"""

from __future__ import annotations

from obskit.fields import section
from obskit.integrations.settings import RequestSettings
from obskit.logs.settings import LogSettings
from obskit.redaction.settings import RedactionSettings
from obskit.service_settings import ServiceSettings


@section
class LineSettings(RedactionSettings, LogSettings, RequestSettings, ServiceSettings):
    """
    What lines are made by: the settings of logs, and those whose subjects lines say something of.
    """
