"""
The fakes do what applications' tests need of them.
"""

import pytest

import obskit
from obskit.operation import Event, HttpOperation
from obskit.recorder import recorder
from obskit.runtime import current_runtime
from obskit.testing import FakeClock, FakeIds, LineStream, RecordingSink, isolated_runtime


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
