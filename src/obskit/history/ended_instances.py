"""
What instances have counted beyond what was stored, when their servers ended or were killed: it is in their folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from obskit.history.files import SeriesFiles
from obskit.history.instance_mark import InstanceMark, remove_mark
from obskit.history.sampler import InstanceTotals, find_totals
from obskit.history.series_slot import SeriesSlot
from obskit.metrics.directory import Directory
from obskit.metrics.snapshots import FamilySnapshot, with_fine
from obskit.recorder import recorder
from obskit.workers.file_lock import FileLock
from obskit.workers.instance_folders import ended_folders

if TYPE_CHECKING:
    from obskit.catalogue import Metric
    from obskit.metrics.collector import MetricCollector

_LEADER_FILE = "leader"  # that a living sampler would hold


def take_ended(collector: MetricCollector, files: SeriesFiles, slot: SeriesSlot, at: int, own: Path | None) -> None:
    """
    Store what ended instances of this history have left.

    Args:
        collector: Knows what metrics are called.
        files: Of all slots.
        slot: Whose files it goes to.
        at: The start of the present step.
        own: The folder of this process's instance.

    Raises:
        OSError, sqlite3.Error: It cannot be stored; the next call has it.
    """
    for folder in ended_folders():
        mark = InstanceMark.read(folder)
        if mark is not None and folder != own and Path(mark.history) == files.folder:
            _take(collector, files, slot, at, folder, mark)


def _take(
    collector: MetricCollector, files: SeriesFiles, slot: SeriesSlot, at: int, folder: Path, mark: InstanceMark
) -> None:
    lock = FileLock.take(folder / _LEADER_FILE)
    if lock is None:  # another process takes it
        return
    try:
        known = find_totals(files, mark.instance, lambda error: recorder.failed("history", error))
        if known.sequence >= mark.sequence:  # else what was stored is lost, and this would be told twice
            families = _families(collector, folder)
            InstanceTotals(mark.instance, known).store(families, slot, max(at, known.at))
        remove_mark(folder)
    finally:
        lock.release()


def _families(collector: MetricCollector, folder: Path) -> Mapping[str, FamilySnapshot]:
    """
    Read what the workers of a folder have counted.
    """
    found = {}
    reading = Directory(folder).snapshot()
    for figures in collector.figures(reading, _counted_name):
        keys, rows = [], []
        for key, values in figures.cells:
            keys.append(key)
            is_histogram = figures.spec.kind == "histogram"
            rows.append((sum(values[2:]), *values[1:]) if is_histogram else (float(values[0]),))
        found[figures.name] = FamilySnapshot(figures.spec, keys, rows)
    for name, fine in collector.fine_figures(reading):
        if name in found:
            found[name] = with_fine(found[name], fine)
    return found


def _counted_name(spec: Metric) -> str | None:
    """
    Name a metric that is counted in cells: not read from the machine or a living process, and no gauge.
    """
    return None if spec.kind == "gauge" or spec.is_shared or spec.labels == ("worker",) else spec.name
