"""
A system that has no thread to give, once or for long, costs a run, never an answer, and nothing for good.
"""

import asyncio
import gc
import io
import re
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

import obskit
from obskit.ai.ai_operation import AiOperation
from obskit.ai.budget_book import budget_book
from obskit.bounded_calls import Lane
from obskit.catalogue import events
from obskit.db.explain import explainer
from obskit.health.registry import registry
from obskit.outbound import OutboundError, request
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime
from obskit.web.bodies import read_body
from obskit.web.pieces import Pieces, send_pieces
from obskit.web.request import Request

SOURCE = Path(obskit.__file__).parent
KNOWN_OWNERS = (threading.Condition, type(threading.RLock()))


def held():
    """
    Name the locks of obskit's modules and objects that this thread holds, as far as they know whose they are.
    """
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "obskit"]
    objects = [made for made in gc.get_objects() if str(type(made).__module__).partition(".")[0] == "obskit"]
    return {
        f"{getattr(holder, '__name__', type(holder).__qualname__)}.{name}"
        for holder in (*modules, *objects)
        for name, value in parts_of(holder)
        if issubclass(type(value), KNOWN_OWNERS) and value._is_owned()  # a lazy object says it is of another class
    }


def parts_of(holder):
    slots = [name for cls in type(holder).__mro__ for name in vars(cls).get("__slots__", ())]
    filled = [(name, getattr(holder, name)) for name in slots if name[:2] != "__" and hasattr(holder, name)]
    return [*getattr(holder, "__dict__", {}).items(), *filled]


@contextmanager
def scarce(prefix, failures):
    """
    Have the system refuse the first threads of a name; give the names of those that it started then.
    """
    real, left, started = threading.Thread.start, [None] * failures, []

    def start(thread):
        if thread.name.startswith(prefix):
            if left:
                left.pop()
                raise RuntimeError("can't start new thread")
            started.append(thread.name)
        real(thread)

    threading.Thread.start = start
    try:
        yield started
    finally:
        threading.Thread.start = real


def asked(isolated, path):
    reply = isolated.runtime.routes.answer(Request("GET", path, "", {}.get, "192.0.2.1"))
    return reply.status


async def asked_async(isolated, path):
    reply = await isolated.runtime.routes.answer_async(Request("GET", path, "", {}.get, "192.0.2.1"))
    return reply.status


def answered(isolated, path="/health/ready"):
    """
    Ask once in each of two intervals.
    """
    codes = []
    for _ in range(2):
        codes.append(asked(isolated, path))
        isolated.clock.advance(60)
    assert codes[-1] == 200
    assert set(codes) <= {200, 503}


def gauges(isolated):
    called = threading.Event()
    obskit.gauge("waiting_jobs", "Jobs that wait.", query=lambda: called.set() or 1.0, every=0.1)
    answered(isolated, "/metrics")
    assert called.wait(30)


def refreshed(isolated):
    obskit.counter("sold_total", "Sold.").inc()
    answered(isolated, "/metrics")


def sampled(isolated):
    answered(isolated, "/metrics")


def background_checks(isolated):
    called = threading.Event()
    obskit.health.add("queue", lambda: called.set() or {}, background=True)
    answered(isolated, "/metrics")
    assert called.wait(30)


def plain_checks(isolated):
    obskit.health.add("queue", lambda: {})
    answered(isolated)


def coroutine_checks(isolated):
    async def queue():
        return {}

    async def serve():
        codes = []
        for _ in range(2):
            codes.append(await asked_async(isolated, "/health/ready"))
            isolated.clock.advance(60)
        return codes

    obskit.health.add("queue", queue)
    assert asyncio.run(serve()) == [200, 200]


def budgets(isolated):
    obskit.ai.budget("all", usd=5.0, unknown_price="allow")
    for _ in range(2):
        with obskit.observe_ai(provider="p", model="m"):
            pass


def degraded(isolated):
    for _ in range(2):
        asked(isolated, "/metrics")
    assert isolated.runtime._collector is not None


def spans(isolated):
    for _ in range(2):
        isolated.runtime.flush()


