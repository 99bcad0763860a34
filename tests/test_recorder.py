"""
The recorder carries each operation to the sinks that want its kind, and lets nothing they raise out.
"""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from obskit.loss_counts import LossCounts
from obskit.observation import FunctionOperation
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Recorder
from obskit.recorder import recorder as process_recorder
from obskit.testing import FakeClock, RecordingSink, isolated_runtime

EVENT = Event("health.transition", "WARNING", "database is down")


class Broken:
    """
    Raise in everything.
    """

    name = "broken"

    def bind(self, kind):
        return self.fail, self.fail

    def fail(self, operation):
        raise RuntimeError("a sink's mistake")

    emit = fail


class Picky(RecordingSink):
    """
    Want the end of functions only.
    """

    name = "picky"

    def bind(self, kind):
        return None, self.operations.append if kind is FunctionOperation else None


@pytest.fixture
def recorder():
    recorder = Recorder()
    recorder.clock = FakeClock(100.0)
    return recorder


def run(recorder, operation, seconds=0.0):
    plan = recorder.plan(type(operation))
    plan.begin(operation)
    recorder.clock.advance(seconds)
    plan.end(operation)
    return operation


def test_a_plan_is_the_same_object_for_good(recorder):
    """
    Decorators keep a kind's plan from before `configure()` on; it is changed, never replaced.
    """
    plan = recorder.plan(HttpOperation)
    recorder.bind([RecordingSink()])
    active = plan.active
    recorder.bind([])

    assert (True, False) == (active, plan.active)
    assert plan is recorder.plan(HttpOperation)


def test_without_sinks_nothing_happens(recorder):
    """
    A plan of no runtime times an operation and hands it to nobody.
    """
    operation = run(recorder, HttpOperation("GET", "/"), seconds=1.0)

    assert (1.0, True) == (operation.duration_seconds, operation.ended)


def test_a_kind_that_is_asked_for_late_is_bound(recorder):
    """
    A kind that nobody knew when the sinks came gets them too.
    """
    sink = RecordingSink()
    recorder.bind([sink])
    operation = run(recorder, FunctionOperation("job"))

    assert ([operation], [operation]) == (sink.begun, sink.operations)


def test_an_operation_is_timed_between_begin_and_end(recorder):
    """
    The duration is what the monotonic clock says, and an end in the past is taken at its word.
    """
    recorder.bind([RecordingSink()])
    plan = recorder.plan(HttpOperation)
    early = HttpOperation("GET", "/")
    plan.begin(early)
    recorder.clock.advance(5.0)
    plan.end(early, 102.0)

    assert 2.0 == early.duration_seconds
    assert 3.0 == run(recorder, HttpOperation("GET", "/"), seconds=3.0).duration_seconds


def test_the_end_comes_once(recorder):
    """
    A second end changes nothing and reaches nobody.
    """
    sink = RecordingSink()
    recorder.bind([sink])
    operation = run(recorder, HttpOperation("GET", "/"), seconds=1.0)
    recorder.clock.advance(1.0)
    recorder.plan(HttpOperation).end(operation)

    assert (1.0, [operation]) == (operation.duration_seconds, sink.operations)


def test_a_sink_is_asked_once_what_it_wants(recorder):
    """
    What a sink does not want is not in its plans, and sinks are called in their order.
    """
    first, picky = RecordingSink(), Picky()
    recorder.bind([first, picky])
    request, function = run(recorder, HttpOperation("GET", "/")), run(recorder, FunctionOperation("job"))

    assert ([request, function], [function]) == (first.operations, picky.operations)


def test_the_guard_counts_and_logs_once(recorder, caplog):
    """
    A sink that raises is counted each time and logged the first, and the sinks after it get everything.
    """
    after = RecordingSink()
    recorder.bind([Broken(), after])
    with caplog.at_level(logging.ERROR, "obskit"):
        operation = run(recorder, HttpOperation("GET", "/"))
        recorder.emit(EVENT)

    assert {"broken": 3} == recorder.errors
    assert ["broken failed; obskit_errors_total counts on"] == caplog.messages
    assert ([operation], [operation], [EVENT]) == (after.begun, after.operations, after.events)


def test_a_strict_guard_raises(recorder):
    """
    In tests no mistake hides.
    """
    recorder.strict = True
    recorder.bind([Broken()])

    with pytest.raises(RuntimeError, match="a sink's mistake"):
        recorder.plan(HttpOperation).begin(HttpOperation("GET", "/"))


