"""
The part of a runtime that keeps the history. Nothing else of this folder is imported before it is on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obskit.components import Assembly, Component
from obskit.errors import ConfigurationError
from obskit.history.settings import HistorySettings
from obskit.metrics.settings import MetricsSettings
from obskit.service_settings import ServiceSettings
from obskit.storage.state_folder import StateFolder
from obskit.time.clock import Deadline

if TYPE_CHECKING:
    from obskit.history.files import SeriesFiles
    from obskit.history.sampling import Sampling
    from obskit.storage.periods import PeriodFiles


# Of `history_max_bytes`, what records of one kind may have: a service where much fails must not lose its figures.
RECORDS_SHARE = 0.25


class History(Component):
    """
    The sampler of this process's instance.

    Attributes:
        settings: What is kept, where, and for how long.
        open_folder: Makes the folder where it is missing.
    """

    name = "history"

    def __init__(self, assembly: Assembly) -> None:
        from obskit.history.folder import opener

        self.settings = assembly.settings.of(HistorySettings)
        self._collection: Any = assembly.part("metrics")
        service, given = assembly.settings.of(ServiceSettings), self.settings.history_dir
        self.open_folder = opener(given, service.service, assembly.part("workers").open_state_folder)
        self._folder = Path(given) if given else StateFolder(service.state_dir, service.service).path / "history"
        self._sampling: Sampling | None = None

    def start(self) -> None:
        """
        Sample from the moment on that this process serves.
        """
        from obskit.history import queries
        from obskit.history.sampling import Sampling

        collection = self._collection
        self._sampling = Sampling(
            collection.collector, collection.workers, self.open_folder, self._files_in, self._record_files_in
        )
        self._sampling.start()
        queries.bind(lambda: self._files_in(self._folder))  # to read makes no folder

    def flush(self, deadline: Deadline) -> None:
        """
        Store what was counted since the last sampling: uvicorn ends its processes by the signal, and so without more.
        """
        if self._sampling is not None:
            self._sampling.flush(deadline)

    def stop(self, deadline: Deadline) -> None:
        """
        Store what was counted since the last sampling.
        """
        from obskit.history import queries

        queries.bind(None)
        if self._sampling is not None:
            self._sampling.stop(deadline)

    def _files_in(self, folder: Path) -> SeriesFiles:
        from obskit.history.files import SeriesFiles

        every = int(self.settings.history_every.total_seconds())
        return SeriesFiles(folder, every, self.settings.history_keep, self.settings.history_max_bytes)

    def _record_files_in(self, folder: Path) -> Sequence[PeriodFiles]:
        from obskit.history.record_slot import record_files

        most = int(self.settings.history_max_bytes * RECORDS_SHARE)
        return list(record_files(folder, self.settings.history_keep, most).values())

    def after_fork(self) -> None:
        """
        Sample for oneself.
        """
        if self._sampling is not None:
            self._sampling.start_over()


class FineBuckets(Component):
    """
    Fine buckets of what is counted in seconds, while a history keeps them.
    """

    name = "fine_buckets"

    def start(self) -> None:
        """
        Make cells with them from now on.
        """
        from obskit.metrics.grids import grids

        grids.switch(True)

    def stop(self, deadline: Deadline) -> None:
        """
        Make cells as without.
        """
        from obskit.metrics.grids import grids

        grids.switch(False)


def fine_buckets(assembly: Assembly) -> FineBuckets | None:
    """
    Return the fine buckets where there is a history; to be started before the metrics.
    """
    is_on = assembly.settings.of(HistorySettings).history and assembly.settings.of(MetricsSettings).metrics
    return FineBuckets() if is_on else None


def history(assembly: Assembly) -> History | None:
    """
    Return the history where it is on.

    Raises:
        ConfigurationError: It is on without metrics, whose figures it keeps.
    """
    if not assembly.settings.of(HistorySettings).history:
        return None
    if assembly.part("metrics") is None:
        raise ConfigurationError("history=True keeps the figures of metrics, and metrics=False: leave one of them out")
    return History(assembly)