def budgeted_calls_on_a_loop(isolated):
    obskit.ai.budget("daily", usd=1, unknown_price="allow")

    async def call():
        for _ in range(2):
            await budget_book.before_call_async(AiOperation("planogram", "acme", "house-model"), {})

    asyncio.run(call())


def joined(isolated):
    obskit.configure()


def explained(isolated):
    answers = [threading.Event(), threading.Event()]
    for answer in answers:
        explainer.put(answer.set)
    assert all(answer.wait(30) for answer in answers)


def lines(isolated):
    for _ in range(2):
        obskit.get_logger("shop").info("a line")
    isolated.runtime.flush()


def rotated(isolated):
    for _ in range(40):
        obskit.get_logger("shop").info("x" * 200)


def events_of_others(isolated):
    subscribers = isolated.runtime._assembly.part("subscribers")
    subscribers.subscribe([events.UNKNOWN_SDK], id, part="test", everywhere=True)
    recorder.emit(events.UNKNOWN_SDK.event("no"))


def events_for_others(isolated):
    for _ in range(2):
        recorder.emit(events.UNKNOWN_SDK.event("no"))


def names_looked_up(isolated):
    for _ in range(2):
        with pytest.raises(OutboundError, match="localhost: its address is inside"):
            request("GET", "http://localhost/", seconds=60)


def page_on_a_loop(isolated):
    async def serve():
        return [await asked_async(isolated, "/metrics") for _ in range(2)]

    assert asyncio.run(serve()) == [200, 200]


def bodies_read(isolated):
    for _ in range(2):
        assert read_body({"CONTENT_LENGTH": "2", "wsgi.input": io.BytesIO(b"ab")}) == b"ab"


def replies_in_pieces(isolated):
    closed = []

    def export(number):
        try:
            yield b"x"
        finally:
            closed.append(number)

    async def send(message):
        pass

    async def serve():
        for number in range(2):
            pieces = Pieces(export(number), Lane(1, name="test"), 10)
            await send_pieces(pieces, {}, asyncio.Event().wait, send)

    asyncio.run(serve())
    assert closed == [0, 1]


# Prefix of the threads' names -> what needs one twice, and the settings that it needs; a path is made of "{}".
SCENES = {
    "obskit-gauges": (gauges, {}),
    "obskit-health": (background_checks, {}),
    "obskit-health-": (plain_checks, {}),
    "obskit-watch-": (coroutine_checks, {}),
    "obskit-budgets": (budgets, {}),
    "obskit-ledger": (budgeted_calls_on_a_loop, {}),
    "obskit-warning": (degraded, {"metrics_dir": "{}/a-file/metrics"}),
    "obskit-spans": (spans, {"tracing": TracerProvider(shutdown_on_exit=False)}),
    "obskit-sigterm": (joined, {"tracing": TracerProvider(shutdown_on_exit=False)}),
    "obskit-explain": (explained, {}),
    "obskit-log-queue": (lines, {"log_queue": 10}),
    "obskit-refresh": (refreshed, {"metrics_dir": "{}/workers", "serving": True}),
    "obskit-history": (sampled, {"history": True, "history_dir": "{}/history", "serving": True}),
    "obskit-records": (sampled, {"history": True, "history_dir": "{}/history", "serving": True}),
    "obskit-look-up": (names_looked_up, {}),
    "obskit-web": (page_on_a_loop, {}),
    "obskit-web-body": (bodies_read, {}),
    "obskit-web-close": (replies_in_pieces, {}),
    "obskit-events": (events_of_others, {"serving": True}),
    "obskit-event-writer": (events_for_others, {"serving": True}),
    "obskit-old-files": (rotated, {"log_file": "{}/lines.log", "log_rotate_bytes": 1024, "log_keep_files": 1}),
}

# Held by `shutdown()` from its beginning to its end, so that no `configure()` comes in between.
ENDING = {"obskit.runtime._lock"}
ELSEWHERE = {"obskit-drain"}  # in tests/test_sigterm.py: it ends its process


