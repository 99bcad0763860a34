"""
What a runtime has of the service's other processes: whether this one may lead them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from obskit.components import Assembly, Component
from obskit.default_service import application_file, program_name, project_of
from obskit.recorder import recorder
from obskit.service_settings import ServiceSettings
from obskit.storage.state_folder import StateFolder
from obskit.time.clock import Patience
from obskit.workers import candidates, instance_leader, service_leader


class Candidacy(Component):
    """
    Whether this process may lead, which its first request says where the setting does not.
    """

    name = "workers"

    def __init__(self, assembly: Assembly) -> None:
        self._settings = assembly.settings.of(ServiceSettings)
        self._serving = self._settings.serving
        if self._serving is None:
            assembly.sinks.append(candidates.FirstRequest(recorder))

    def start(self) -> None:
        """
        Take the setting.
        """
        candidates.bind(self._serving)
        service_leader.bind(_state_folder(self._settings))

    def stop(self, deadline: Patience) -> None:
        """
        Leave the lead to others.
        """
        candidates.unbind()
        instance_leader.unbind()
        service_leader.unbind()


def _state_folder(settings: ServiceSettings) -> Callable[[], Path | None]:
    """
    Return what opens the folder of the service's state, for the project whose code configures.
    """
    file, service = application_file(), settings.service

    def open_folder() -> Path | None:
        code = project_of(file)
        is_named = code.is_named or service not in (code.name, program_name())
        return StateFolder(settings.state_dir, service).open(code.folder, is_named=is_named)

    return open_folder
