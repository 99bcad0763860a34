"""
The components of obskit's own routes.
"""

from __future__ import annotations

from obskit.components import Assembly, Component
from obskit.health.registry import registry as health
from obskit.time.clock import Deadline
from obskit.web.route_settings import RouteSettings
from obskit.web.routes import Routes


class OwnRoutes(Component):
    """
    The routes of metrics and health.
    """

    name = "health"

    def __init__(self, assembly: Assembly) -> None:
        collection = assembly.part("metrics")
        self._settings = assembly.settings.of(RouteSettings)
        self.routes = Routes(self._settings, None if collection is None else collection.page)

    def start(self) -> None:
        """
        Mount the checks of health, and those that are added later.
        """
        health.bind(self._settings.health_groups, self.routes.mount)
        for component in health.checks:
            self.routes.mount(component)

    def after_fork(self) -> None:
        """
        Forget the replies of the parent.
        """
        self.routes.start_over()

    def stop(self, deadline: Deadline) -> None:
        """
        Run no more checks, and forget what they found.
        """
        health.unbind()
