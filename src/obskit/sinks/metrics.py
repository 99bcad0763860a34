"""
Count operations: labels come from their fields, families from the catalogue.
"""

from __future__ import annotations

import os
import weakref
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import replace

from obskit._version import __version__
from obskit.catalogue import db, function, http
from obskit.catalogue import self as own
from obskit.db.operation import DbOperation
from obskit.metrics.cells import HistogramCell
from obskit.metrics.family import CountedHistogram, Counter, Histogram
from obskit.metrics.store import MetricStore
from obskit.observation import FunctionOperation
from obskit.operation import OTHER, Event, HttpOperation, Operation
from obskit.recorder import Recorder, Step
from obskit.settings import Settings

_STATUS = {status: str(status) for status in range(100, 600)}

_sinks: weakref.WeakSet[MetricsSink] = weakref.WeakSet()


def _by_method(live: set[HttpOperation], seen: set[str]) -> dict[tuple[str, ...], float]:
    """
    Count the requests that have begun and not ended; a method that was seen once stays, at 0.

    A set's own copy is one step that no thread can come between.
    """
    tally = Tally(op.method for op in live.copy())
    seen.update(tally)
    return {(method,): float(tally[method]) for method in seen}


class _HttpCells(dict[tuple[str, str, int], HistogramCell]):
    """
    Find the cell of a request by what it has, status as a number; only label sets within the cap are kept.
    """

    def __init__(self, requests: CountedHistogram, seen: set[str]) -> None:
        self._requests = requests
        self._seen = seen

    def __missing__(self, key: tuple[str, str, int]) -> HistogramCell:
        method, endpoint, status = key
        self._seen.add(method)
        cell = self._requests.cell((method, endpoint, _STATUS.get(status, OTHER)))
        if status in _STATUS and self._requests.holds(method, endpoint):
            self[key] = cell
        return cell


class MetricsSink:
    """
    Put operations into the cells of a store.
    """

    name = "metrics"
    guards = True

    def __init__(self, settings: Settings, store: MetricStore, recorder: Recorder) -> None:
        self._settings = settings
        self._store = store
        self._recorder = recorder
        self._live: set[HttpOperation] = set()
        self._binders: dict[type[Operation], Callable[[], tuple[Step | None, Step | None]]] = {
            HttpOperation: self._bind_http,
            FunctionOperation: self._bind_function,
            DbOperation: self._bind_db,
        }
        info = (settings.service, settings.version or "", settings.environment or "", __version__)
        store.add_pulled(own.BUILD_INFO, lambda: {info: 1.0})
        store.add_pulled(own.ERRORS, lambda: {(part,): n for part, n in recorder.errors.copy().items()})
        store.add_pulled(own.DROPPED, lambda: {key: n for key, n in recorder.dropped.copy().items()})
        store.add_pulled(own.LABEL_SETS, store.label_sets)
        store.add_pulled(own.OVERFLOW, store.overflowed)
        _sinks.add(self)

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Make the families of this kind, and the functions that update them.
        """
        binder = self._binders.get(kind)
        return binder() if binder else (None, None)

    def _bind_http(self) -> tuple[Step, Step]:
        add, bounds = self._store.add, self._settings.http_buckets
        requests = add(CountedHistogram(replace(http.DURATION, buckets=bounds), http.REQUESTS))
        first_byte = add(Histogram(replace(http.FIRST_BYTE, buckets=bounds)))
        exceptions = add(Counter(http.EXCEPTIONS))
        aborted = add(Counter(http.ABORTED))
        live = self._live
        seen: set[str] = set()
        self._store.add_pulled(http.IN_PROGRESS, lambda: _by_method(live, seen))
        cells = _HttpCells(requests, seen)
        requests.forget = cells.clear
        failed = self._recorder.failed

        # Written out, since every request pays for it: each call that is saved here is a tenth of it.
        def finish(op: HttpOperation) -> None:
            try:
                live.discard(op)
                seconds = op.duration_seconds
                cell = cells[op.method, op.endpoint, op.status]
                index = bisect_left(bounds, seconds)
                with cell.lock:
                    cell.buckets[index] += 1
                    cell.sum += seconds
                if op.rare is not None:
                    finish_rare(op)
            except Exception as error:
                failed("metrics", error)

        def finish_rare(op: HttpOperation) -> None:
            if op.first_byte_seconds is not None:
                first_byte.cell((op.method, op.endpoint)).observe(op.first_byte_seconds)
            if op.exception is not None:
                exceptions.cell((op.endpoint, op.exception)).inc()
            if op.aborted:
                aborted.cell((op.endpoint,)).inc()

        return live.add, self._with_sizes(finish) if self._settings.size_metrics else finish

    def _with_sizes(self, finish: Callable[[HttpOperation], None]) -> Callable[[HttpOperation], None]:
        request = self._store.add(Histogram(http.REQUEST_SIZE))
        response = self._store.add(Histogram(http.RESPONSE_SIZE))

        def finish_with_sizes(op: HttpOperation) -> None:
            finish(op)
            declared = op.header("content-length") or "0"
            request.cell((op.method, op.endpoint)).observe(int(declared) if declared.isdecimal() else 0)
            response.cell((op.method, op.endpoint)).observe(op.bytes_sent)

        return finish_with_sizes

    def _bind_function(self) -> tuple[None, Step]:
        duration = self._store.add(Histogram(function.DURATION))

        def finish(op: FunctionOperation) -> None:
            duration.cell((op.function, op.outcome)).observe(op.duration_seconds)

        return None, finish

    def _bind_db(self) -> tuple[None, Step]:
        duration = self._store.add(Histogram(replace(db.DURATION, buckets=self._settings.db_buckets)))
        errors = self._store.add(Counter(db.ERRORS))

        def finish(op: DbOperation) -> None:
            key = (op.system, op.table, op.operation)
            duration.cell(key).observe(op.duration_seconds)
            if op.error is not None:
                errors.cell((*key, op.error)).inc()

        return None, finish

    def emit(self, event: Event) -> None:
        """
        Count nothing: events that have a metric keep it themselves.
        """

    def flush(self) -> None:
        """
        Have nothing queued.
        """

    def close(self) -> None:
        """
        Leave the registry.
        """
        self._store.close()

    def start_over(self) -> None:
        """
        Forget what the parent of a forked process has begun, failed at and dropped.
        """
        self._live.clear()
        self._recorder.errors.clear()
        self._recorder.dropped.clear()


def _start_over_in_child() -> None:
    for sink in list(_sinks):
        sink.start_over()


os.register_at_fork(after_in_child=_start_over_in_child)