def test_a_logging_handler_that_raises_is_guarded_too(recorder):
    """
    The complaint about a sink must not do what the sink was kept from.
    """

    class Raising(logging.Handler):
        def emit(self, record):
            raise RuntimeError("a handler's mistake")

    logger, handler = logging.getLogger("obskit"), Raising()
    logger.addHandler(handler)
    try:
        recorder.failed("part", ValueError("x"))
    finally:
        logger.removeHandler(handler)

    assert {"part": 1} == recorder.errors


def test_reset_forgets_counts_and_fakes(recorder):
    """
    After it the clock is the real one and nothing has been counted.
    """
    recorder.failed("part", ValueError("x"))
    recorder.dropped.inc(("logs", "EAGAIN"))
    recorder.reset()

    assert ({}, {}) == (recorder.errors, recorder.dropped)
    assert not isinstance(recorder.clock, FakeClock)


def test_an_operation_nests_under_what_runs():
    """
    Where nothing runs an operation is its own root; a reason that failed it goes to `extra`, never to labels.
    """
    operation = Operation()
    operation.nest()
    operation.fail("out of paper")

    assert (operation, None) == (operation.root, operation.parent)
    assert ("failed", "error", {"reason": "out of paper"}) == (operation.error, operation.outcome, operation.extra)


@pytest.mark.parametrize(
    ("method", "label"), [("GET", "GET"), ("PATCH", "PATCH"), ("get", "_OTHER"), ("BREW", "_OTHER")]
)
def test_methods_are_a_bounded_set(method, label):
    """
    A method of the RFCs is its own label; every other shares one.
    """
    assert label == HttpOperation(method, "/").method


@pytest.mark.parametrize("counted", ["errors", "dropped"])
def test_counts_are_exact_under_threads_and_never_fall(counted):
    """
    Eight threads count while one reads the page: no count is lost, and no exported figure falls.
    """
    key, name, labels = {
        "errors": ("part", "obskit_errors_total", {"sink": "part"}),
        "dropped": (("logs", "closed"), "obskit_dropped_total", {"sink": "logs", "reason": "closed"}),
    }[counted]
    interval, seen = sys.getswitchinterval(), []
    with isolated_runtime() as isolated, ThreadPoolExecutor(8) as pool:
        counts = getattr(process_recorder, counted)
        sys.setswitchinterval(1e-6)
        try:
            done = [pool.submit(lambda: [counts.inc(key) for _ in range(500)]) for _ in range(8)]
            while not all(future.done() for future in done):
                seen.append(isolated.value(name, **labels) or 0.0)
        finally:
            sys.setswitchinterval(interval)
        seen.append(isolated.value(name, **labels))

        assert [4000.0, 4000] == [seen[-1], counts[key]]
    assert sorted(seen) == seen


def test_what_was_counted_before_a_page_is_on_it_once():
    """
    Counts of before `configure()` are shown, and those that come later are added.
    """
    counts, shown = LossCounts(), LossCounts()
    counts.inc("early", 2)
    counts.subscribe(shown.inc)
    counts.inc("early")

    assert ({"early": 3}, {"early": 3}) == (dict(counts), dict(shown))
    assert (0, False, 1) == (counts["never"], "never" in counts, len(counts))


class Unbindable(RecordingSink):
    """
    Raise when it is asked for its steps.
    """

    name = "unbindable"

    def bind(self, kind):
        raise OSError(24, "too many open files")


def test_a_sink_that_cannot_be_bound_is_left_out(recorder):
    """
    A plan whose sink raises has the steps of the others, and each such failure is counted.
    """
    good = RecordingSink()
    recorder.bind([Unbindable(), good])
    operation = run(recorder, FunctionOperation("weigh"))

    assert [operation] == good.operations
    assert 1 == recorder.errors["unbindable"]


def test_a_kind_that_comes_while_others_are_bound_is_bound(recorder):
    """
    To bind may import, and what is imported makes plans: these have the steps too.
    """

    class Late(Operation):
        pass

    class Importing(RecordingSink):
        def bind(self, kind):
            recorder.plan(Late)
            return super().bind(kind)

    recorder.plan(FunctionOperation)
    recorder.bind([sink := Importing()])
    operation = run(recorder, Late())

    assert [operation] == sink.operations


def test_a_plan_that_nobody_has_bound_yet_does_nothing(recorder):
    """
    Another thread may have a new plan before its sinks are asked.
    """

    class Asking(RecordingSink):
        def bind(self, kind):
            seen.append(run(recorder, kind("weigh")).ended)
            return super().bind(kind)

    seen = []
    recorder.bind([Asking()])
    recorder.plan(FunctionOperation)

    assert [True] == seen
