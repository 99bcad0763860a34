"""
What a runtime tells signals: how its page names what they ask of.
"""

from __future__ import annotations

from obskit.components import Assembly, Component
from obskit.metrics.settings import MetricsSettings
from obskit.service_settings import ServiceSettings
from obskit.signals.page import Page, put_in_force, put_out_of_force
from obskit.time.clock import Deadline


class PageNames(Component):
    """
    The page of this runtime, which signals are rendered for.
    """

    name = "signals"

    def __init__(self, assembly: Assembly) -> None:
        settings = assembly.settings
        self._page = Page(settings.of(ServiceSettings).service, settings.of(MetricsSettings))

    def start(self) -> None:
        """
        Put the page in force.
        """
        put_in_force(self._page)

    def stop(self, deadline: Deadline) -> None:
        """
        Return to the page with every default.
        """
        put_out_of_force()


def page_names(assembly: Assembly) -> PageNames | None:
    """
    Return the names of the page where there are metrics.
    """
    return PageNames(assembly) if assembly.part("metrics") else None
