"""
Threads and pools work with the ids of the request that uses them, and with nobody else's.
"""

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

import obskit
from obskit.testing import isolated_runtime
from within import in_request


@pytest.fixture
def instrumented():
    obskit.instrument_threads()
    yield
    obskit.uninstrument_threads()


def in_thread(function, start=threading.Thread):
    """
    Run a function in a thread, and give what it gave.
    """
    found = []
    thread = start(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_by_themselves_threads_have_no_id():
    """
    Python gives a thread an empty context: that is what the rest is for.
    """
    assert in_request("id-1", in_thread, obskit.correlation_id) is None


def test_with_context():
    """
    A function that is wrapped works with the request's id in threads and pools, several times and at once.
    """

    def work():
        wrapped, gate = obskit.with_context(obskit.correlation_id), threading.Barrier(4)

        def together():
            gate.wait()
            return obskit.correlation_id()

        with ThreadPoolExecutor(4) as pool:
            at_once = list(pool.map(lambda _: obskit.with_context(together)(), range(4)))
            shared = list(pool.map(lambda _: wrapped(), range(8)))
        return in_thread(wrapped), at_once, shared, wrapped

    alone, at_once, shared, wrapped = in_request("id-1", work)

    assert ("id-1", [None] * 4, ["id-1"] * 8) == (alone, at_once, shared)
    assert "id-1" == wrapped()  # after the request's end too
    assert obskit.correlation_id() is None
    assert "correlation_id" == wrapped.__name__


def test_with_context_outside_of_a_request():
    """
    What is wrapped outside of a request belongs to none, wherever it runs.
    """
    assert in_request("id-1", obskit.with_context(obskit.correlation_id)) is None


def test_what_a_thread_binds_is_on_the_requests_lines():
    """
    The thread shares the request's holder, as the frameworks' own threads do.
    """

    def work():
        in_thread(obskit.with_context(lambda: obskit.bind(user="u-7")))
        obskit.get_logger("shop").info("x")

    with isolated_runtime() as isolated:
        in_request("id-1", work)

        assert "u-7" == isolated.lines[0]["user"]


def test_with_context_carries_the_span():
    """
    Where spans are on, the thread's lines have the ids of the span that was current.
    """
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    provider = sdk.TracerProvider()
    with isolated_runtime(tracing=provider) as isolated:
        with provider.get_tracer("shop").start_as_current_span("work") as span:
            in_thread(obskit.with_context(lambda: obskit.get_logger("shop").info("x")))
        identity = span.get_span_context().span_id

        assert f"{identity:016x}" == isolated.lines[0]["span_id"]


def test_threads_and_timers(instrumented):
    """
    A thread has the id of the request that starts it, with whatever class and `run()`.
    """

    class Own(threading.Thread):
        def run(self):
            self.found = obskit.correlation_id()

    def work():
        own = Own()
        own.start()
        own.join()
        timer = threading.Timer(0, lambda: found.append(obskit.correlation_id()))
        timer.start()
        timer.join()
        return own.found, in_thread(obskit.correlation_id)

    found = []

    assert ("id-1", "id-1") == in_request("id-1", work)
    assert ["id-1"] == found
    assert in_thread(obskit.correlation_id) is None


def test_a_pool_takes_each_calls_context(instrumented):
    """
    A pool's thread works for many requests: each call has the id of the request that submitted it, and one that was
    submitted outside of any has none.
    """
    with ThreadPoolExecutor(1) as pool:
        ids = [in_request(f"id-{number}", pool.submit, obskit.correlation_id).result() for number in range(3)]
        outside = pool.submit(obskit.correlation_id).result()
        mapped = in_request("id-9", lambda: list(pool.map(lambda _: obskit.correlation_id(), range(2))))

    assert (["id-0", "id-1", "id-2"], None, ["id-9"] * 2) == (ids, outside, mapped)


def test_run_in_executor(instrumented):
    """
    `loop.run_in_executor()`, which copies no context itself, has the id.
    """

    async def main():
        return await asyncio.get_running_loop().run_in_executor(None, obskit.correlation_id)

    assert "id-1" == in_request("id-1", asyncio.run, main())


def test_a_pools_results_and_errors_are_its_own(instrumented):
    """
    Arguments, results and exceptions pass as without it.
    """
    with ThreadPoolExecutor(1) as pool:
        assert (1, {"b": 2}) == pool.submit(lambda a, /, **rest: (a, rest), 1, b=2).result()
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 / 0).result()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)


def test_a_thread_that_cannot_start_is_as_it_was(instrumented):
    """
    A thread that is started twice raises as without it.
    """
    thread = threading.Thread(target=lambda: None)
    in_request("id-1", thread.start)
    thread.join()
    with pytest.raises(RuntimeError, match="only be started once"):
        in_request("id-1", thread.start)

    assert "run" not in vars(thread)


def test_a_thread_does_not_keep_itself_alive(instrumented):
    """
    A thread that has ended is freed at once, without a garbage collection.
    """
    gc.disable()
    try:
        thread = threading.Thread(target=lambda: None)
        in_request("id-1", thread.start)
        thread.join()
        gone = weakref.ref(thread)
        del thread

        assert gone() is None
    finally:
        gc.enable()


def test_it_can_be_undone():
    """
    Afterwards threads and pools are Python's own, whatever was done twice.
    """
    before = threading.Thread.start, ThreadPoolExecutor.submit
    for _ in "12":
        obskit.instrument_threads()
    for _ in "12":
        obskit.uninstrument_threads()

    assert before == (threading.Thread.start, ThreadPoolExecutor.submit)
    assert in_request("id-1", in_thread, obskit.correlation_id) is None


@pytest.fixture
def patched_over(monkeypatch):
    """
    Have another tool's patch over ours: what it puts there, and the threads that it sees start.
    """
    for cls, name in ((threading.Thread, "start"), (ThreadPoolExecutor, "submit")):
        monkeypatch.setattr(cls, name, getattr(cls, name))  # what stands there now comes back at the end
    obskit.instrument_threads()
    ours, seen = threading.Thread.start, []

    def theirs(thread):
        seen.append(thread)
        ours(thread)

    monkeypatch.setattr(threading.Thread, "start", theirs)
    yield theirs, seen
    obskit.uninstrument_threads()


def test_somebody_who_patched_after_us_keeps_their_patch(patched_over):
    """
    A patch that another tool put over ours stays, and ours under it does nothing any more.
    """
    theirs, _ = patched_over
    obskit.uninstrument_threads()

    assert theirs is threading.Thread.start
    assert in_request("id-1", in_thread, obskit.correlation_id) is None


def test_it_can_be_turned_on_again_over_somebody_elses_patch(patched_over):
    """
    Then both do their work, and a thread starts once.
    """
    _, seen = patched_over
    obskit.uninstrument_threads()
    obskit.instrument_threads()

    assert ("id-1", 1) == (in_request("id-1", in_thread, obskit.correlation_id), len(seen))
