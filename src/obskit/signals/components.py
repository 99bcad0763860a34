"""
What a runtime tells signals: how its page names what they ask of.
"""

from __future__ import annotations

import sys

from obskit.components import Assembly, Component
from obskit.late_imports import Awaited
from obskit.metrics.settings import MetricsSettings
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Deadline


class PageNames(Component):
    """
    The page of this runtime, which signals are rendered for once somebody asks them.
    """

    name = "signals"

    def __init__(self, assembly: Assembly) -> None:
        self._settings = assembly.settings
        self._awaited: Awaited | None = None

    def start(self) -> None:
        """
        Put the page in force.
        """
        self._awaited = Awaited("obskit.signals.page", self._put_in_force)

    def _put_in_force(self) -> None:
        from obskit.signals.page import Page, put_in_force

        put_in_force(Page(self._settings.of(ServiceSettings).service, self._settings.of(MetricsSettings)))

    def stop(self, deadline: Deadline) -> None:
        """
        Return to the page with every default.
        """
        if self._awaited is not None:
            self._awaited.cancel()
        if page := sys.modules.get("obskit.signals.page"):
            page.put_out_of_force()


def page_names(assembly: Assembly) -> PageNames | None:
    """
    Return the names of the page where there are metrics.
    """
    return PageNames(assembly) if assembly.part("metrics") else None
