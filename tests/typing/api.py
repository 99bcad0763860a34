"""
Use the public API as applications do; never run, only checked by `mypy --strict tests/typing`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, assert_type

from structlog.typing import FilteringBoundLogger

import obskit
from obskit.context import current
from obskit.errors import MetricConflictError
from obskit.logs import JsonFormatter, JsonHandler, dict_config
from obskit.metrics.cells import CounterCell, HistogramCell
from obskit.metrics.family import Counter, Gauge, Histogram
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Sink, Step
from obskit.runtime import Runtime
from obskit.testing import FakeClock, FakeIds, IsolatedRuntime, LineStream, RecordingSink, isolated_runtime

# Applications come back as what they are.

Environ = dict[str, Any]
Message = MutableMapping[str, Any]


def wsgi(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


async def asgi(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    obskit.set_route("/plants/{plant_id}")
    await send({"type": "http.response.start", "status": 200})


wrapped = obskit.instrument(wsgi, service="shop", namespace="shop")
wrapped(dict[str, Any](), print)
also_wrapped = obskit.instrument(asgi)

runtime = obskit.configure(
    service="shop",
    version="1.2",
    metrics_networks=["10.0.0.0/8"],
    metric_names={"http_requests_total": None},
    exclude=("/static", re.compile("^/probe")),
    log_stream=sys.stderr,
    slow_request_ms=None,
)
obskit.configure(servise="shop")  # type: ignore[call-arg]
obskit.instrument(wsgi, namespace=1)  # type: ignore[arg-type]
assert_type(runtime, Runtime)
assert_type(runtime.settings, obskit.Settings)
assert_type(runtime.settings.service, str)
assert_type(runtime.settings.slow_request_ms, float | None)
assert_type(obskit.shutdown(), None)
assert_type(obskit.__version__, str)


# Decorated functions keep their types.


@obskit.observe
def bare(plate: str, count: int = 1) -> list[str]:
    return [plate] * count


@obskit.observe("named")
def named(plate: str) -> int:
    return len(plate)


@obskit.observe()
async def asynchronous(plate: str) -> float:
    return 1.0


@obskit.observe
def rows(count: int) -> Iterator[int]:
    yield from range(count)


@obskit.observe("stream")
async def stream() -> AsyncIterator[bytes]:
    yield b""


@obskit.observe_db(table="devices", operation="select")
def active_devices(limit: int) -> list[str]:
    return []


class Reader:
    """
    Have observed methods.
    """

    @obskit.observe
    def method(self, plate: str) -> str:
        return plate

    @classmethod
    @obskit.observe("made")
    def made(cls, plate: str) -> Reader:
        return cls()

    @staticmethod
    @obskit.observe("checked")
    def checked(plate: str) -> bool:
        return True


async def use() -> None:
    assert_type(bare("XY-1", count=2), list[str])
    assert_type(named("XY-1"), int)
    assert_type(await asynchronous("XY-1"), float)
    assert_type(list(rows(3)), list[int])
    assert_type([piece async for piece in stream()], list[bytes])
    assert_type(active_devices(5), list[str])
    assert_type(Reader().method("XY-1"), str)
    assert_type(Reader.made("XY-1"), Reader)
    assert_type(Reader.checked("XY-1"), bool)
    with obskit.observe("block") as op:
        op.extra["shelves"] = 12
        op.fail("no solution")
    async with obskit.observe("block") as op:
        op.fail("no solution")
    with obskit.observe_db(table="devices", operation="insert"):
        pass


bare(5)  # type: ignore[arg-type]
named()  # type: ignore[call-arg]


# Own metrics.

plates = obskit.counter("plates_recognised_total", "Plates recognised.", labels=["camera"])
assert_type(plates, Counter)
plates.inc(camera="north")
plates.inc(2.5, camera="north")
assert_type(plates.bind(camera="north"), CounterCell)
plates.labels("north").inc()

cameras = obskit.gauge("camera_connections_active", "Open camera connections.", workers="max")
assert_type(cameras, Gauge)
cameras.set(5)
cameras.dec()
cameras.set_to_current_time()
with cameras.track_inprogress():
    pass
obskit.gauge("cameras", "Cameras.", workers="average")  # type: ignore[arg-type]


def count_devices() -> dict[str, int]:
    return {"online": 3}


obskit.gauge("devices", "Devices by status.", labels=["status"], query=count_devices, every=60)
obskit.gauge("queue_depth", "Depth.", query=lambda: 3)

ocr = obskit.histogram("ocr_processing_time_seconds", "OCR time.", labels=["method", "status"], buckets=[0.1, 1])
assert_type(ocr, Histogram)
assert_type(ocr.labels("fast", "success"), HistogramCell)
ocr.observe(0.2, method="fast", status="success")


@ocr.time(method="tesseract")
def read_plate(image: bytes) -> str:
    return ""


assert_type(read_plate(b""), str)
with ocr.time(method="fast"):
    pass

# Context.

assert_type(obskit.correlation_id(), str | None)
assert_type(obskit.outgoing_headers(), dict[str, str])
obskit.bind(user="u-7", attempts=3)
obskit.unbind("user")
assert_type(current.get(), Operation | None)

carried = obskit.with_context(named)
assert_type(carried("XY-1"), int)
carried(5)  # type: ignore[arg-type]

# Loggers.

log = obskit.get_logger("shop.cart", part="till")
assert_type(log, FilteringBoundLogger)
log.bind(user="u-7").info("paid %s", 17, order=17)
assert_type(log.unbind("part"), FilteringBoundLogger)
assert_type(obskit.get_logger().is_enabled_for(20), bool)
obskit.instrument_logging()
logging.getLogger("shop").addHandler(JsonHandler())
formatter: logging.Formatter = JsonFormatter()
assert_type(dict_config("DEBUG"), dict[str, Any])

# AI calls.

price: obskit.ai.Price = obskit.ai.Price(input=2.0, output=10, cache_read=None)
assert_type(obskit.ai.rate_limits("anthropic"), tuple[obskit.ai.RateLimit, ...])
assert_type(obskit.ai.rate_limits()[0].headroom, float | None)
assert_type(obskit.ai.report(), obskit.ai.AiReport)
assert_type(obskit.ai.report(hours=1.5).by_model, tuple[obskit.ai.CallGroup, ...])
assert_type(obskit.ai.report().total.cost_usd, float | None)
assert_type(obskit.ai.report().to_json(indent=2), str)
assert_type(obskit.ai.budget("daily", usd=50, per="day", action="block", unknown_price=price), obskit.ai.Budget)
assert_type(obskit.ai.budgets()[0].status(), obskit.ai.BudgetStatus)
assert_type(obskit.ai.budgets()[0].status().projected_usd, float | None)

# Errors.

try:
    obskit.configure(service="till")
except MetricConflictError as conflict:
    assert_type(conflict, MetricConflictError)
except obskit.MissingExtraError as missing:
    caught: ImportError = missing
except obskit.ConfigurationError as wrong:
    raised: ValueError = wrong
except obskit.ObskitError as other:
    assert_type(other, obskit.ObskitError)


# Sinks and hooks of the application's own, and the fakes.


class Own:
    """
    A sink by having its methods.
    """

    name = "own"

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        return None, print

    def emit(self, event: Event) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def hook(operation: HttpOperation) -> None:
    assert_type(operation.status, int)
    operation.extra["tenant"] = operation.header("x-tenant")


sink: Sink = Own()
with isolated_runtime(
    sinks=[Own(), RecordingSink()], clock=FakeClock(), ids=FakeIds(), log_stream=LineStream(), request_hook=hook
) as isolated:
    assert_type(isolated, IsolatedRuntime)
    assert_type(isolated.value("http_requests_total", method="GET"), float | None)
    assert_type(isolated.lines, list[dict[str, Any]])


# Gates.


class Lockout:
    """
    A gate as a stranger writes one.
    """

    def admit(self, request: obskit.Request) -> obskit.Reply | None:
        if request.header("x-key") is None:
            return obskit.Reply(403, [("Retry-After", "60")], b"locked out")
        return None


gate: obskit.Gate = Lockout()
obskit.configure(gates=[gate])
