"""
The check of a provider of AI models: its key, what its latest calls met, and what is left of its limits.
"""

import pytest

from obskit import health
from obskit.ai.ai_operation import AiOperation
from obskit.ai.rate_limit_headers import latest_rate_limits
from obskit.ai.recent_calls import recent_calls
from obskit.errors import HealthCheckError
from obskit.testing import FakeClock, isolated_runtime

KEY = "sk-ant-" + "a" * 24
NO_FIGURE = {"provider": "anthropic", "calls": 0, "window_seconds": 300, "error_percent": "unknown"}


@pytest.fixture
def clock():
    return FakeClock(1_800_000_000.0)


@pytest.fixture(autouse=True)
def runtime(clock):
    with isolated_runtime(wall_clock=clock) as runtime:
        yield runtime


def made(count, error=None, provider="anthropic", **rare):
    for _ in range(count):
        op = AiOperation("planogram", provider, "m-1")
        op.cost_usd, op.error = 0.1, error
        for name, value in rare.items():
            setattr(op, name, value)
        recent_calls.add(op)


def told(remaining, limit=100, provider="anthropic"):
    row = [(b"anthropic-ratelimit-requests-limit", b"%d" % limit)]
    latest_rate_limits.read(provider, "m-1", [*row, (b"anthropic-ratelimit-requests-remaining", b"%d" % remaining)])


def found(**given):
    outcome = health.ai_provider("anthropic", key=KEY, **given)()
    return outcome.status, outcome.reason, dict(outcome.details)


def test_what_is_not_known_is_said_and_no_fault():
    """
    Without calls and without limits both figures are unknown, and the check passes.
    """
    assert found() == ("pass", None, {**NO_FIGURE, "headroom_percent": "unknown"})


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        (10, 0, ("pass", None, 0.0)),
        (19, 2, ("pass", None, 9.5)),
        (18, 2, ("warn", "2 of the last 20 calls failed", 10.0)),
        (10, 10, ("fail", "10 of the last 20 calls failed", 50.0)),
        (0, 9, ("pass", None, "unknown")),
    ],
)
def test_the_share_of_failed_calls_is_judged(good, bad, expected):
    """
    From 10 % on it warns, from 50 % on it fails; fewer than ten calls say nothing.
    """
    made(good)
    made(bad, "OverloadedError", status_code=529)
    status, reason, details = found()

    assert (status, reason, details["error_percent"]) == expected
    assert details["calls"] == good + bad


def test_only_this_providers_latest_calls_count(clock):
    """
    Calls of others, and those of more than five minutes ago, have no part in it.
    """
    made(20, "APIConnectionError")
    clock.advance(301)
    made(20, "APIConnectionError", provider="openai")
    made(10)
    status, _, details = found()

    assert (status, details["calls"], details["error_percent"]) == ("pass", 10, 0.0)


def test_what_the_application_did_is_not_the_providers_fault():
    """
    Requests that were refused for what they said, cancelled ones and those of a budget are left out.
    """
    made(20)
    made(30, "BadRequestError", status_code=400)
    made(30, "CancelledError")
    made(30, "BudgetExceededError")
    status, _, details = found()

    assert (status, details["calls"], details["error_percent"]) == ("pass", 110, 0.0)


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [
        (10, ("pass", None, 10.0)),
        (9, ("warn", "9 of 100 requests are left", 9.0)),
        (0, ("warn", "0 of 100 requests are left", 0.0)),
    ],
)
def test_the_scarcest_limit_is_judged(remaining, expected):
    """
    Below 10 % of a limit it warns; a limit that is used up is no failure by default.
    """
    told(remaining)
    told(5, provider="openai")
    latest_rate_limits.read("anthropic", "m-2", [(b"anthropic-ratelimit-tokens-limit", b"7")])
    status, reason, details = found()

    assert (status, reason, details["headroom_percent"]) == expected
    assert details["headroom_of"] == "requests of m-1"


def test_a_limit_that_was_reset_since_is_unknown(clock):
    """
    A minute after the provider said that nothing is left, nobody knows what is.
    """
    told(0)
    clock.advance(60)
    status, _, details = found()

    assert (status, details["headroom_percent"]) == ("pass", "unknown")


def test_thresholds_are_parameters():
    """
    Each may be set, or turned off with None; the worst of the figures is the status, and all reasons are told.
    """
    made(9)
    made(1, "APITimeoutError")
    told(40)
    given = {"warn_error_percent": 5, "fail_error_percent": 20, "fail_headroom_percent": 50, "min_calls": 10}

    assert found(**given)[:2] == ("fail", "1 of the last 10 calls failed; 40 of 100 requests are left")
    assert found(warn_error_percent=None, warn_headroom_percent=None)[:2] == ("pass", None)
    assert found(min_calls=11)[2]["error_percent"] == "unknown"


@pytest.mark.parametrize(
    "given", [{"warn_error_percent": -1}, {"fail_headroom_percent": 101}, {"min_calls": 0}, {"window_seconds": 0}]
)
def test_thresholds_that_cannot_be_are_refused(given):
    """
    It is an error when the check is made.
    """
    with pytest.raises(HealthCheckError, match="percents are 0 to 100"):
        health.ai_provider("anthropic", **given)


def test_a_missing_key_fails_whatever_the_calls_say(monkeypatch):
    """
    The key comes first, and is never shown.
    """
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    made(20)
    check = health.ai_provider("anthropic", required=True)

    assert (check().status, check().reason) == ("fail", "no key")
    assert KEY not in repr(health.ai_provider("anthropic", key=KEY))
