"""
What has been timed elsewhere counts once, as it would have been had it been timed here.
"""

import pytest

import obskit
from obskit.errors import ConfigurationError
from obskit.testing import FakeClock, RecordingSink, isolated_runtime
from within import in_request

PRICES = {"m": obskit.ai.Price(input=1.0, output=2.0)}


@pytest.mark.parametrize("around", [False, True])
def test_a_query_that_was_timed_elsewhere_counts_once(around):
    """
    Its seconds, rows and error are its own, and it counts with its request; a block around it is no second query.
    """
    sink = RecordingSink()

    def query():
        obskit.db.record(table="plants", operation="SELECT", system="oracle", seconds=1.5, rows=3)

    def request():
        if around:
            with obskit.observe_db("plants", "select"):
                query()
        else:
            query()

    with isolated_runtime(sinks=[sink], clock=FakeClock(100.0)) as isolated:
        in_request("id-1", request)
        labels = {"table": "plants", "operation": "select", "system": "oracle"}
        count = isolated.value("database_query_duration_seconds_count", **labels)
        total = isolated.value("database_query_duration_seconds_sum", **labels)
        [op] = sink.operations

    assert (1.0, 1.5) == (count, total)
    assert (98.5, 1.5, 3, 1) == (op.started, op.duration_seconds, op.rows, op.root.totals.db_queries)


@pytest.mark.parametrize("around", [False, True])
def test_an_ai_call_that_was_timed_elsewhere_counts_once(around):
    """
    It is priced by its tokens, and a block around it is no second call, but names its service.
    """
    sink = RecordingSink()

    def call():
        obskit.ai.record(provider="p", model="m", seconds=2.0, input_tokens=1_000_000, output_tokens=500_000)

    with isolated_runtime(sinks=[sink], clock=FakeClock(100.0), prices=PRICES):
        if around:
            with obskit.observe_ai(service="planogram"):
                call()
        else:
            call()
        [op] = sink.operations

    assert ("planogram" if around else "", 2.0, 2.0, None) == (op.service, op.duration_seconds, op.cost_usd, op.error)


def test_a_budget_counts_a_call_that_was_made_elsewhere():
    """
    What it cost is spent, and no budget refuses what has happened already.
    """
    with isolated_runtime(prices=PRICES):
        budget = obskit.ai.budget("recorded", usd=1.5, action="block", unknown_price="allow")
        for _ in range(3):
            obskit.ai.record(provider="p", model="m", seconds=1.0, input_tokens=1_000_000)
        spent = budget.status().spent_usd

    assert 2.0 == spent


def test_errors_are_told():
    """
    The class of an exception makes it a failure.
    """
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink]):
        obskit.db.record(table="plants", operation="select", seconds=0.1, error="OperationalError")
        obskit.ai.record(provider="p", model="m", seconds=0.1, error="APIError")

    assert [("error", "OperationalError"), ("error", "APIError")] == [(op.outcome, op.error) for op in sink.operations]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", None, True])
def test_seconds_that_are_no_time(seconds):
    """
    A negative time is refused, as is what is no number.
    """
    with pytest.raises(ConfigurationError, match="expected seconds, 0 or more"):
        obskit.db.record(table="plants", operation="select", seconds=seconds)
    with pytest.raises(ConfigurationError, match="expected seconds, 0 or more"):
        obskit.ai.record(provider="p", model="m", seconds=seconds)
