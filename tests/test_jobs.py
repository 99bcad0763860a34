"""
A job that runs outside of requests has an id, a line and spans of its own.
"""

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import obskit
from obskit.context import current
from obskit.errors import ConfigurationError
from obskit.testing import FakeClock, FakeIds, isolated_runtime
from within import in_request


def plain(body):
    @obskit.job("nightly")
    def run():
        return body()

    return run()


def coroutine(body):
    @obskit.job("nightly")
    async def run():
        return body()

    return asyncio.run(run())


def generator(body):
    @obskit.job("nightly")
    def run():
        yield body()

    [answer] = run()
    return answer


def block(body):
    with obskit.job("nightly"):
        return body()


WAYS = {"function": plain, "coroutine": coroutine, "generator": generator, "block": block}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_an_id_on_its_lines_and_calls(way):
    """
    Each run has a new id: on its lines beside the job's name, on outgoing headers, and on the line of its end.
    """
    clock, seen = FakeClock(), []

    def body():
        obskit.get_logger("shop").info("at work")
        obskit.bind(rows=3)
        clock.advance(2.5)
        seen.append((obskit.correlation_id(), obskit.outgoing_headers()["X-Correlation-ID"]))
        return "done"

    with isolated_runtime(clock=clock, ids=FakeIds()) as isolated:
        answers = [WAYS[way](body) for _ in range(2)]
        lines = [line for line in isolated.lines if line["logger"] in ("shop", "obskit.job")]

    assert (["done"] * 2, [("id-1", "id-1"), ("id-2", "id-2")]) == (answers, seen)
    assert ["at work", "job", "at work", "job"] == [line["message"] for line in lines]
    assert [("nightly", f"id-{run}") for run in (1, 1, 2, 2)] == [
        (line["job"], line["correlation_id"]) for line in lines
    ]
    assert ("INFO", "success", 2500.0, 3) == tuple(
        lines[1][name] for name in ("level", "outcome", "duration_ms", "rows")
    )
    assert current.get() is None


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_fails_says_so(way):
    """
    What a job raises goes on, and its line is an error with the exception's class.
    """
    with isolated_runtime() as isolated:
        with pytest.raises(ZeroDivisionError):
            WAYS[way](lambda: 1 / 0)
        [line] = [line for line in isolated.lines if line["logger"] == "obskit.job"]

    assert ("ERROR", "error", "ZeroDivisionError") == (line["level"], line["outcome"], line["error"])


def test_a_job_in_a_request_keeps_the_request_s_id():
    """
    It is a run of its own, and its lines name the request; the request's own go on as before.
    """

    def request():
        with obskit.job("mail"):
            obskit.get_logger("shop").info("inside")
        obskit.get_logger("shop").info("after")

    with isolated_runtime(ids=FakeIds()) as isolated:
        in_request("of-the-request", request)
        lines = {line["message"]: line for line in isolated.lines if line["logger"] in ("shop", "obskit.job")}

    assert ("id-1", "of-the-request") == tuple(lines["inside"][n] for n in ("correlation_id", "parent_correlation_id"))
    assert ("id-1", "of-the-request") == tuple(lines["job"][n] for n in ("correlation_id", "parent_correlation_id"))
    assert ("of-the-request", None) == (lines["after"]["correlation_id"], lines["after"].get("job"))


def test_a_job_has_a_span():
    """
    What runs inside of it is below it, and the line of its end names the trace.
    """
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with isolated_runtime(tracing=provider) as isolated:
        with obskit.job("nightly"), obskit.observe("step"):
            pass
        [line] = [line for line in isolated.lines if line["logger"] == "obskit.job"]
    step, job = exporter.get_finished_spans()

    assert ("nightly", None, job.context.span_id) == (job.name, job.parent, step.parent.span_id)
    assert f"{job.context.trace_id:032x}" == line["trace_id"]


@pytest.mark.parametrize("name", ["", "x" * 101, 7, None, len])
def test_a_name_that_cannot_be(name):
    """
    A job has a name, which is said at once.
    """
    with pytest.raises(ConfigurationError, match="expected a name of 1 to 100 characters"):
        obskit.job(name)
