"""
The fakes do what applications' tests need of them.
"""

import sys
import threading
from datetime import timedelta
from itertools import pairwise

import pytest

import obskit
from obskit import _moved_clock, background
from obskit.background import Ticks
from obskit.errors import DurationError
from obskit.metrics import declare
from obskit.metrics.gauge_callbacks import gauge_callbacks
from obskit.operation import Event, HttpOperation
from obskit.recorder import recorder
from obskit.runtime import current_runtime
from obskit.testing import FakeClock, FakeIds, LineStream, RecordingSink, advance, isolated_runtime
from obskit.time.clock import Deadline
from obskit.time.clock import clock as obskit_clock

PATIENCE_SECONDS = 30


def serve():
    operation = HttpOperation("GET", "/")
    recorder.plan(HttpOperation).begin(operation)
    recorder.plan(HttpOperation).end(operation)
    return operation


def test_the_clock_is_the_tests():
    """
    Time passes when the test says so.
    """
    clock = FakeClock(5.0)
    clock.advance(2.5)

    assert 7.5 == clock()


def test_ids_are_counted():
    """
    Ids come in their order.
    """
    ids = FakeIds()

    assert ["id-1", "id-2"] == [ids(), ids()]


def test_a_recording_sink_keeps_everything():
    """
    What begins, what ends and what happens is there to look at.
    """
    sink, event = RecordingSink(), Event("a.b", "INFO", "it happened")
    with isolated_runtime(sinks=[sink]):
        operation = serve()
        recorder.emit(event)

    assert ([operation], [operation], [event]) == (sink.begun, sink.operations, sink.events)


def test_lines_are_parsed():
    """
    A line stream takes lines of JSON and nothing else.
    """
    stream = LineStream()
    stream.write('{"level": "INFO"}\n')

    assert [{"level": "INFO"}] == stream.lines
    with pytest.raises(ValueError, match="Expecting value"):
        stream.write("plain text\n")


def test_a_runtime_of_its_own():
    """
    Clock, wall clock, ids, registry and lines are the test's, and no variable or default of the process is touched.
    """
    with isolated_runtime(
        service="shop", clock=FakeClock(), wall_clock=FakeClock(1.5), ids=FakeIds(), max_label_sets=5
    ) as isolated:
        serve()

        assert ("shop", 5) == (isolated.settings.service, isolated.settings.max_label_sets)
        assert "id-1" == recorder.new_id()
        assert ["1970-01-01T00:00:01.500000Z"] == [line["timestamp"] for line in isolated.lines]
        assert 1.0 == isolated.value("http_requests_total", method="GET", endpoint="<unmatched>", status="_OTHER")
        assert isolated.value("http_requests_total", method="PUT") is None


def test_without_metrics_there_is_no_value():
    """
    With `metrics=False` there is no registry to read.
    """
    with isolated_runtime(metrics=False) as isolated:
        assert isolated.value("http_requests_total") is None


@pytest.mark.parametrize("broken", [{"max_label_sets": "many"}, {"no_such_setting": 1}])
def test_nothing_is_left_where_it_does_not_start(broken):
    """
    A wrong setting raises, and neither fakes nor strictness stay.
    """
    with pytest.raises(obskit.ConfigurationError), isolated_runtime(clock=FakeClock(), **broken):
        pass

    assert (None, False) == (current_runtime(), recorder.strict)
    assert not isinstance(recorder.clock, FakeClock)


def test_nothing_is_left_where_the_test_fails():
    """
    A block that raises is cleaned up after.
    """
    with pytest.raises(KeyError), isolated_runtime(ids=FakeIds()):
        raise KeyError("x")

    assert (None, False) == (current_runtime(), recorder.strict)
    assert not isinstance(recorder.new_id, FakeIds)


class Broken(RecordingSink):
    """
    Raise at each end.
    """

    def bind(self, kind):
        return None, lambda operation: 1 / 0


def test_strict_is_the_default():
    """
    What a sink raises is raised in the test, unless it asks for production's guard.
    """
    with isolated_runtime(sinks=[Broken()]), pytest.raises(ZeroDivisionError):
        serve()
    with isolated_runtime(sinks=[Broken()], strict=False) as isolated:
        serve()

        assert 1.0 == isolated.value("obskit_errors_total", sink="recording")


def asked_at(clock, name, every):
    """
    Declare a gauge, and give the moments at which its callback is called.
    """
    moments = []
    gauge = obskit.gauge(name, "Asked.", query=lambda: moments.append(clock()) or 1.0, every=every)
    return moments, gauge


def test_an_hour_passes_in_order():
    """
    What is due in an hour is called at its moments and in their order, without an hour.
    """
    clock = FakeClock(100.0)
    order = []
    with isolated_runtime(clock=clock):
        often, _ = asked_at(clock, "often", 60)
        rarely, _ = asked_at(clock, "rarely", 1500)
        obskit.gauge("any", "Any.", query=lambda: order.append(clock()) or 0.0, every=7.0)
        advance("1h")

    assert [100.0 + 60 * number for number in range(61)] == often
    assert [100.0, 1600.0, 3100.0] == rarely
    assert sorted(order) == order
    assert 515 == len(order)
    assert 3700.0 == clock.now


