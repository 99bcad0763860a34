"""
Test applications that use obskit, with what obskit is tested with itself.

    from obskit.testing import FakeClock, RecordingSink, isolated_runtime

    def test_checkout():
        sink = RecordingSink()
        with isolated_runtime(service="shop", sinks=[sink]) as runtime:
            client = obskit.instrument(make_app()).test_client()
            client.get("/checkout")
        assert [op.endpoint for op in sink.operations] == ["/checkout"]
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from obskit import runtime as _runtime
from obskit._contracts.gate import check_gate as check_gate
from obskit._contracts.health_check import check_health_check as check_health_check
from obskit._contracts.sink import check_sink as check_sink
from obskit._contracts.state_engine import check_state_engine as check_state_engine
from obskit._moved_clock import FakeClock as FakeClock
from obskit._moved_clock import advance as advance
from obskit.ai.budget_book import budget_book
from obskit.db.callsite import call_site
from obskit.db.db_operation import DbOperation
from obskit.db.n_plus_one import is_allowed
from obskit.db.query_watch import watching
from obskit.deferred_endings import drain
from obskit.errors import AlreadyConfiguredError, ConfigurationError
from obskit.health.registry import registry as health
from obskit.logs import current_writer as logs
from obskit.operation import Event, Operation
from obskit.recorder import Sink, Step, recorder
from obskit.rules.replaying import Verdict as Verdict
from obskit.rules.replaying import replay as replay
from obskit.runtime import Runtime
from obskit.time.clock import clock as _clock
from obskit.time.clock import system_clock
from obskit.time.fake_time import FakeTime


class FakeIds:
    """
    The correlation ids `id-1`, `id-2`, ...
    """

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        return f"id-{self.made}"


class RecordingSink:
    """
    A sink that stores operations and events for a test to look at.

    Attributes:
        begun: Operations in the order in which they began.
        operations: Operations in the order in which they ended; those that were dropped so far, too.
        events: Events in the order in which they came.
    """

    name = "recording"

    def __init__(self) -> None:
        self._begun: list[Any] = []
        self._operations: list[Any] = []
        self._events: list[Event] = []

    @property
    def begun(self) -> list[Any]:
        drain()
        return self._begun

    @property
    def operations(self) -> list[Any]:
        drain()
        return self._operations

    @property
    def events(self) -> list[Event]:
        drain()
        return self._events

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Record every kind.
        """
        return self._begun.append, self._operations.append

    def emit(self, event: Event) -> None:
        """
        Record the event.
        """
        self._events.append(event)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class LineStream:
    """
    Log lines in memory, parsed.
    """

    closed = False

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        """
        Take one line.
        """
        self.lines.append(json.loads(text))
        return len(text)


class IsolatedRuntime:
    """
    A test's runtime, and what came out of it.

    Attributes:
        runtime: The runtime.
        registry: Its own `prometheus_client` registry.
        lines: The JSON lines written so far.
    """

    def __init__(self, runtime: Runtime, stream: LineStream) -> None:
        self.runtime = runtime
        self.settings = runtime.settings
        self.registry = runtime.registry
        self._stream = stream

    @property
    def lines(self) -> list[dict[str, Any]]:
        drain()
        return self._stream.lines

    def value(self, sample: str, **labels: str) -> float | None:
        """
        Read one sample of the metrics page, such as `http_requests_total`; None where there is none.
        """
        if self.registry is None:
            return None
        return self.registry.get_sample_value(sample, labels)


@contextmanager
def isolated_runtime(
    *,
    sinks: Sequence[Sink] = (),
    clock: Callable[[], float] | None = None,
    wall_clock: Callable[[], float] | None = None,
    ids: Callable[[], str] | None = None,
    strict: bool = True,
    **settings: Any,
) -> Iterator[IsolatedRuntime]:
    """
    Run a block with a runtime of its own: own registry, lines kept in memory, nothing left behind.

    Args:
        sinks: Further sinks, after the built-in ones.
        clock: Monotonic seconds, such as a `FakeClock`: of operations, threads, leases and whatever else takes time.
        wall_clock: Seconds since the epoch, for timestamps. With a `clock` alone it goes on from now as that one does.
        ids: Makes correlation ids, such as `FakeIds()`.
        strict: Raise what a sink raises, in place of counting it.
        **settings: As for `obskit.configure()`.

    Raises:
        AlreadyConfiguredError: A runtime is active already.
    """
    from prometheus_client import CollectorRegistry

    stream = LineStream()
    folder = os.path.join(tempfile.gettempdir(), f"obskit-test-{os.urandom(8).hex()}")  # made by whoever needs it
    given = {"registry": CollectorRegistry(), "log_stream": stream, "state_dir": folder, **settings}
    if _runtime.current_runtime() is not None:
        raise AlreadyConfiguredError("obskit is configured already; call obskit.shutdown() before isolated_runtime()")
    if clock is not None or wall_clock is not None:
        _clock.use(FakeTime(clock, wall_clock))
    recorder.reset()
    recorder.strict = strict
    recorder.new_id = ids or recorder.new_id
    checks, budgets = dict(health.checks), dict(budget_book.declared)
    try:
        yield IsolatedRuntime(_runtime.activate(given, sinks), stream)
    finally:
        try:
            _runtime.shutdown()
        finally:
            for name in health.checks.keys() - checks.keys():
                health.remove(name)
            for name in budget_book.declared.keys() - budgets.keys():
                budget_book.remove(name)
            shutil.rmtree(folder, ignore_errors=True)
            recorder.strict = False
            _clock.use(system_clock)
            recorder.reset()
            logs.activate(None)


