"""
Compose the settings of one runtime: those of a subject are declared where it is, in its `settings.py`.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import TypeVar

from obskit.ai.settings import AiSettings
from obskit.db.settings import DatabaseSettings
from obskit.fields import Section, section
from obskit.fields import default_of as default_of
from obskit.health.settings import HealthSettings
from obskit.history.settings import HistorySettings
from obskit.integrations.settings import RequestSettings
from obskit.logs.settings import LogSettings
from obskit.metrics.settings import MetricsSettings
from obskit.redaction.settings import RedactionSettings
from obskit.rules.settings import RuleSettings
from obskit.service_settings import ServiceSettings
from obskit.sinks.settings import TracingSettings

P = TypeVar("P", bound=Section)


@section
class Settings(  # from the last to the first, since a dataclass has the fields of its last base first
    RuleSettings,
    HistorySettings,
    AiSettings,
    DatabaseSettings,
    HealthSettings,
    TracingSettings,
    RedactionSettings,
    LogSettings,
    MetricsSettings,
    RequestSettings,
    ServiceSettings,
):
    """
    Every setting of one runtime; built by `configure()`, never changed afterwards. Arguments beat `OBSKIT_*`
    variables beat defaults.
    """

    def of(self, part: type[P]) -> P:
        """
        Return what one part reads: the settings of a subject, or of a class that joins several.
        """
        return part(**{setting.name: getattr(self, setting.name) for setting in fields(part)})


@cache
def with_sections(further: tuple[type[Section], ...]) -> type[Settings]:
    """
    Return the settings, with the sections of parts that are none of obskit's own.
    """
    return section(type("Settings", (*further, Settings), {})) if further else Settings


SECTIONS: tuple[type[Section], ...] = Settings.__bases__[::-1]
