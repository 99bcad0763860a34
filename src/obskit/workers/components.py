"""
What a runtime has of the service's other processes: whether this one may lead them.
"""

from __future__ import annotations

from obskit.components import Assembly, Component
from obskit.recorder import recorder
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Patience
from obskit.workers import candidates, instance_leader


class Candidacy(Component):
    """
    Whether this process may lead, which its first request says where the setting does not.
    """

    name = "workers"

    def __init__(self, assembly: Assembly) -> None:
        self._serving = assembly.settings.of(ServiceSettings).serving
        if self._serving is None:
            assembly.sinks.append(candidates.FirstRequest(recorder))

    def start(self) -> None:
        """
        Take the setting.
        """
        candidates.bind(self._serving)

    def stop(self, deadline: Patience) -> None:
        """
        Leave the lead to others.
        """
        candidates.unbind()
        instance_leader.unbind()
