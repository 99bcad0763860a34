"""
Metrics of HTTP requests.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

from obskit.catalogue import http
from obskit.metrics.cells import HistogramCell, LockLike, ObservationBuffer, Values
from obskit.metrics.family import CountedHistogram, Gauge
from obskit.operation import OTHER, HttpOperation
from obskit.recorder import Step, no_op
from obskit.sinks.metrics_by_kind.binding import Binding

_SOCKET = "asks_for_websocket"  # such a request may last for hours as a WebSocket: it is not counted as in progress
FAILED_STATUS = 500
ALL = -1.0  # seconds that every request takes
_STATUS = {status: str(status) for status in range(100, 600)}


class Watch:
    """
    Which requests somebody looks at: of a failed status all, of others the slow ones, and of each method, endpoint and
    status some that are ordinary until `open()` is called again.

    Args:
        ordinary: How many of each.
        together: How many at most of all of them.

    Attributes:
        look: Called with each of them.
        slow_seconds: From how long on one is slow.
    """

    def __init__(
        self, look: Step = no_op, slow_seconds: float = inf, *, ordinary: int = 1, together: float = inf
    ) -> None:
        self.look, self.slow_seconds = look, slow_seconds
        self._most, self._together = ordinary, together
        self._looked_at: Tally[tuple[str, str, int]] = Tally()
        self.on_open: Callable[[], object] = lambda: None

    def above(self, key: tuple[str, str, int], *, is_within_cap: bool) -> float:
        """
        Return from how many seconds on requests of a method, endpoint and status are looked at.
        """
        if self.look is no_op:
            return inf
        is_ordinary_due = is_within_cap and self._looked_at[key] < self._most and not self._is_full()
        return ALL if key[2] >= FAILED_STATUS or is_ordinary_due else self.slow_seconds

    def note(self, key: tuple[str, str, int]) -> bool:
        """
        Note an ordinary request; return whether it is to be looked at, since there were not enough of all before.
        """
        if self._is_full():
            return False
        self._looked_at[key] += 1
        return True

    def _is_full(self) -> bool:
        return self._together < inf and self._looked_at.total() >= self._together

    def open(self) -> None:
        """
        Look at one ordinary request of each kind again.
        """
        self._looked_at.clear()
        self.on_open()


class _RequestCells(dict[tuple[str, str, int], tuple[LockLike, Values, Sequence[float], float]]):
    """
    The cells of requests, as lock, values, edges and when they are looked at, by method, endpoint and status.

    Only label sets within the cap are cached.
    """

    def __init__(self, requests: CountedHistogram, watch: Watch) -> None:
        self._requests = requests
        self._watch = watch

    def __missing__(self, key: tuple[str, str, int]) -> tuple[LockLike, Values, Sequence[float], float]:
        method, endpoint, status = key
        cell = self._requests.cell((method, endpoint, _STATUS.get(status, OTHER)))
        is_within_cap = status in _STATUS and self._requests.is_within_cap(method, endpoint)
        found = cell.lock, cell.attach(), cell.edges, self._watch.above(key, is_within_cap=is_within_cap)
        if is_within_cap:
            self[key] = found
        return found


class _RequestBuffers(dict[tuple[str, str, int], ObservationBuffer]):
    """
    The buffers of requests' durations, by the same key.
    """

    def __init__(self, requests: CountedHistogram) -> None:
        self._requests = requests
        self.watch = Watch()
        self._buffers: dict[HistogramCell, ObservationBuffer] = {}

    def __missing__(self, key: tuple[str, str, int]) -> ObservationBuffer:
        method, endpoint, status = key
        cell = self._requests.cell((method, endpoint, _STATUS.get(status, OTHER)))
        found = self._buffers.setdefault(cell, ObservationBuffer(cell))
        is_within_cap = status in _STATUS and self._requests.is_within_cap(method, endpoint)
        found.above = self.watch.above(key, is_within_cap=is_within_cap)
        if is_within_cap:
            self[key] = found
        return found

    def flush(self) -> None:
        """
        Flush all buffers.
        """
        for buffer in list(self._buffers.values()):
            if buffer:
                buffer.flush()

    def clear(self) -> None:
        """
        Drop all buffers.
        """
        super().clear()
        self._buffers.clear()


class _InProgressCells(dict[str, tuple[LockLike, Values]]):
    """
    The cells of requests in progress, as lock and values, by method, of which there are few.
    """

    def __init__(self, in_progress: Gauge) -> None:
        self._in_progress = in_progress

    def __missing__(self, method: str) -> tuple[LockLike, Values]:
        cell = self._in_progress.cell((method,))
        found = self[method] = cell.lock, cell.attach()
        return found


def _clear(*known: dict[Any, Any]) -> None:
    for them in known:
        them.clear()


class RequestMetrics:
    """
    The metrics of requests; other workers may read them, which the first request resolves.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._live: set[HttpOperation] = set()
        self._watch = Watch()
        self._http: tuple[CountedHistogram, _RequestBuffers, Gauge, Step, Callable[[Step], Step]] | None = None

    def watch(self, watch: Watch) -> None:
        """
        Have requests looked at; before they are bound.
        """
        self._watch = watch

    def forget_live(self) -> None:
        """
        Drop the requests of the parent, in a forked child.
        """
        self._live.clear()

    def bind(self) -> tuple[Step, Step]:
        """
        Return the steps for requests: other ones where other workers read the values, which the first request resolves.
        """
        requests, buffers, in_progress, rest, with_sizes = self._http = self._http or self._http_families()
        live, discard, most = self._live, self._live.discard, ObservationBuffer.CAPACITY
        watch, slow_seconds = self._watch, self._watch.slow_seconds
        cells, in_progress_cells = _RequestCells(requests, watch), _InProgressCells(in_progress)
        requests.on_clear = partial(_clear, cells, buffers)
        buffers.watch, watch.on_open = watch, partial(_forget_keys, cells, buffers)

        def look(op: HttpOperation) -> None:
            if op.duration_seconds <= slow_seconds and op.status < FAILED_STATUS:
                if op.sparse is not None and (op.exception is not None or op.aborted):
                    return  # `rest()` looks at it
                key = op.method, op.endpoint, op.status
                is_wanted = watch.note(key)
                cells.pop(key, None)  # the next one finds anew when they are looked at
                dict.pop(buffers, key, None)
                if not is_wanted:
                    return
            watch.look(op)

        failed = self._binding.recorder.failed
        workers = self._binding.workers

        def first(op: HttpOperation) -> None:
            workers.resolve()
            (begin if workers.are_shared else live.add)(op)

        def begin(op: HttpOperation) -> None:
            try:
                if op.sparse is not None and _SOCKET in op.sparse:
                    return
                lock, values = in_progress_cells[op.method]
                with lock:
                    values[0] += 1.0
            except Exception as error:
                failed("metrics", error)

        def finish(op: HttpOperation) -> None:
            try:
                discard(op)
                sparse = op.sparse
                if sparse is not None and sparse.get("upgraded"):
                    return
                seconds = op.duration_seconds
                buffer = buffers[op.method, op.endpoint, op.status]
                buffer.append(seconds)
                if len(buffer) > most:
                    buffer.flush()
                if seconds > buffer.above:
                    look(op)
                if sparse is not None:
                    rest(op)
            except Exception as error:
                failed("metrics", error)

        # Inlined, since every request pays for it.
        def finish_shared(op: HttpOperation) -> None:
            try:
                if live and op in live:  # it began before that was resolved
                    discard(op)
                elif op.sparse is None or _SOCKET not in op.sparse:
                    lock, values = in_progress_cells[op.method]
                    with lock:
                        values[0] -= 1.0
                sparse = op.sparse
                if sparse is not None and sparse.get("upgraded"):
                    return
                seconds = op.duration_seconds
                lock, values, edges, above = cells[op.method, op.endpoint, op.status]
                index = bisect_left(edges, seconds)
                with lock:
                    values[index] += 1.0
                    values[1] += seconds
                    values[0] += 1.0  # in this order: see `metrics/reader.py`
                if seconds > above:
                    look(op)
                if sparse is not None:
                    rest(op)
            except Exception as error:
                failed("metrics", error)

        if not workers.is_resolved:
            return first, with_sizes(finish_shared)
        return (begin, with_sizes(finish_shared)) if workers.are_shared else (live.add, with_sizes(finish))

    def _look_at_sparse(self, op: HttpOperation) -> None:
        """
        Look at a request that went wrong, where neither its status nor its duration has shown it.
        """
        watch = self._watch
        if op.status < FAILED_STATUS and op.duration_seconds <= watch.slow_seconds:
            watch.look(op)

    def _http_families(self) -> tuple[CountedHistogram, _RequestBuffers, Gauge, Step, Callable[[Step], Step]]:
        """
        Create the families of requests; return them, and functions for what few requests have or settings add.
        """
        binding, live = self._binding, self._live
        bounds = binding.settings.http_buckets
        requests = binding.collector.add(
            CountedHistogram(binding.bounds.with_bounds(http.DURATION, bounds), http.REQUESTS)
        )
        first_byte = binding.histogram(http.FIRST_BYTE, bounds)
        exceptions, aborted = binding.counter(http.EXCEPTIONS), binding.counter(http.ABORTED)
        in_progress, buffers = binding.gauge(http.IN_PROGRESS), _RequestBuffers(requests)

        def rest(op: HttpOperation) -> None:
            if op.first_byte_seconds is not None:
                first_byte.cell((op.method, op.endpoint)).observe(op.first_byte_seconds)
            if op.exception is not None:
                exceptions.cell((op.endpoint, op.exception)).inc()
                self._look_at_sparse(op)
            if op.aborted:
                aborted.cell((op.endpoint,)).inc()
                if op.exception is None:
                    self._look_at_sparse(op)
            if op.sampled:
                key = (op.method, op.endpoint, _STATUS.get(op.status, OTHER))
                requests.record_exemplar(key, op.duration_seconds, op.trace_id, binding.recorder.wall_clock())

        def refresh() -> None:
            """
            Flush the buffers, and set the gauge of requests in progress; a method that was seen once stays, at 0.
            """
            buffers.flush()
            if not binding.workers.are_shared:
                begun = live.copy()  # in one step, which no thread interrupts
                tally = Tally(op.method for op in begun if op.sparse is None or _SOCKET not in op.sparse)
                seen = *requests.items(), *in_progress.items()  # the latter has methods of WebSockets only
                for method in tally.keys() | {key[0] for key, _ in seen}:
                    in_progress.cell((method,)).set(tally[method])

        binding.collector.refresh.append(refresh)
        with_sizes = _sizes(binding) if binding.settings.size_metrics else lambda finish: finish
        return requests, buffers, in_progress, rest, with_sizes


def _forget_keys(*known: dict[Any, Any]) -> None:
    for them in known:
        dict.clear(them)  # the buffers themselves stay


def _sizes(binding: Binding) -> Callable[[Step], Step]:
    request, response = binding.histogram(http.REQUEST_SIZE), binding.histogram(http.RESPONSE_SIZE)

    def with_sizes(finish: Step) -> Step:
        def finish_with_sizes(op: HttpOperation) -> None:
            finish(op)
            if op.sparse is not None and op.upgraded:
                return
            try:
                declared = op.header("content-length") or "0"
                request.cell((op.method, op.endpoint)).observe(int(declared) if declared.isdecimal() else 0)
                response.cell((op.method, op.endpoint)).observe(op.bytes_sent)
            except Exception as error:
                binding.recorder.failed("metrics", error)

        return finish_with_sizes

    return with_sizes
