"""
The metrics sink: updates metrics from operations; labels come from their fields, families from the catalogue.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from obskit._version import __version__
from obskit.ai.ai_operation import AiOperation
from obskit.ai.rate_limit_headers import KINDS, LimitFigures, latest_rate_limits
from obskit.catalogue import ai, db, events, function, health, http
from obskit.catalogue import internal as own
from obskit.catalogue import pools as pool_rows
from obskit.db.database import QueryLabels
from obskit.db.db_operation import DbOperation
from obskit.db.pools import TIMEOUT, ConnectionUse, ConnectionWait, pools
from obskit.health.check_operation import CheckOperation
from obskit.metrics.bucket_bounds import BucketBounds
from obskit.metrics.cells import HistogramCell, LockLike, ObservationBuffer, Values, edges_of
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import CountedHistogram, Counter, Gauge, Histogram
from obskit.metrics.workers import Workers
from obskit.observation import FunctionOperation
from obskit.operation import OTHER, Event, HttpOperation, Operation
from obskit.recorder import Recorder, Sink, Step
from obskit.sinks.scrape_time import add_scrape_time_metrics
from obskit.sinks.sink_settings import MetricsSinkSettings

# An application may let its users name models; every other label of AI calls is bounded by its code.
MAX_MODELS = 50
# What lies in `sparse` and has a metric: a call in a trace has its ids there, and most have nothing of this.
_SPARSE_WITH_METRICS = frozenset(("error", "failed_attempts", "retry_wait_seconds", "aborted", "first_chunk_seconds"))
_TOKEN_KINDS = ("input", "cache_read", "cache_write", "output")
_HEALTH = {"pass": 1.0, "warn": 0.5, "fail": 0.0}
_SOCKET = "asks_for_websocket"  # such a request may last for hours as a WebSocket: it is not counted as in progress
_STATUS = {status: str(status) for status in range(100, 600)}


class _RequestCells(dict[tuple[str, str, int], tuple[LockLike, Values]]):
    """
    The cells of requests, as lock and values, by method, endpoint and status as a number.

    Only label sets within the cap are cached.
    """

    def __init__(self, requests: CountedHistogram) -> None:
        self._requests = requests

    def __missing__(self, key: tuple[str, str, int]) -> tuple[LockLike, Values]:
        method, endpoint, status = key
        cell = self._requests.cell((method, endpoint, _STATUS.get(status, OTHER)))
        found = cell.lock, cell.attach()
        if status in _STATUS and self._requests.is_within_cap(method, endpoint):
            self[key] = found
        return found


class _RequestBuffers(dict[tuple[str, str, int], ObservationBuffer]):
    """
    The buffers of requests' durations, by the same key.
    """

    def __init__(self, requests: CountedHistogram) -> None:
        self._requests = requests
        self._buffers: dict[HistogramCell, ObservationBuffer] = {}

    def __missing__(self, key: tuple[str, str, int]) -> ObservationBuffer:
        method, endpoint, status = key
        cell = self._requests.cell((method, endpoint, _STATUS.get(status, OTHER)))
        found = self._buffers.setdefault(cell, ObservationBuffer(cell))
        if status in _STATUS and self._requests.is_within_cap(method, endpoint):
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


class _Models(dict[str, str]):
    """
    The label `model`: the first MAX_MODELS models have their own, all others share one.
    """

    def __missing__(self, model: str) -> str:
        if len(self) >= MAX_MODELS:
            return OTHER
        self[model] = model
        return model


def _clear(*known: dict[Any, Any]) -> None:
    for them in known:
        them.clear()


def _counter_updater(counter: Counter) -> Callable[[Any, int], object]:
    return lambda key, amount: counter.cell(key if isinstance(key, tuple) else (key,)).inc(amount)


class MetricsSink(Sink):
    """
    Updates a collector's metrics from operations and events.
    """

    name = "metrics"
    wants = frozenset[str]()
    guards = True

    def __init__(
        self, settings: MetricsSinkSettings, collector: MetricCollector, workers: Workers, recorder: Recorder
    ) -> None:
        self._settings = settings
        self._collector = collector
        self._with_bounds = BucketBounds(settings.metric_buckets).with_bounds
        self._workers = workers
        self._recorder = recorder
        self._live: set[HttpOperation] = set()
        # Not in the gauges yet, by provider and kind.
        self._limits: dict[tuple[str, int], tuple[LimitFigures, float]] = {}
        self._http: tuple[CountedHistogram, _RequestBuffers, Gauge, Step, Callable[[Step], Step]] | None = None
        self._health_status: Gauge | None = None
        self._binders: dict[type[Operation], Callable[[], tuple[Step | None, Step | None]]] = {
            HttpOperation: self._bind_http,
            FunctionOperation: self._bind_function,
            DbOperation: self._bind_db,
            AiOperation: self._bind_ai,
            ConnectionWait: self._bind_waits,
            ConnectionUse: self._bind_uses,
            CheckOperation: self._bind_check,
        }
        self._n_plus_one = collector.add(Counter(db.N_PLUS_ONE))
        info = (settings.service, settings.version or "", settings.environment or "", __version__)
        collector.add_scrape_time(own.BUILD_INFO, lambda: {info: 1.0})
        add_scrape_time_metrics(collector, workers)
        recorder.errors.subscribe(_counter_updater(collector.add(Counter(own.ERRORS))))
        recorder.dropped.subscribe(_counter_updater(collector.add(Counter(own.DROPPED))))
        # The first request resolves whose worker this is; the plan is then rebound to what that needs.
        workers.on_resolved = lambda: recorder.rebind(HttpOperation)

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Create the families of this kind; return the functions that update them.
        """
        binder = self._binders.get(kind)
        return binder() if binder else (None, None)

    def _bind_http(self) -> tuple[Step, Step]:
        """
        Return the steps for requests: other ones where other workers read the values, which the first request resolves.
        """
        requests, buffers, in_progress, rest, with_sizes = self._http = self._http or self._http_families()
        live, discard, most = self._live, self._live.discard, ObservationBuffer.CAPACITY
        cells, in_progress_cells = _RequestCells(requests), _InProgressCells(in_progress)
        requests.on_clear = partial(_clear, cells, buffers)
        failed, edges = self._recorder.failed, edges_of(requests.spec.buckets)

        def first(op: HttpOperation) -> None:
            self._workers.resolve()
            (begin if self._workers.are_shared else live.add)(op)

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
                buffer = buffers[op.method, op.endpoint, op.status]
                buffer.append(op.duration_seconds)
                if len(buffer) > most:
                    buffer.flush()
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
                lock, values = cells[op.method, op.endpoint, op.status]
                index = bisect_left(edges, seconds)
                with lock:
                    values[index] += 1.0
                    values[1] += seconds
                    values[0] += 1.0  # in this order: see `metrics/reader.py`
                if sparse is not None:
                    rest(op)
            except Exception as error:
                failed("metrics", error)

        if not self._workers.is_resolved:
            return first, with_sizes(finish_shared)
        return (begin, with_sizes(finish_shared)) if self._workers.are_shared else (live.add, with_sizes(finish))

    def _http_families(self) -> tuple[CountedHistogram, _RequestBuffers, Gauge, Step, Callable[[Step], Step]]:
        """
        Create the families of requests; return them, and functions for what few requests have or settings add.
        """
        add, bounds = self._collector.add, self._settings.http_buckets
        requests = add(CountedHistogram(self._with_bounds(http.DURATION, bounds), http.REQUESTS))
        first_byte = add(Histogram(self._with_bounds(http.FIRST_BYTE, bounds)))
        exceptions, aborted = add(Counter(http.EXCEPTIONS)), add(Counter(http.ABORTED))
        in_progress, live, buffers = add(Gauge(http.IN_PROGRESS)), self._live, _RequestBuffers(requests)

        def rest(op: HttpOperation) -> None:
            if op.first_byte_seconds is not None:
                first_byte.cell((op.method, op.endpoint)).observe(op.first_byte_seconds)
            if op.exception is not None:
                exceptions.cell((op.endpoint, op.exception)).inc()
            if op.aborted:
                aborted.cell((op.endpoint,)).inc()
            if op.sampled:
                key = (op.method, op.endpoint, _STATUS.get(op.status, OTHER))
                requests.record_exemplar(key, op.duration_seconds, op.trace_id, self._recorder.wall_clock())

        def refresh() -> None:
            """
            Flush the buffers, and set the gauge of requests in progress; a method that was seen once stays, at 0.
            """
            buffers.flush()
            if not self._workers.are_shared:
                begun = live.copy()  # in one step, which no thread interrupts
                tally = Tally(op.method for op in begun if op.sparse is None or _SOCKET not in op.sparse)
                seen = *requests.items(), *in_progress.items()  # the latter has methods of WebSockets only
                for method in tally.keys() | {key[0] for key, _ in seen}:
                    in_progress.cell((method,)).set(tally[method])

        self._collector.refresh.append(refresh)
        with_sizes = self._sizes() if self._settings.size_metrics else lambda finish: finish
        return requests, buffers, in_progress, rest, with_sizes

    def _sizes(self) -> Callable[[Step], Step]:
        request = self._collector.add(Histogram(self._with_bounds(http.REQUEST_SIZE)))
        response = self._collector.add(Histogram(self._with_bounds(http.RESPONSE_SIZE)))

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
                    self._recorder.failed("metrics", error)

            return finish_with_sizes

        return with_sizes

    def _bind_function(self) -> tuple[None, Step]:
        duration, failed = self._collector.add(Histogram(self._with_bounds(function.DURATION))), self._recorder.failed

        def finish(op: FunctionOperation) -> None:
            try:
                key = (op.function, op.outcome)
                duration.cell(key).observe(op.duration_seconds)
                if op.sparse is not None and op.sampled:
                    duration.record_exemplar(key, op.duration_seconds, op.trace_id, self._recorder.wall_clock())
            except Exception as error:
                failed("metrics", error)

        return None, finish

    def _bind_db(self) -> tuple[None, Step]:
        duration = self._collector.add(Histogram(self._with_bounds(db.DURATION, self._settings.db_buckets)))
        errors, failed = self._collector.add(Counter(db.ERRORS)), self._recorder.failed
        edges = edges_of(duration.spec.buckets)

        # Inlined, as that of requests. The labels cache the cell: a look-up would be a fifth of the cost.
        def finish(op: DbOperation) -> None:
            try:
                seconds = op.duration_seconds
                labels = op.labels
                lock, values = labels.cell if labels.cell_owner is duration._cells else find(labels)
                index = bisect_left(edges, seconds)
                with lock:
                    values[index] += 1.0
                    values[1] += seconds
                    values[0] += 1.0
                if op.sparse is not None:
                    rest(op, (labels.system, labels.table, labels.operation))
            except Exception as error:
                failed("metrics", error)

        def find(labels: QueryLabels) -> tuple[LockLike, Values]:
            key = (labels.system, labels.table, labels.operation)
            cell = duration.cell(key)
            found = cell.lock, cell.attach()
            if key in duration._cells:  # else it is beyond the cap, and each such update is counted
                labels.cell, labels.cell_owner = found, duration._cells
            return found

        def rest(op: DbOperation, key: tuple[str, str, str]) -> None:
            if op.error is not None:
                errors.cell((*key, op.error)).inc()
            if op.sampled:
                duration.record_exemplar(key, op.duration_seconds, op.trace_id, self._recorder.wall_clock())

        return None, finish

    def _bind_waits(self) -> tuple[None, Step]:
        seconds = self._collector.add(Histogram(self._with_bounds(pool_rows.WAIT, self._settings.db_buckets)))
        timeouts, failed = self._collector.add(Counter(pool_rows.TIMEOUTS)), self._recorder.failed

        def finish(op: ConnectionWait) -> None:
            try:
                seconds.cell((op.pool,)).observe(op.duration_seconds)
                if op.error == TIMEOUT:
                    timeouts.cell((op.pool,)).inc()
            except Exception as error:
                failed("metrics", error)

        return None, finish

    def _bind_ai(self) -> tuple[None, Step]:
        add, buckets = self._collector.add, self._settings.ai_buckets
        duration = add(Histogram(self._with_bounds(ai.DURATION, buckets)))
        first_chunk = add(Histogram(self._with_bounds(ai.FIRST_CHUNK, buckets)))
        requests, attempts = add(Counter(ai.REQUESTS)), add(Counter(ai.ATTEMPTS))
        tokens, cost = add(Counter(ai.TOKENS)), add(Counter(ai.COST))
        estimated_tokens, estimated_cost = add(Counter(ai.ESTIMATED_TOKENS)), add(Counter(ai.ESTIMATED_COST))
        unknown, rest, saved = add(Counter(ai.COST_UNKNOWN)), self._ai_rest(attempts), add(Counter(ai.SAVINGS))
        failed, models = self._recorder.failed, _Models()
        latest_rate_limits.on_reply = self._rate_limits()

        def finish(op: AiOperation) -> None:
            try:
                service, provider, model = key = (op.service, op.provider, models[op.model])
                sparse = op.sparse or {}
                is_call = op.is_call  # else it only reports the usage of an earlier call
                if is_call:
                    duration.cell(key).observe(op.duration_seconds)
                    requests.cell((*key, op.outcome)).inc()
                used, estimated = op.tokens, sparse.get("estimated", False)
                if used is not None:
                    family = estimated_tokens if estimated else tokens
                    for kind, count in zip(_TOKEN_KINDS, used.tokens(), strict=True):
                        if count:
                            family.cell((*key, kind)).inc(count)
                if op.cost_usd is None:
                    unknown.cell((service, model, op.cost_reason or "unknown")).inc()
                elif op.cost_usd:
                    (estimated_cost if estimated else cost).cell((*key, op.endpoint)).inc(op.cost_usd)
                if op.attempts and is_call and sparse.get("error") is None:
                    attempts.cell((service, provider, "ok")).inc()
                if op.savings_usd > 0 and is_call:
                    saved.cell((service, provider)).inc(op.savings_usd)
                if sparse and is_call:
                    if not _SPARSE_WITH_METRICS.isdisjoint(sparse):
                        if op.first_chunk_seconds is not None:
                            first_chunk.cell(key).observe(op.first_chunk_seconds)
                        rest(op)
                    if op.sampled:
                        duration.record_exemplar(key, op.duration_seconds, op.trace_id, self._recorder.wall_clock())
            except Exception as error:
                failed("metrics", error)

        return None, finish

    def _rate_limits(self) -> Callable[[str, Mapping[int, LimitFigures], float], None]:
        """
        Create the gauges of rate limits; return the function that takes each reply's. Where other workers read them it
        sets them at once, else the next scrape does.
        """
        add, workers, latest = self._collector.add, self._workers, self._limits
        limit, remaining = add(Gauge(ai.RATELIMIT_LIMIT)), add(Gauge(ai.RATELIMIT_REMAINING))
        reset, read = add(Gauge(ai.RATELIMIT_RESET)), add(Gauge(ai.RATELIMIT_READ))

        def show(told_of: tuple[str, int], row: LimitFigures, at: float) -> None:
            provider, kind = told_of
            key = provider, KINDS[kind]
            allowed, left, moment = row
            if allowed is not None:
                limit.cell(key).set(allowed)
            if left is not None:
                remaining.cell(key).set(left)
            if moment is not None:
                reset.cell(key).set(max(moment - at, 0.0))
            read.cell(key).set(at)

        def told(provider: str, figures: Mapping[int, LimitFigures], at: float) -> None:
            workers.resolve()
            are_shared = workers.are_shared
            for kind, row in figures.items():
                key = provider, kind
                if are_shared:
                    show(key, row, at)
                elif None in row and key in latest:  # write what this reply does not report first
                    show(key, *latest[key])
                    latest[key] = row, at
                else:
                    latest[key] = row, at

        def refresh() -> None:
            for key, (row, at) in latest.copy().items():
                show(key, row, at)

        self._collector.refresh.append(refresh)
        return told

    def _bind_check(self) -> tuple[None, Step]:
        add = self._collector.add
        status, duration = add(Gauge(health.STATUS)), add(Histogram(self._with_bounds(health.DURATION)))
        self._health_status = status
        timeouts, last_run = add(Counter(health.TIMEOUTS)), add(Gauge(health.LAST_RUN))
        failed = self._recorder.failed

        def finish(op: CheckOperation) -> None:
            try:
                key = (op.component,)
                self._show_health(op.component, op.status)
                duration.cell(key).observe(op.duration_seconds)
                last_run.cell(key).set(self._recorder.wall_clock())
                if op.timed_out:
                    timeouts.cell(key).inc()
            except Exception as error:
                failed("metrics", error)

        return None, finish

    def _ai_rest(self, attempts: Counter) -> Callable[[AiOperation], None]:
        """
        Create the families of what few calls have; return the function that updates them.
        """
        add = self._collector.add
        waited, wasted = add(Counter(ai.RETRY_WAIT)), add(Counter(ai.WASTED))

        def rest(op: AiOperation) -> None:
            key = (op.service, op.provider)
            for status in op.failed_attempts:
                attempts.cell((*key, status)).inc()
            if op.error is not None and op.attempts:
                code = op.status_code or 0
                attempts.cell((*key, str(code) if code >= 400 else "error")).inc()
            if op.retry_wait_seconds:
                waited.cell(key).inc(op.retry_wait_seconds)
            if op.cost_usd and (op.error is not None or op.aborted is not None):
                wasted.cell((*key, op.aborted or "error")).inc(op.cost_usd)

        return rest

    def _bind_uses(self) -> tuple[Step, Step]:
        """
        Return steps that update a pool's gauges with each connection, since another worker's page may read them.
        """
        add, failed = self._collector.add, self._recorder.failed
        seconds = add(Histogram(self._with_bounds(pool_rows.USE, self._settings.db_buckets)))
        gauges = [add(Gauge(spec)) for spec in (pool_rows.ACTIVE, pool_rows.IDLE, pool_rows.MAX)]

        def show(op: ConnectionUse, given_back: int = 0) -> None:
            size = pools.size_of(op.pool)
            if size is not None:
                size = size._replace(active=size.active - given_back, idle=size.idle + given_back)
                for gauge, value in zip(gauges, size, strict=True):
                    if value is not None:
                        gauge.cell((op.pool,)).set(value)

        def start(op: ConnectionUse) -> None:
            try:
                show(op)
            except Exception as error:
                failed("metrics", error)

        def finish(op: ConnectionUse) -> None:
            try:
                seconds.cell((op.pool,)).observe(op.duration_seconds)
                show(op, given_back=1)  # the pool gets it back after this step
            except Exception as error:
                failed("metrics", error)

        def refresh() -> None:
            sizes = dict(pools.sizes())
            for index, gauge in enumerate(gauges):
                figures = {(name,): size[index] for name, size in sizes.items()}
                gauge.replace({key: float(value) for key, value in figures.items() if value is not None})

        self._collector.refresh.append(refresh)
        return start, finish

    def emit(self, event: Event) -> None:
        """
        Count N+1 statements, and set a component's new status, which may change while its check hangs; other events
        with a metric update it themselves.
        """
        if event.name == events.N_PLUS_ONE.name:
            self._n_plus_one.cell((event.fields["route"],)).inc()
        elif event.name == events.HEALTH_TRANSITION.name and self._health_status is not None:
            fields = event.fields
            if "component" in fields and "health" in fields:
                self._show_health(fields["component"], fields["health"])

    def _show_health(self, component: str, status: str) -> None:
        assert self._health_status is not None
        value = _HEALTH.get(status)
        if value is None:  # skipped
            self._health_status.remove((component,))
        else:
            self._health_status.cell((component,)).set(value)

    def close(self) -> None:
        latest_rate_limits.on_reply = None
        self._collector.close()

    def after_fork(self) -> None:
        """
        Drop the requests, errors and losses of the parent of a forked process.
        """
        self._live.clear()
        self._limits.clear()
        self._recorder.errors.clear()
        self._recorder.dropped.clear()
        self._recorder.rebind(HttpOperation)
