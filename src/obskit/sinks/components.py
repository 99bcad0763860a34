"""
The sinks of a runtime, as its settings ask for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from obskit.catalogue import events
from obskit.components import Assembly, Component
from obskit.db.query_watch import QueryWatch
from obskit.db.settings import DatabaseSettings
from obskit.history.settings import HistorySettings, rate_of
from obskit.integrations.settings import RequestSettings
from obskit.logs.console import is_terminal
from obskit.logs.line_settings import LineSettings
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor
from obskit.sinks.ai_calls_sink import AiCallsSink
from obskit.sinks.log_sink import LogSink
from obskit.sinks.request_hook import RequestHook
from obskit.sinks.sink_settings import MetricsSinkSettings, SpanSinkSettings
from obskit.sinks.totals_sink import TotalsSink
from obskit.sinks.tracer_provider import provider_of
from obskit.time.clock import Deadline, clock
from obskit.workers.candidates import is_candidate

if TYPE_CHECKING:
    from obskit.storage.periods import PeriodFiles

ON_TERMINAL_PER_SECOND = 20  # ordinary requests: who tries something out sees each of them


def request_hook(assembly: Assembly) -> None:
    """
    Add the application's `request_hook`, which sees each operation before the other sinks do.
    """
    hook = assembly.settings.of(RequestSettings).request_hook
    if hook is not None:
        assembly.sinks.append(RequestHook(hook))


def queries(assembly: Assembly) -> None:
    """
    Add what watches queries.
    """
    assembly.sinks.append(QueryWatch(assembly.settings.of(DatabaseSettings)))


def totals(assembly: Assembly) -> None:
    """
    Add the totals of requests.
    """
    assembly.sinks.append(TotalsSink())


def ai_calls(assembly: Assembly) -> None:
    """
    Add the store of AI calls.
    """
    assembly.sinks.append(AiCallsSink())


def spans(assembly: Assembly) -> None:
    """
    Add spans, where there is somebody to take them. They are exported in the background, so SIGTERM drains them.
    """
    settings = assembly.settings.of(SpanSinkSettings)
    provider = provider_of(settings)
    if provider is None:
        return
    from obskit.sinks.span_sink import span_sink

    sink = span_sink(settings, recorder, provider)
    if sink is not None:
        assembly.sinks.append(sink)
        assembly.part("logs").writer.enable_span_ids()
        assembly.part("drain").watch()


def metrics(assembly: Assembly) -> None:
    """
    Add metrics, where they are on.
    """
    collection = assembly.part("metrics")
    if collection is not None:
        from obskit.sinks.metrics_sink import MetricsSink

        settings = assembly.settings.of(MetricsSinkSettings)
        assembly.sinks.append(MetricsSink(settings, collection.collector, collection.workers, recorder))


class Records(Component):
    """
    The records of this process, where the history is on.
    """

    name = "records"

    def __init__(self, assembly: Assembly) -> None:
        from obskit.history.folder import opener
        from obskit.history.record_slot import record_files
        from obskit.history.record_writer import RecordWriter
        from obskit.sinks.kept_reports import KeptReports
        from obskit.sinks.metrics_by_kind.requests import Watch
        from obskit.sinks.metrics_sink import MetricsSink
        from obskit.sinks.records import SLOW_SECONDS, RecordsSink

        settings, lines = assembly.settings.of(HistorySettings), assembly.settings.of(LineSettings)
        state = assembly.part("workers").open_state_folder
        self._collector = assembly.part("metrics").collector
        open_folder = opener(settings.history_dir, lines.service, state)
        keep, most = settings.history_keep, settings.history_max_bytes

        def make_files(folder: Path) -> Mapping[str, PeriodFiles]:
            return record_files(folder, keep, most)

        self._writer = RecordWriter(open_folder, make_files, _tell_of_file, is_candidate)
        self._reports = KeptReports(self._writer, open_folder, make_files)
        slow_seconds = SLOW_SECONDS if lines.slow_request_ms is None else lines.slow_request_ms / 1000
        redactor = Redactor(lines.redact_keys, lines.redact_values)
        name_user = str if settings.history_users == "plain" else _user_hasher(open_folder)
        sink = RecordsSink(self._writer, redactor, slow_seconds, name_user)
        (ordinary, every_seconds), together = rate_of(settings.history_keep_ordinary), inf
        if "history_keep_ordinary" not in assembly.settings.given and is_terminal(sys.stderr):
            ordinary = together = ON_TERMINAL_PER_SECOND
            every_seconds = 1.0
        watch = Watch(sink.look, slow_seconds, ordinary=ordinary, together=together)
        [metrics] = [one for one in assembly.sinks if isinstance(one, MetricsSink)]
        metrics.watch_requests(watch)
        assembly.sinks.append(sink)
        self._writer.each_second.append(_each(every_seconds, watch.open))
        if lines.version is not None:
            self._writer.first.append(partial(_tell_of_version, open_folder, lines.version, self._writer.flush))

    def start(self) -> None:
        """
        Write from the moment on that this process serves, and let reports read what is written.
        """
        self._reports.open()
        self._writer.start()
        self._collector.refresh.append(self._writer.ensure_running)

    def stop(self, deadline: Deadline) -> None:
        """
        Store what waits.
        """
        self._reports.close()
        self._writer.stop(deadline)

    def after_fork(self) -> None:
        """
        Write for oneself.
        """
        self._writer.start_over()


def _user_hasher(open_folder: Callable[[], Path | None]) -> Callable[[str], str]:
    keys: list[bytes] = []

    def hash_user(user: str) -> str:
        from obskit.history.record_users import hashed_user, users_key

        if not keys:
            folder = open_folder()
            if folder is None:
                raise OSError("there is no folder for the key by which users are named in records")
            keys.append(users_key(folder))
        return hashed_user(keys[0], user)

    return hash_user


def _tell_of_version(open_folder: Callable[[], Path | None], version: str, store: Callable[[], bool]) -> None:
    from obskit.history.last_version import version_before

    folder = open_folder()
    if folder is None:
        return
    with version_before(folder, version) as before:
        if before is not None:
            fields = {"version": version, "version_before": before}
            recorder.emit(events.DEPLOY.event(f"version {version} serves, {before} was before", fields))
            if not store():
                raise OSError("the event of a new version could not be stored")


def _each(seconds: float, call: Callable[[], object]) -> Callable[[], None]:
    """
    Return what calls something at most once in so many seconds, however often it is called itself.
    """
    last = [clock.monotonic()]

    def each() -> None:
        now = clock.monotonic()
        if now - last[0] >= seconds:
            last[0] = now
            call()

    return each


def _tell_of_file(problem: str, what: str) -> None:
    if problem == "damaged":
        message = f"a file of records was damaged, and is now {what}"
        recorder.emit(events.HISTORY_STATE.event(message, {"problem": problem}, level="WARNING"))


def records(assembly: Assembly) -> Records | None:
    """
    Return the records, where the history is on; without metrics that is a mistake, which the history tells.
    """
    is_on = assembly.settings.of(HistorySettings).history and assembly.part("metrics") is not None
    return Records(assembly) if is_on else None


def lines(assembly: Assembly) -> None:
    """
    Add lines of requests, jobs and events.
    """
    assembly.sinks.append(LogSink(assembly.part("logs").writer))