def test_the_same_again():
    """
    Two runs of one test give the same, whatever threads do meanwhile.
    """

    def run():
        clock, seen = FakeClock(), []
        with isolated_runtime(clock=clock):
            for name, every in (("a", 3.0), ("b", 5.0), ("c", 7.5)):
                obskit.gauge(name, "Asked.", query=lambda name=name: seen.append((name, clock())) or 0.0, every=every)
            advance("30s")
            advance(timedelta(seconds=7))
            declare.declared.clear()
            gauge_callbacks.clear()
        return seen

    first, second = run(), run()

    assert [moment for _, moment in first] == sorted(moment for _, moment in first)
    assert set(first) == set(second)
    assert [step for step in first if step[1] > 0] == [step for step in second if step[1] > 0]


def test_checks_in_the_background_run_when_they_are_due():
    """
    Each run of a check has ended before the time goes on.
    """
    clock, seen = FakeClock(), []
    with isolated_runtime(clock=clock):
        obskit.health.add("queue", lambda: seen.append(clock()) or {}, background=True, every=30)
        try:
            advance("10m")
        finally:
            obskit.health.remove("queue")

    assert 0.0 == seen[0]
    assert all(26 < later - earlier < 34 for earlier, later in pairwise(seen))
    assert 18 <= len(seen) <= 23


def test_a_budgets_period_ends():
    """
    What expires by the day has expired when a day has passed.
    """
    clock = FakeClock()
    with isolated_runtime(clock=clock, wall_clock=FakeClock(1_800_000_000.0)):
        budget = obskit.ai.budget("daily", usd=5.0, unknown_price="allow")
        before = budget.status().resets_at
        advance("25h")

        assert timedelta(days=1) == budget.status().resets_at - before


def test_a_step_under_way_is_of_the_present_moment():
    """
    A step that a thread has begun ends before the clock is moved, so that none after it is left out.
    """
    begun, go_on, moments = threading.Event(), threading.Event(), []

    def step():
        moments.append(obskit_clock.monotonic())
        begun.set()
        go_on.wait(PATIENCE_SECONDS)
        return 10.0

    with isolated_runtime(clock=FakeClock()):
        ticks = Ticks(name="obskit-toy", step=step, failed=recorder.failed, part="toy")
        ticks.start()
        begun.wait(PATIENCE_SECONDS)
        moving = threading.Thread(target=advance, args=("1m",))
        moving.start()
        while not waits_for_a_step(moving):
            pass
        go_on.set()
        moving.join(PATIENCE_SECONDS)
        ticks.stop(Deadline(PATIENCE_SECONDS))

    assert [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0] == moments


def waits_for_a_step(thread):
    """
    Look whether a thread waits for another's step, by what it runs.
    """
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code.co_name in ("await_step", "take_due_step")


@pytest.mark.parametrize("strict", [True, False])
def test_what_a_step_raises(strict):
    """
    An error of a callback is raised out of the test's own call, where it is strict; else it is counted, each time.
    """

    def broken():
        if clock() >= 60:
            raise KeyError("away")
        return 1.0

    clock = FakeClock()
    with isolated_runtime(clock=clock, strict=strict):
        obskit.gauge("broken", "Broken.", query=broken, every=60)
        if strict:
            with pytest.raises(KeyError, match="away"):
                advance("3m")
        else:
            advance("3m")

            assert 3 == recorder.errors["gauge_query"]


def test_only_a_fake_clock_is_moved():
    """
    Without one, and with a bare number, the error says what to write.
    """
    with pytest.raises(obskit.ConfigurationError, match="FakeClock"):
        advance("1h")
    with isolated_runtime(clock=lambda: 1.0), pytest.raises(obskit.ConfigurationError, match="FakeClock"):
        advance("1h")
    with isolated_runtime(clock=FakeClock()), pytest.raises(DurationError, match='"5s" is that many seconds'):
        advance(5)


def test_a_step_that_does_not_end_is_named(monkeypatch):
    """
    A callback that hangs in its thread fails the test, and does not hang it.
    """
    monkeypatch.setattr(_moved_clock, "_STEP_PATIENCE_SECONDS", 0.05)
    clock, begun, go_on = FakeClock(), threading.Event(), threading.Event()
    with isolated_runtime(clock=clock):
        obskit.gauge("hangs", "Hangs.", query=lambda: begun.set() or go_on.wait(60) or 1.0, every=60)
        assert begun.wait(60)
        with pytest.raises(AssertionError, match="obskit-gauges is at a step"):
            advance("1m")
        go_on.set()


def test_a_step_that_is_always_due_is_named(monkeypatch):
    """
    A thread that never lets time pass fails the test.
    """
    monkeypatch.setattr(_moved_clock, "_STEPS_AT_ONCE", 20)
    stuck = Ticks(name="obskit-stuck", step=lambda: 0.0, failed=recorder.failed, part="stuck")
    with isolated_runtime(clock=FakeClock()):
        with background.moved_by_a_test():  # so that it takes none by itself before
            stuck.start()
            with pytest.raises(AssertionError, match="obskit-stuck is due again and again"):
                advance("1m")
        stuck.stop(Deadline(60))
