"""
What a finaliser ends is only noted there: when it is ended, in what order, where, and how long it took.
"""

import sqlite3
import threading
from wsgiref.util import setup_testing_defaults

import pytest

import obskit
from forked import in_child
from obskit import deferred_endings
from obskit.context import current
from obskit.deferred_endings import drain, end_later, waiting
from obskit.observation import FunctionOperation, observe
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, RecordingSink, isolated_runtime

plan = recorder.plan(FunctionOperation)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def runtime(sink, clock):
    with isolated_runtime(sinks=[sink], clock=clock, service="x") as runtime:
        yield runtime


def begun(name):
    op = FunctionOperation(name)
    plan.begin(op)
    return op


def dropped(name):
    """
    Do what a finaliser does: note that an operation has ended just now.
    """
    op = begun(name)
    end_later(op, plan.end, plan.clock())
    return op


def names(operations):
    return [op.function for op in operations]


def ended(sink):
    """
    Look without reading: what reads ends what waits.
    """
    return names(sink._operations)


def test_nothing_ends_in_the_finaliser(runtime, sink):
    """
    A finaliser notes an ending, and no sink hears of it yet.
    """
    dropped("a")

    assert ended(sink) == []


def test_a_duration_ends_with_its_owner(runtime, sink, clock):
    """
    An operation is as long as its owner lived, however late it is ended.
    """
    op = begun("a")
    clock.advance(3)
    end_later(op, plan.end, plan.clock())
    clock.advance(90)
    drain()

    assert (ended(sink), op.duration_seconds) == (["a"], 3.0)


def test_a_begin_ends_what_waits_before_its_own_clock_starts(runtime, sink, clock):
    """
    What waits is ended before the next operation begins, and its time is not the next one's.
    """

    class Slow(RecordingSink):
        name = "slow"

        def bind(self, kind):
            return None, lambda op: clock.advance(10)

    recorder.bind([Slow()])
    dropped("a")
    with observe("b") as op:
        pass

    assert op.started == 10.0


@pytest.mark.parametrize(
    "read",
    [
        lambda runtime, sink: sink.operations,
        lambda runtime, sink: sink.begun,
        lambda runtime, sink: sink.events,
        lambda runtime, sink: runtime.lines,
        lambda runtime, sink: runtime.value("up"),
        lambda runtime, sink: runtime.runtime.flush(),
        lambda runtime, sink: obskit.ai.report(),
        lambda runtime, sink: obskit.db.slow_queries(),
        lambda runtime, sink: obskit.ai.budget("b", usd=1, per="day").status(),
        lambda runtime, sink: obskit.shutdown(),
    ],
)
def test_a_reading_ends_what_waits(runtime, sink, read):
    """
    Whoever reads figures finds those of what was dropped by then.
    """
    dropped("a")
    read(runtime, sink)

    assert ended(sink) == ["a"]


def test_the_order_is_that_of_the_endings(runtime, sink):
    """
    What was dropped comes in the order in which it was dropped, and before what ends afterwards.
    """
    outer = begun("outer")
    for op in (begun("a"), begun("b")):
        end_later(op, plan.end, plan.clock())
    plan.end(outer)

    assert ended(sink) == ["a", "b", "outer"]


def test_a_sink_that_begins_something_does_not_end_the_next_one(runtime, sink):
    """
    A sink that observes something itself, while what waits is ended, does not nest one ending in the other.
    """
    left = []

    class Observing(RecordingSink):
        name = "observing"

        def bind(self, kind):
            return None, self.observe

        def observe(self, op):
            if op.function != "own":
                left.append(len(waiting))
                with observe("own"):
                    pass

    recorder.bind([Observing(), sink])
    for op in [begun(name) for name in "abc"]:
        end_later(op, plan.end, plan.clock())
    drain()

    assert (left, ended(sink)) == ([2, 1, 0], ["own", "a", "own", "b", "own", "c"])


def test_an_ending_has_no_part_in_the_request_that_drains(runtime, sink):
    """
    What a request ends for another neither runs in it, nor takes its id or adds to its totals.
    """
    seen = []
    other = HttpOperation("GET", "/other")
    other.correlation_id = "other"
    token = current.set(other)
    op = begun("a")
    current.reset(token)
    mine = HttpOperation("GET", "/mine")
    mine.correlation_id = "mine"
    token = current.set(mine)
    end_later(op, lambda op, at: seen.append(obskit.correlation_id()), plan.clock())
    drain()
    current.reset(token)

    assert seen == ["other"]


def test_a_requests_totals_have_what_it_dropped(runtime, clock):
    """
    A query whose cursor a request drops with rows left is on its line, and nobody else's.
    """
    obskit.instrument_sqlite3()
    db = sqlite3.connect(":memory:")
    db.create_function("wait", 0, lambda: clock.advance(2))

    def served(environ, start_response):
        if environ["PATH_INFO"] == "/asks":
            db.execute("select wait() union all select 1")
        start_response("200 OK", [])
        return [b""]

    app = obskit.instrument(served)
    for path in ("/asks", "/other"):
        environ = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        list(app(environ, lambda *start: None))
    obskit.uninstrument_sqlite3()
    db.close()

    assert [2000.0, None] == [line.get("db_ms") for line in runtime.lines if line["message"] == "request"]


def test_what_has_ended_by_itself_is_left_alone(runtime, sink):
    """
    An operation that ended between its owner's end and the drain counts once.
    """
    op = dropped("a")
    plan.end(op)
    drain()

    assert ended(sink) == ["a"]


def test_an_ending_that_raises_is_counted(sink):
    """
    An ending that raises harms neither the others nor who drains.
    """
    with isolated_runtime(sinks=[sink], strict=False, service="x"):
        bad, good = begun("a"), begun("b")
        end_later(bad, lambda op, at: 1 / 0, plan.clock())
        end_later(good, plan.end, plan.clock())
        drain()

        assert (recorder.errors["endings"], ended(sink)) == (1, ["b"])


def test_a_forked_child_leaves_the_parents_to_the_parent(runtime, sink):
    """
    Neither what waits at a fork, nor what the parent began and the child drops, is counted in the child.
    """
    recorder.clock.advance(1)
    op = begun("b")
    recorder.clock.advance(1)
    dropped("a")

    def in_the_child():
        recorder.clock.advance(1)
        before = len(waiting)
        end_later(op, plan.end, plan.clock())
        return before, len(waiting)

    assert in_child(in_the_child) == "(0, 0)"
    drain()
    assert ended(sink) == ["a"]


def test_an_idle_process_ends_it_soon(runtime, sink, monkeypatch):
    """
    Where nothing else happens, a thread ends what waits, and is gone.
    """
    heard = threading.Event()
    monkeypatch.setattr(deferred_endings, "PATIENCE_SECONDS", 0.01)
    op = begun("a")
    end_later(op, lambda op, at: heard.set(), plan.clock())

    assert heard.wait(30)


def test_no_thread_to_be_had_harms_nobody(runtime, sink, monkeypatch):
    """
    Where no thread can be started, a finaliser raises nothing, the next one tries again, and others end what waits.
    """
    asked = []

    def refuse(*args):
        asked.append(args)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    monkeypatch.setattr(deferred_endings._state, "has_thread", False)
    for op in (begun("a"), begun("b")):
        end_later(op, plan.end, plan.clock())

    assert (names(sink.operations), len(asked)) == (["a", "b"], 2)
