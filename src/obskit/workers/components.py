"""
The component that decides whether this process may lead the others of its service.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from obskit.components import Assembly, Component
from obskit.default_service import application_file, project_of
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
        is_named = "service" in assembly.settings.given or bool(os.environ.get("OTEL_SERVICE_NAME"))
        self.open_state_folder = _state_folder(self._settings, is_named)
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


def _state_folder(settings: ServiceSettings, is_named: bool) -> Callable[[], Path | None]:
    """
    Return what opens the folder of the service's state, for the project whose code configures.
    """
    file, service = application_file(), settings.service

    def open_folder() -> Path | None:
        code = project_of(file)
        return StateFolder(settings.state_dir, service).open(code.folder, is_named=is_named or code.is_named)

    return open_folder