def test_every_thread_of_ours_has_a_scene():
    """
    A thread that is new in the package needs a scene here, or what becomes of it is not known.
    """
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py"))

    assert set(SCENES) | ELSEWHERE == set(re.findall(r'name(?:, .* )?\s?=\s?f?"(obskit-[a-z-]+)', text))


@pytest.mark.parametrize("prefix", SCENES)
def test_one_thread_that_does_not_start_costs_one_run(prefix, tmp_path):
    """
    One start that fails raises nothing anywhere; the thread starts when it is next needed, and does its work.
    """
    scene, settings = SCENES[prefix]
    (tmp_path / "a-file").touch()
    settings = {name: value.format(tmp_path) if isinstance(value, str) else value for name, value in settings.items()}
    clock = FakeClock()
    with scarce(prefix, 1) as started, isolated_runtime(clock=clock, **settings) as isolated:
        isolated.clock = clock
        scene(isolated)
        seen = list(started)

    assert seen
    assert all(name.startswith(prefix) for name in seen)


@pytest.mark.parametrize("prefix", SCENES)
def test_no_thread_starts_under_a_lock_of_ours(prefix, tmp_path):
    """
    A start waits for the new thread, and others patch it: who needs that lock there would wait for ever.
    """
    scene, settings = SCENES[prefix]
    (tmp_path / "a-file").touch()
    settings = {name: value.format(tmp_path) if isinstance(value, str) else value for name, value in settings.items()}
    clock = FakeClock()
    real, seen = threading.Thread.start, []

    def start(thread):
        if thread.name.startswith(prefix):
            seen.append(held())
        real(thread)

    threading.Thread.start = start
    try:
        with isolated_runtime(clock=clock, **settings) as isolated:
            isolated.clock = clock
            scene(isolated)
    finally:
        threading.Thread.start = real

    assert seen
    assert set() == set().union(*seen) - ENDING


def test_a_lock_that_is_held_at_a_start_is_found():
    """
    What the test above looks for is found where it is: in an attribute of an object of obskit's.
    """
    with explainer._lock:
        seen = held()

    assert "Queue._lock" in seen
    assert "Queue._lock" not in held()


@pytest.mark.parametrize("path", ["/metrics", "/health", "/health/ready"])
def test_our_routes_answer_where_no_thread_starts_at_all(path):
    """
    The page and the health routes answer on an event loop whose pool has no thread to give.
    """

    async def serve(isolated):
        with scarce("", 1000):
            return await asked_async(isolated, path)

    obskit.health.add("queue", lambda: {})
    with isolated_runtime() as isolated:
        code = asyncio.run(serve(isolated))

    assert code == (503 if path != "/metrics" else 200)


def test_a_call_is_made_on_the_loop_where_no_thread_starts():
    """
    What may hold the loop is made there, once, and what it raises, also a RuntimeError, is its own.
    """
    made = []

    def call():
        made.append(1)
        raise RuntimeError("its own")

    async def serve():
        with scarce("", 1):
            return await Lane(1, name="test", may_hold_loop=True).run_async(call, 60)

    with pytest.raises(RuntimeError, match="its own"):
        asyncio.run(serve())

    assert [1] == made


def test_a_run_that_went_with_its_loop_is_begun_anew():
    """
    A coroutine check whose event loop was closed under it is asked again, on the next loop.
    """
    seen = []

    async def queue():
        seen.append(1)
        return {}

    obskit.health.add("queue", queue)
    clock = FakeClock()
    with isolated_runtime(clock=clock) as isolated:
        gone = registry.loop = asyncio.new_event_loop()
        gone.call_soon(gone.stop)
        gone.call_soon(lambda: registry.refresh(registry.members("ready")))
        gone.run_forever()
        gone.close()
        clock.advance(60)

        assert asyncio.run(asked_async(isolated, "/health/ready")) == 200
    assert [1] == seen


@pytest.fixture(autouse=True)
def no_checks():
    """
    Leave no check and no budget behind.
    """
    yield
    for name in list(registry.checks):
        registry.remove(name)
    for name in list(budget_book.declared):
        budget_book.remove(name)
