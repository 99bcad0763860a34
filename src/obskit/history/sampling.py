"""
The thread that samples an instance, puts longer steps together, and keeps the folder small.

Every process that serves has it; one of an instance's samples. Whatever happens to the folder, a request does not
notice: what could not be stored is in the next sampling that can.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from obskit.background import Ticks
from obskit.catalogue import events
from obskit.history.ended_instances import take_ended
from obskit.history.files import HOUR_SECONDS, MINUTE_SECONDS, SeriesFiles
from obskit.history.folder import goes_with
from obskit.history.instance_mark import InstanceMark
from obskit.history.keeping import trim
from obskit.history.roll_up import roll_up
from obskit.history.sampler import InstanceTotals, Known, StoredSampling, find_totals, step_start
from obskit.history.series_slot import SeriesSlot
from obskit.metrics.snapshots import MetricsSnapshot, take
from obskit.recorder import recorder
from obskit.storage.own_sqlite import InUseError
from obskit.storage.periods import PeriodFiles
from obskit.time.clock import Deadline, clock
from obskit.workers.candidates import is_candidate, when_serving
from obskit.workers.instance_leader import samples
from obskit.workers.leadership import ASK_EVERY_SECONDS
from obskit.workers.service_leader import leads

if TYPE_CHECKING:
    from obskit.metrics.collector import MetricCollector
    from obskit.metrics.workers import Workers

PART = "history"
FIGURES = "figures"
_PROBLEMS = (OSError, sqlite3.Error, InUseError)
# A tick may come a little early; it is of the step that ends then.
_EARLY_SECONDS = 0.05
# A clock that was set back by more is followed at once: else a machine that started in the future would add to one
# step for years.
_HELD_SECONDS = HOUR_SECONDS
_WELL_SECONDS = 600.0
_MOST_TOLD = 100


class Sampling:
    """
    Samples the instance of this process, where this process is the one that does.

    Args:
        collector: Has the figures.
        workers: Where the figures are, of this process or of all that share a folder.
        open_folder: Makes the history folder where it is missing; None where it cannot be used, which was told.
        make_files: Makes the files' description of a folder.
        kinds: Files of others, which are kept with those of the series, in the order in which they go.
    """

    def __init__(
        self,
        collector: MetricCollector,
        workers: Workers,
        open_folder: Callable[[], Path | None],
        make_files: Callable[[Path], SeriesFiles],
        kinds: Callable[[Path], Sequence[PeriodFiles]] = lambda folder: (),
    ) -> None:
        self._collector, self._workers = collector, workers
        self._open_folder, self._make_files, self._kinds = open_folder, make_files, kinds
        self._every = make_files(Path(os.sep)).every
        self._thread = Ticks(name="obskit-history", step=self._step, failed=recorder.failed, part=PART)
        self._is_stopped = False
        self.start_over()

    def start_over(self) -> None:
        """
        Begin anew in a forked child: the slot is its parent's, and what it counts has an id of its own.
        """
        self._pid = os.getpid()
        self._own_id = f"process-{os.urandom(16).hex()}"
        self._turn = Lock()
        self._files: SeriesFiles | None = None
        self._slot: SeriesSlot | None = None
        self._totals: InstanceTotals | None = None
        self._last = 0  # the start of the last step that was stored
        self._due: float | None = None  # the next sampling, by the monotonic clock
        self._offset: float | None = None  # of the wall clock to the monotonic one
        self._told: dict[tuple[str, str], float] = {}  # when what was said, of what, was so for the last time
        self._tended = 0.0  # when what is done each minute was done
        self._swept: dict[int, frozenset[tuple[Path, int]]] = {}

    def start(self) -> None:
        """
        Start as soon as this process serves.
        """
        when_serving(self._thread.start, PART)
        self._collector.refresh.append(self._ensure_running)

    def _ensure_running(self) -> None:
        """
        Start the thread where it is missed, since none was to be had before.
        """
        if is_candidate() and not self._is_stopped:
            self._thread.start()

    def flush(self, deadline: Deadline) -> None:
        """
        Store what was counted since the last sampling, where this process is the one that samples.
        """
        if is_candidate() and samples() and self._turn.acquire(timeout=deadline.remaining()):
            try:
                self._sample(is_last=True)
            finally:
                self._turn.release()

    def stop(self, deadline: Deadline) -> None:
        """
        End the thread, store what was counted since the last sampling, and leave the slot to others.
        """
        self._is_stopped = True
        self._thread.stop(deadline)
        self.flush(deadline)
        self._leave()

    def _step(self) -> float:
        if self._pid != os.getpid():  # a server has forked without telling Python, as uWSGI does
            if self._slot is not None:
                self._slot.abandon()
            self.start_over()
        if not samples():
            self._due = None
            return ASK_EVERY_SECONDS
        now, wall = clock.monotonic(), clock.wall()
        if self._due is None:
            self._due = now + self._every - wall % self._every
        if now >= self._due - _EARLY_SECONDS:
            with self._turn:
                self._sample()
            self._due = clock.monotonic() + self._every - (clock.wall() + _EARLY_SECONDS) % self._every
        return max(0.0, min(self._due - clock.monotonic(), ASK_EVERY_SECONDS))

    # One sampling

    def _sample(self, *, is_last: bool = False) -> None:
        try:
            self._try_to_sample(is_last)
        except _PROBLEMS as error:
            recorder.errors.inc(PART)
            self._tell(FIGURES, f"figures are not stored: {error}", "unusable")
            self._leave()

    def _try_to_sample(self, is_last: bool) -> None:
        if self._workers.degraded and self._workers.are_shared:
            recorder.dropped.inc((PART, "degraded"))  # others sample its file, and the rest would be told twice
            return
        snapshot = take(self._collector)
        slot = self._slot_or_open()
        if slot is None or self._files is None:
            recorder.dropped.inc((PART, "unusable"))
            return
        if not (fine := self._files.by_step[self._every]).has_room():
            recorder.dropped.inc((PART, "disk_full"))
            self._tell(FIGURES, f"the disk of {fine.folder} is nearly full: figures wait", "disk_full")
            return
        slot.reopen_damaged()
        stored = self._store(snapshot, slot, self._files, is_last)
        if stored.fallen:
            recorder.dropped.inc((PART, "total_fell"), stored.fallen)
        self._note_well(FIGURES)
        until = self._last + self._every
        if is_last or until % MINUTE_SECONDS == 0 or until - self._tended >= MINUTE_SECONDS:
            self._tend(slot, self._files, until)

    def _store(self, snapshot: MetricsSnapshot, slot: SeriesSlot, files: SeriesFiles, is_last: bool) -> StoredSampling:
        shared = self._workers.folder()
        totals = self._known_totals(files, shared)
        wall = clock.wall()
        self._note_jump(wall)
        if self._last > wall + _HELD_SECONDS:
            self._last = 0
        ahead = self._every if is_last else _EARLY_SECONDS  # the last one is of the step that is not over
        at = step_start(wall + ahead, self._every, self._last)
        stored = totals.store(snapshot.families, slot, at, is_whole=snapshot.is_whole)
        self._last = at
        if shared is not None:
            try:
                InstanceMark(totals.instance, str(files.folder), stored.sequence).write(shared)
            except OSError:  # whoever goes on finds in the files what was stored
                recorder.errors.inc(PART)
        return stored

    def _known_totals(self, files: SeriesFiles, shared: Path | None) -> InstanceTotals:
        """
        Return what is stored of the instance: as this process remembers it, else as it is found.
        """
        mark = None if shared is None else InstanceMark.read(shared)
        known = self._totals
        if shared is None:
            if known is None or known.instance != self._own_id:
                known = InstanceTotals(self._own_id, Known({}, 0))
        elif mark is None or mark.history != str(files.folder):
            mark = InstanceMark(os.urandom(16).hex(), str(files.folder), 0)
            mark.write(shared)
            known = InstanceTotals(mark.instance, Known({}, 0))
        elif known is None or (known.instance, known.sequence) != (mark.instance, mark.sequence):
            found = find_totals(files, mark.instance, lambda error: recorder.failed(PART, error))
            is_lost = found.sequence < mark.sequence
            if is_lost:
                recorder.dropped.inc((PART, "totals_lost"))
                found = Known({}, mark.sequence)
            known = InstanceTotals(mark.instance, found, counts_from_zero=not is_lost)
        self._totals = known
        return known

    def _note_jump(self, wall: float) -> None:
        offset, before = wall - clock.monotonic(), self._offset
        self._offset = offset
        if before is not None and abs(offset - before) > self._every / 2:
            seconds = round(offset - before, 3)
            message = f"the machine's clock was set {'forward' if seconds > 0 else 'back'} by {abs(seconds):g} s"
            recorder.emit(events.HISTORY_CLOCK.event(message, {"seconds": seconds}))

    # The folder

    def _slot_or_open(self) -> SeriesSlot | None:
        slot, files = self._slot, self._files
        if slot is not None and files is not None and slot.is_held and not files.folder.is_symlink():
            return slot
        self._leave()
        folder = self._open_folder()
        if folder is None:
            return None
        files = self._make_files(folder)
        lock, number = files.claim_slot(clock.wall(), self._tell_of_refused)
        self._files, self._slot = files, SeriesSlot(lock, number, files, self._tell_of_file)
        self._last = max(self._last, self._slot.last_at())
        if (kind := goes_with(folder)) is not None:
            message = (
                f"{folder} is on {kind}, so the history goes with the container, or when the machine starts anew: keep "
                f"it on a volume, such as `docker run -v history:{folder}`"
            )
            self._tell("folder", message, "ephemeral", level="INFO")
        return self._slot

    def _leave(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.close()

    def _tend(self, slot: SeriesSlot, files: SeriesFiles, until: int) -> None:
        """
        Do what is done each minute; none of it waits for another that fails.
        """
        self._tended = until
        is_fine = self._try("longer steps", lambda: roll_up(slot, files, until))
        at, own = self._last, self._workers.folder()
        self._try("figures of ended servers", lambda: take_ended(self._collector, files, slot, at, own))
        self._roll_up_dead_slots(slot, files, until)
        self._try("files that are no longer kept", lambda: self._trim(files))
        if not is_fine:
            self._leave()  # another slot may have files that can be used

    def _try(self, what: str, work: Callable[[], object]) -> bool:
        try:
            work()
        except _PROBLEMS as error:
            recorder.errors.inc(PART)
            self._tell(what, f"{what} have to wait: {error}", "unusable")
            return False
        self._note_well(what)
        return True

    def _trim(self, files: SeriesFiles) -> None:
        if leads():
            finest, *longer = files.by_step.values()
            # Single requests go before what adds them up, and what is rare goes last.
            others = self._kinds(files.folder)
            kept = trim([finest, *others[:1], *longer, *others[1:]], files.max_bytes, clock.wall())
            if not kept.fits:
                recorder.dropped.inc((PART, "max_bytes"))

    def _roll_up_dead_slots(self, slot: SeriesSlot, files: SeriesFiles, until: int) -> None:
        """
        Put together what dead samplers have left, in slots that nobody has taken since.
        """
        for number in files.slots() - {slot.number}:
            found = [it for kind in files.by_step.values() for it in kind.files() if it.writer == str(number)]
            seen = frozenset((it.path, until // HOUR_SECONDS) for it in found)
            if self._swept.get(number) != seen:
                self._try(
                    f"longer steps of slot {number}", partial(self._roll_up_dead_slot, number, seen, files, until)
                )

    def _roll_up_dead_slot(
        self, number: int, seen: frozenset[tuple[Path, int]], files: SeriesFiles, until: int
    ) -> None:
        if (lock := files.take_slot(number)) is None:
            return
        self._swept[number] = seen
        dead = SeriesSlot(lock, number, files, self._tell_of_file)
        try:
            roll_up(dead, files, until)
        finally:
            dead.close()

    # What is told

    def _tell_of_file(self, problem: str, what: str) -> None:
        if problem == "damaged":
            self._tell(problem, f"a file of the history was damaged, and is now {what}", problem)

    def _tell_of_refused(self, path: Path) -> None:
        recorder.errors.inc(PART)
        self._tell(
            str(path), f"{path} is none of ours, or of a newer version: figures go to files beside it", "unusable"
        )

    def _tell(self, about: str, message: str, problem: str, *, level: str = "WARNING") -> None:
        """
        Emit what is to be known of something once, until there is another message of it, or it is well again.
        """
        if (about, message) not in self._told:
            recorder.emit(events.HISTORY_STATE.event(message, {"problem": problem}, level=level))
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
        self._told[about, message] = clock.monotonic()

    def _note_well(self, about: str) -> None:
        """
        Forget what was said of something that has been well for a while: on a disk that is full, now and then a little
        can be stored.
        """
        long_ago = clock.monotonic() - _WELL_SECONDS
        for told in [told for told, at in self._told.items() if told[0] == about and at <= long_ago]:
            del self._told[told]
