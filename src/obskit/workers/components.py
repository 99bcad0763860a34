"""
The component that decides whether this process may lead the others of its service.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from obskit.components import Assembly, Component
from obskit.default_service import application_file, program_name, project_of
from obskit.recorder import recorder
from obskit.service_settings import ServiceSettings
from obskit.storage.state_folder import StateFolder
from obskit.time.clock import Deadline
from obskit.workers import candidates, instance_leader, service_leader


class Candidacy(Component):
    """
    Whether this process may lead: by the setting, else from its first request on.

    Attributes:
        open_state_folder: Makes the service's state folder where it is missing; None where it cannot be used.
    """

    name = "workers"

    def __init__(self, assembly: Assembly) -> None:
        self._settings = assembly.settings.of(ServiceSettings)
        self._serving = self._settings.serving
        self.open_state_folder = _state_folder(self._settings)
        self._first_request = candidates.FirstRequest(recorder)
        if self._serving is None:
            assembly.watchers.append(self._first_request)

    def start(self) -> None:
        """
        Apply the setting.
        """
        candidates.bind(self._serving)
        service_leader.bind(self.open_state_folder)

    def stop(self, deadline: Deadline) -> None:
        """
        Release the lead, so that others may take it.
        """
        candidates.unbind()
        instance_leader.unbind()
        service_leader.unbind()

    def after_fork(self) -> None:
        """
        Await a request of the child's own.
        """
        self._first_request.start_over()


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
