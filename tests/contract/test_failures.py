"""
While an output fails, the client and the server see what they see of the bare application.
"""

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

import obskit
from obskit.recorder import recorder
from obskit.testing import FakeClock, RecordingSink, isolated_runtime

from .cases import LIFESPAN, WEBSOCKET, cases_of
from .drivers import CALL, Request, converse
from .scene import Scene
from .shop import Shop
from .stack import Stack
from .stacks import stacks


def fail(*anything: Any, **more: Any) -> None:
    raise RuntimeError("an output's own mistake")


class FailingSink:
    """
    A sink that raises where it is told to, and wherever else it is called.
    """

    def __init__(self, at_start: bool, at_finish: bool, name: str = "failing") -> None:
        self.name = name
        self.steps = (fail if at_start else None, fail if at_finish else None)

    def bind(self, kind):
        return self.steps

    emit = flush = close = fail


class FailsAtStart(SpanProcessor):
    on_start = force_flush = shutdown = fail


class FailsAtEnd(SpanProcessor):
    on_end = force_flush = shutdown = fail


class FailingExporter(SpanExporter):
    export = force_flush = shutdown = fail


Made = Iterator[dict[str, Any]]  # the settings that break an output


@contextmanager
def sink(at_start: bool, at_finish: bool) -> Made:
    yield {"sinks": [FailingSink(at_start, at_finish)]}


@contextmanager
def hook() -> Made:
    yield {"request_hook": fail}


@contextmanager
def closed_stdout() -> Made:
    with open(os.devnull, "w") as closed:
        pass
    with stdout(closed):
        yield {"log_stream": None}


@contextmanager
def no_stdout() -> Made:
    with stdout(None):
        yield {"log_stream": None}


@contextmanager
def stdout(stream: Any) -> Iterator[None]:
    kept, sys.stdout = sys.stdout, stream
    try:
        yield
    finally:
        sys.stdout = kept


@contextmanager
def full_disk() -> Made:
    with open("/dev/full", "wb", buffering=0) as full:
        yield {"log_stream": full}


@contextmanager
def pipe_without_reader() -> Made:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as pipe:
        yield {"log_stream": pipe}


@contextmanager
def spans(processor: Callable[[], SpanProcessor]) -> Made:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor())
    yield {"tracing": provider}


@contextmanager
def everything() -> Made:
    with full_disk() as logs, spans(FailsAtStart) as tracing, sink(True, True) as failing, hook() as hooked:
        yield {**logs, **tracing, **failing, **hooked}


@dataclass(frozen=True)
class Breakage:
    """
    Break an output.

    Attributes:
        make: Gives the settings that break it.
        errors: How often each part fails in one request.
        dropped: What each request's line is counted as.
    """

    make: Callable[[], Any]
    errors: Mapping[str, int]
    dropped: tuple[tuple[str, str], ...] = ()


BREAKAGES = {
    "a sink at the start": Breakage(lambda: sink(True, False), {"failing": 1}),
    "a sink at the finish": Breakage(lambda: sink(False, True), {"failing": 1}),
    "the hook": Breakage(hook, {"hook": 1}),
    "a closed standard output": Breakage(closed_stdout, {"logs": 1}, (("logs", "closed"),)),
    "no standard output": Breakage(no_stdout, {"logs": 1}, (("logs", "closed"),)),
    "a full disk": Breakage(full_disk, {"logs": 1}, (("logs", "ENOSPC"),)),
    "a pipe without a reader": Breakage(pipe_without_reader, {"logs": 1}, (("logs", "EPIPE"),)),
    "a span processor at the start": Breakage(lambda: spans(FailsAtStart), {"spans": 1}),
    "a span processor at the end": Breakage(lambda: spans(FailsAtEnd), {"spans": 1}),
    # The SDK's processors guard their exporter themselves, and log what it raises.
    "a span exporter": Breakage(lambda: spans(lambda: SimpleSpanProcessor(FailingExporter())), {}),
    "everything": Breakage(everything, {"failing": 2, "hook": 1, "logs": 1, "spans": 1}, (("logs", "ENOSPC"),)),
}
broken = pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)