def history_day(*, requests_per_second: float = 100.0, endpoints: int = 50) -> int:
    """
    Return the bytes on disk of a day's history, with its logs: `assert history_day(requests_per_second=10) < 20e6`.

    A day of requests is served to an application that does nothing, by a `FakeClock`, and sampled as in a real process.
    With 100 requests a second it takes two to three minutes.

    Args:
        requests_per_second: Of all endpoints together, from 0.1; the n-th endpoint gets 1/n of what the first does.
        endpoints: How many, from 1.

    Raises:
        AlreadyConfiguredError: A runtime is active already.
        ConfigurationError: One is out of range.
    """
    from obskit._history_day import sizes_of_days

    return sum(sum(size) for size in sizes_of_days(isolated_runtime, 1, requests_per_second, endpoints).values())


class Queries:
    """
    The queries that a block made, each as it began.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[str, str, str, bool]] = []

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, op: DbOperation) -> None:
        """
        Take a query.
        """
        name = op.statement.summary or f"{op.operation} {op.table}".strip() or op.system
        self._seen.append((op.statement.fingerprint, name, call_site() or "<unknown>", op.statement.is_batch))

    def repeated(self, batches: bool = True) -> list[tuple[int, str, str]]:
        """
        Count the queries of each statement and line: how many, summary and line, the most frequent first.

        Args:
            batches: False leaves out what asks for much at once.
        """
        seen = [query for query in self._seen if batches or not query[-1]]
        return [(times, name, where) for (_, name, where, _), times in Counter(seen).most_common()]

    def render(self) -> str:
        """
        List them for people.
        """
        return "".join(f"\n  {times} x {name}  {where}" for times, name, where in self.repeated())


@contextmanager
def max_queries(limit: int) -> Iterator[Queries]:
    """
    Fail a test whose block makes more queries: `with max_queries(3): client.get("/devices")`.

    Queries of all threads of this process count, those of hooked drivers and those of `observe_db`.

    Args:
        limit: How many it may make; 0 is none.

    Raises:
        AssertionError: It made more; the message lists them with the lines that asked.
        ConfigurationError: No runtime stood at the end, so that nothing was counted.
    """
    queries = Queries()
    with watching(queries.add):
        yield queries
    _refuse_without_runtime("max_queries()")
    if len(queries) > limit:
        raise AssertionError(f"{len(queries)} queries were made, and {limit} are allowed:{queries.render()}")


@contextmanager
def no_n_plus_one(limit: int | None = None, allow: Sequence[str] = ()) -> Iterator[Queries]:
    """
    Fail a test whose block makes the same statement from the same line again and again.

    Args:
        limit: How often it may. Default: the setting `n_plus_one`; 1 finds more with few rows.
        allow: Call sites that may, as in the setting `n_plus_one_allow`, which holds too.

    Raises:
        AssertionError: It did; the message says how often, and which line.
        ConfigurationError: No runtime stood at the end, so that nothing was counted.
    """
    queries = Queries()
    with watching(queries.add):
        yield queries
    settings = _refuse_without_runtime("no_n_plus_one()").settings
    most = limit if limit is not None else settings.n_plus_one
    allowed = (*allow, *settings.n_plus_one_allow)
    found = [
        f"\n  {times} x {name}  {where}"
        for times, name, where in queries.repeated(batches=False)
        if most is not None and times > most and not is_allowed(where, allowed)
    ]
    if found:
        raise AssertionError(f"the same statement from the same line, more than {most} times:{''.join(found)}")


def _refuse_without_runtime(asked: str) -> Runtime:
    runtime = _runtime.current_runtime()
    if runtime is None or not runtime.settings.enabled:
        raise ConfigurationError(
            f"{asked} counts what obskit observes, and no runtime is active: call obskit.configure() or "
            "obskit.instrument(app) before, or use it inside of isolated_runtime()"
        )
    return runtime