def play(stack: Stack, app: Any, scene: Scene) -> dict[str, Any]:
    """
    Play every case of the contract, in one application.
    """
    return {str(case): case.play(stack, app, scene) for case in cases_of(stack)}


def watch(call: Callable[[], Any]) -> tuple[Any, Counter[str], Counter[tuple[str, str]]]:
    """
    Return what a call answers, which parts fail in it, and what they drop.
    """
    errors, dropped = Counter(recorder.errors), Counter(recorder.dropped)
    answer = call()
    return answer, Counter(recorder.errors) - errors, Counter(recorder.dropped) - dropped


def complaints(caplog) -> list[str]:
    return sorted(record.args[0] for record in caplog.records if record.name == "obskit")


@stacks()
@broken
def test_reply_is_the_bare_application_s(stack, breakage, caplog):
    """
    Every case of the contract has the bare application's status, headers, pieces and exception, while each failure is
    counted, the first of each part is logged, and the outputs that work miss nothing.
    """
    caplog.set_level(logging.ERROR, "obskit")
    scene, recording = Scene(FakeClock()), RecordingSink()
    bare = play(stack, stack.build(scene), scene)
    with breakage.make() as settings:
        settings["sinks"] = [*settings.get("sinks", ()), recording]
        with isolated_runtime(strict=False, clock=scene.clock, **settings) as runtime:
            shop = Shop(stack, scene, runtime, recording)
            app = shop.app  # it says that it is on: that failure is none of a request's
            instrumented, errors, dropped = watch(lambda: play(stack, app, scene))
            figures = shop.total("http_requests_total"), shop.total("http_requests_in_progress")

    count = len(bare)
    assert instrumented == bare
    assert errors == {part: times * count for part, times in breakage.errors.items()}
    assert dropped == dict.fromkeys(breakage.dropped, count)
    assert complaints(caplog) == sorted(breakage.errors)
    assert (len(recording.begun), len(recording.operations), *figures) == (count, count, count, 0)


@stacks()
def test_every_sink_may_raise_in_place_of_its_work(stack, caplog):
    """
    Where each of obskit's own sinks raises in every step, every case still has the bare application's reply.
    """
    caplog.set_level(logging.ERROR, "obskit")
    scene = Scene(FakeClock())
    bare = play(stack, stack.build(scene), scene)
    with isolated_runtime(strict=False, clock=scene.clock, request_hook=fail, tracing=TracerProvider()) as runtime:
        names = [sink.name for sink in runtime.runtime._sinks]
        recorder.bind([FailingSink(True, True, name) for name in names])
        app = obskit.instrument(stack.build(scene))
        instrumented, errors, _ = watch(lambda: play(stack, app, scene))

    assert names == ["hook", "queries", "totals", "ai_report", "spans", "metrics", "logs"]
    assert instrumented == bare
    assert errors == dict.fromkeys(names, 2 * len(bare))
    assert complaints(caplog) == sorted(names)


@stacks("asgi")
@pytest.mark.parametrize(("scope", "incoming"), [LIFESPAN, WEBSOCKET], ids=["lifespan", "websocket"])
def test_other_scopes_pass_unchanged(stack, scope, incoming):
    """
    Draining outputs that fail does not keep an application from shutting down.
    """
    scene = Scene(FakeClock())
    bare = converse(stack.build(scene), dict(scope), incoming)
    with everything() as settings, isolated_runtime(strict=False, **settings):
        instrumented = converse(obskit.instrument(stack.build(scene)), dict(scope), incoming)

    assert instrumented == bare


@stacks()
@pytest.mark.parametrize("path", ["/metrics", "/health", "/health/live"])
def test_obskit_s_own_routes_answer(stack, path):
    """
    The page that tells of the failures is there while they happen.
    """
    with everything() as settings, isolated_runtime(strict=False, **settings):
        reply = CALL[stack.protocol](obskit.instrument(stack.build(Scene(FakeClock()))), Request(path))

    assert reply.status == 200
