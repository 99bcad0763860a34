"""
The report: what it says of calls equals what they were, what it does not know it says, and it stays small.
"""

import json
import threading
import tracemalloc
from contextlib import nullcontext
from datetime import UTC, datetime

import pytest

import obskit
from forked import in_child
from obskit.ai import recent_calls as ring
from obskit.ai.ai_operation import AiOperation
from obskit.ai.rate_limit_headers import latest_rate_limits
from obskit.ai.recent_calls import RecentCalls, recent_calls
from obskit.ai.usage import Usage
from obskit.context import current
from obskit.errors import ConfigurationError
from obskit.operation import HttpOperation
from obskit.testing import FakeClock, isolated_runtime

from .provider import headers

HOUR, DAY = 3600, 86_400
START = datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()
MODELS = {"m-1": {"input": 2, "output": 10}, "m-2": {"input": 20, "output": 100}}


@pytest.fixture
def clock():
    return FakeClock(START)


@pytest.fixture
def runtime(clock, sink):
    with isolated_runtime(sinks=[sink], prices=MODELS, clock=clock, wall_clock=clock) as runtime:
        yield runtime


@pytest.fixture
def call(clock, runtime):
    """
    Make one call.
    """

    def call(service="planogram", provider="acme", model="m-1", input=1000, output=100, seconds=1, error=None, **rare):
        expected = pytest.raises(type(error)) if error else nullcontext()
        with expected, obskit.observe_ai(service=service, provider=provider, model=model) as op:
            clock.advance(seconds)
            if input is not None:
                op.usage(input_tokens=input, output_tokens=output)
            for name, value in rare.items():
                setattr(op, name, value)
            if error is not None:
                raise error

    return call


def by_name(groups):
    return {group.name: group for group in groups}


def test_nothing_is_reported_of_nothing(runtime):
    """
    Without calls there is a report: no quantiles, no speed, no cost, and nothing to recommend.
    """
    report = obskit.ai.report()

    assert (report.total.calls, report.total.cost_usd, report.total.success_rate) == (0, 0.0, 1.0)
    assert (report.seconds, report.output_tokens_per_second, report.recommendations) == (None, None, ())
    assert (report.by_service, report.recent_errors, report.projection.status) == ((), (), "too early")
    assert (report.total.seconds, report.total.tokens_per_call, report.total.cost_usd_per_call) == (None, None, None)
    assert (report.by_day_and_model, report.conclusion) == ({}, "no calls")
    assert report.render().endswith("\n\nnothing to say: no call was seen\n")
    assert report.known_since == report.made_at == "2026-11-10T12:00:00Z"
    assert not report.is_complete
    assert "calls         0" in report.render()


def test_calls_add_up_by_everything(call, clock):
    """
    Each call is in one service, one model, one route, one feature, one user and one day, dearest first.
    """
    request = HttpOperation("GET", "/plates/7")
    request.endpoint = "/plates/{plate}"
    token = current.set(request)
    obskit.bind(feature="shelf", user=7)
    call()
    call(service="labels", model="m-2")
    current.reset(token)
    clock.advance(13 * HOUR)
    call(service="")
    report = obskit.ai.report()

    found = {
        part: [(group.name, group.calls, round(group.cost_usd, 9)) for group in getattr(report, f"by_{part}")]
        for part in ("service", "model", "route", "feature", "user", "day")
    }
    assert found == {
        "service": [("labels", 1, 0.03), ("(none)", 1, 0.003), ("planogram", 1, 0.003)],
        "model": [("acme/m-2", 1, 0.03), ("acme/m-1", 2, 0.006)],
        "route": [("/plates/{plate}", 2, 0.033), ("(none)", 1, 0.003)],
        "feature": [("shelf", 2, 0.033), ("(none)", 1, 0.003)],
        "user": [("7", 2, 0.033), ("(none)", 1, 0.003)],
        "day": [("2026-11-10", 2, 0.033), ("2026-11-11", 1, 0.003)],
    }
    assert report.total.tokens == {"input": 3000, "cache_read": 0, "cache_write": 0, "output": 300}
    assert report.total.all_tokens == 3300


def test_groups_beyond_the_limit_are_one(call):
    """
    Twenty groups are listed, and whatever is not in them is together in the last.
    """
    for number in range(30):
        call(service=f"s{number:02}", input=1000 * (30 - number))
    groups = obskit.ai.report().by_service

    assert (len(groups), groups[0].name, groups[-1].name, groups[-1].calls) == (20, "s00", "(others)", 11)
    assert sum(group.calls for group in groups) == 30


def test_only_the_hours_that_were_asked_for(call, clock, runtime):
    """
    Older calls are left out; whether all of the time is known is said.
    """
    call()
    clock.advance(2 * HOUR)
    call()
    found = {hours: obskit.ai.report(hours) for hours in (1, 2.5)}

    assert [(report.total.calls, report.is_complete) for report in found.values()] == [(1, True), (2, False)]
    assert found[1].known_since == "2026-11-10T12:00:00Z"


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf"), "24", None, True])
def test_hours_that_cannot_be_are_refused(hours):
    """
    Anything but a number above 0 is an error that says so.
    """
    with pytest.raises(ConfigurationError, match="expected a number above 0"):
        obskit.ai.report(hours)


def test_quantiles_and_speed(call):
    """
    Quantiles are exact, failed calls included; the speed is that of successful calls that told their usage.
    """
    for seconds in range(1, 101):
        call(seconds=seconds, output=10 * seconds, first_chunk_seconds=seconds / 10)
    call(seconds=1000, error=KeyError("plate"))
    report = obskit.ai.report()

    assert (report.seconds.p50, report.seconds.p95, report.seconds.p99) == pytest.approx((51, 96, 100))
    assert report.first_chunk_seconds.p50 == pytest.approx(5, abs=1e-6)
    assert report.output_tokens_per_second == pytest.approx(10)


def test_unknown_costs_stand_apart(call):
    """
    Calls whose price nobody knows, or without usage, are counted by reason; where no cost is known it is None, not 0.
    """
    call()
    call(provider="unknown", model="m-9")
    call(provider="unknown", model="m-9", input=None)
    report = obskit.ai.report()

    models = by_name(report.by_model)
    assert (models["acme/m-1"].cost_usd, models["unknown/m-9"].cost_usd) == (pytest.approx(0.003), None)
    assert (report.total.unknown_cost_calls, report.unknown_cost) == (2, {"unknown_provider": 1, "no_usage": 1})
    assert [line.split()[-2:] for line in report.render().splitlines() if "unknown/m-9" in line] == [["?", "2"]]
    assert "(unknown_provider): name their host in `providers`" in report.recommendations[0].text


def test_estimates_and_waste_stand_apart(call):
    """
    What an estimate says is never among what is known; what failed calls cost is shown by what ended them.
    """
    call()
    call(estimated=True, aborted="closed")
    call(error=KeyError("plate"))
    report = obskit.ai.report()

    total = report.total
    assert (total.cost_usd, total.estimated_cost_usd) == (pytest.approx(0.006), pytest.approx(0.003))
    assert (total.tokens["input"], total.estimated_tokens["input"]) == (2000, 1000)
    assert report.wasted_usd == {"closed": pytest.approx(0.003), "error": pytest.approx(0.003)}
    assert "$0.00600 + ~$0.00300" in report.render()


def test_recent_errors_have_no_message(call, clock):
    """
    The last ten failures are listed, the latest first, by class and status, without what they said.
    """
    for number in range(12):
        call(service=f"s{number}", error=KeyError("secret plate"), status_code=429)
    report = obskit.ai.report()

    assert [error.service for error in report.recent_errors] == [f"s{number}" for number in range(11, 1, -1)]
    first = report.recent_errors[0]
    assert (first.error, first.status, first.at, first.provider) == ("KeyError", 429, "2026-11-10T12:00:12Z", "acme")
    assert "secret" not in report.render() + report.to_json()


def test_the_month_is_projected_from_a_day_on(call, clock):
    """
    With less than a day of data it is too early; then what was seen counts, and the rate for all that was not.
    """
    for _ in range(23):
        call(input=500_000, output=0, seconds=0)  # a dollar
        clock.advance(HOUR)
    early = obskit.ai.report().projection
    clock.advance(HOUR)
    call(input=500_000, output=0, seconds=0)
    found = obskit.ai.report().projection

    assert (early.status, early.month_usd, early.per_day_usd) == ("too early", None, None)
    assert (found.status, found.days) == ("ok", 1)
    # 24 dollars in the one day that is known, of a month that has 30.
    assert (found.per_day_usd, found.month_usd) == (24, 24 * 30)


def test_the_rate_is_that_of_the_last_week(call, clock):
    """
    What is longer ago than a week, or in another month, has no part in the rate, and what is of this month is counted.
    """
    call(input=50_000_000, output=0, seconds=0)
    clock.advance(8 * DAY)
    call(input=3_500_000, output=0, seconds=0)
    found = obskit.ai.report().projection

    # 7 dollars in 7 days; 107 were seen of this month, which has 30 days, in 8 of them.
    assert (found.per_day_usd, found.days, found.month_usd) == (1, 7, pytest.approx(107 + 22))


def test_a_month_of_unknown_costs_is_unknown(call, clock):
    """
    Without one known cost nothing is projected.
    """
    clock.advance(2 * DAY)
    call(model="m-9")
    report = obskit.ai.report()

    assert (report.projection.status, report.projection.month_usd) == ("unknown", None)
    assert "this month    ?" in report.render()


def codes(report):
    return [recommendation.code for recommendation in report.recommendations]


def test_recommendations_quote_their_figures(call, clock, runtime):
    """
    Each says what was found, in figures that can be checked against the report.
    """
    for number in range(40):
        call(
            service="",
            provider="openai",
            model="m-2" if number < 15 else "m-1",
            input=3000,
            error=KeyError("plate") if number < 10 else None,
            attempts=2 if number % 4 == 0 else 1,
            retry_wait_seconds=0.5 if number % 4 == 0 else 0.0,
            savings_usd=-0.5 if number >= 15 else 0.0,
        )
    told = [(b"x-ratelimit-limit-requests", b"500"), (b"x-ratelimit-remaining-requests", b"3")]
    latest_rate_limits.read("openai", "m-1", told)
    report = obskit.ai.report()
    text = {recommendation.code: recommendation.text for recommendation in report.recommendations}

    assert codes(report) == [
        *("rate-limit", "errors", "wasted-cost", "retries", "cache", "cache-writes", "expensive-model", "no-service"),
    ]
    assert text["rate-limit"].startswith("3 of 500 requests were left at openai for m-1 0 s ago")
    assert text["errors"] == "10 of 40 calls failed, 25 %; 10 of them with KeyError"
    assert text["wasted-cost"].startswith("$0.700 of $1.23, 57 %, went into 10 calls")
    assert text["retries"].startswith("40 calls took 10 retries and waited 5.0 s")
    assert text["cache"].startswith("25 calls of m-1 took 3,000 tokens of input each, and 0 %")
    assert text["cache-writes"].startswith("the cache made 25 calls of m-1 $12.50 dearer")
    assert text["expensive-model"].startswith("m-2 makes 86 % of the cost ($1.05 of $1.23) with 38 % of the calls")
    assert text["no-service"].startswith("40 of 40 calls have no service")
    assert all(line in report.render() for line in text.values())


def test_high_cost_and_slowness_are_found(call, clock):
    """
    What is dear in dollars, and what is slow in seconds, is said with its figures and the bound; bounds are arguments.
    """
    for number in range(20):
        call("planogram", model="m-2", input=250_000, output=1000, seconds=8 if number else 20)
        call("labels", seconds=4)
    found = {one.code: one.text for one in obskit.ai.report().recommendations}
    strict = [one.text for one in obskit.ai.report(high_cost_usd=101, slow_seconds=3).recommendations]
    mild = codes(obskit.ai.report(high_cost_usd=200, slow_seconds=8.6))
    off = codes(obskit.ai.report(high_cost_usd=None, slow_seconds=None))
    clock.advance(2 * DAY)
    projected = {one.code: one.text for one in obskit.ai.report(hours=72).recommendations}

    assert found["high-cost"].startswith(
        "$102.06 were spent in the last 30 days, more than $100.00; planogram made 100 % of $102.06 in this report: "
    )
    assert found["slow"].startswith(
        "20 calls of planogram took 8.6 s on average, more than 5 s, and 20.0 s at most; 20 of them with m-2, 8.6 s "
        "and 1,000 tokens of output each: "
    )
    assert [text.split(" took ")[0] for text in strict if " on average" in text] == [
        "20 calls of planogram",
        "20 calls of labels",
    ]
    assert [text.split(";")[0] for text in strict if "spent" in text] == [
        "$102.06 were spent in the last 30 days, more than $101.00"
    ]
    assert not {"high-cost", "slow"} & {*mild, *off}
    assert projected["high-cost"].startswith("this month is projected to cost $1,5")


def test_slowness_needs_calls(call):
    """
    Nineteen slow calls of a service, or slow ones among many fast, are no finding.
    """
    for _ in range(19):
        call("planogram", seconds=100)
    for number in range(40):
        call("labels", seconds=60 if number == 0 else 1)

    assert "slow" not in codes(obskit.ai.report())


@pytest.mark.parametrize("name", ["high_cost_usd", "slow_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True])
def test_bounds_that_cannot_be_are_refused(name, value):
    """
    Anything but a number above 0, or None, is an error that names the argument.
    """
    with pytest.raises(ConfigurationError, match=rf"report\({name}=.*expected a number above 0"):
        obskit.ai.report(**{name: value})


def test_that_nothing_was_found_is_said(call):
    """
    Whether there is nothing to find, or too little to tell, is in the object and in the table.
    """
    call()
    few = obskit.ai.report()
    for _ in range(19):
        call()
    enough = obskit.ai.report()
    for _ in range(2):
        call(error=KeyError("plate"))
    wrong = obskit.ai.report()

    assert [report.conclusion for report in (few, enough, wrong)] == ["too few calls", "nothing found", "findings"]
    assert few.render().splitlines()[-1].startswith("nothing found, with too few calls to tell")
    assert enough.render().splitlines()[-1].startswith("nothing found: rate limits, errors, cost")
    assert "nothing found" not in wrong.render()


def test_a_healthy_few_calls_recommend_nothing(call):
    """
    Where nothing is wrong, or too few calls were made to tell, nothing is recommended.
    """
    for number in range(19):
        call(provider="openai", input=3000, error=KeyError("plate") if number == 0 else None)
    few = codes(obskit.ai.report())
    for _ in range(40):
        call(provider="openai", input=1000)

    assert (few, codes(obskit.ai.report())) == ([], [])


def test_it_is_json(call):
    """
    The object, as a dictionary and as JSON, has the same fields, and no NaN.
    """
    call(model="m-9", input=None, error=KeyError("plate"))
    report = obskit.ai.report()
    told = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(name))

    assert told == json.loads(json.dumps(report.to_dict()))
    assert (told["total"]["cost_usd"], told["by_model"][0]["name"]) == (None, "acme/m-9")
    assert told["recent_errors"][0]["error"] == "KeyError"


def spread(found):
    return None if found is None else (found.count, round(found.mean, 6), round(found.min, 6), round(found.max, 6))


def test_the_report_equals_a_hand_made_bill(call, clock):
    """
    Means, extremes and sums of seconds, tokens and dollars, of all and by service, model and day, are those of a bill
    that was added up by hand; what is not known is in none of them.
    """
    call("planogram", model="m-1", input=1_000_000, output=100_000, seconds=2)  # 2 + 1 dollars
    call("planogram", model="m-1", input=500_000, output=0, seconds=4)  # 1
    call("labels", model="m-2", input=100_000, output=50_000, seconds=9)  # 2 + 5
    clock.advance(12 * HOUR)  # it is the 11th
    call("planogram", model="m-2", input=50_000, output=10_000, seconds=1)  # 1 + 1
    call("labels", model="m-1", input=2_000_000, output=200_000, seconds=6, error=KeyError("plate"))  # 4 + 2
    call("labels", model="m-9", input=10, output=10, seconds=3)  # nobody knows
    call("labels", model="m-1", input=100_000, output=0, seconds=5, estimated=True, aborted="closed")  # about 0.2
    report = obskit.ai.report()

    total = report.total
    assert (total.calls, total.errors, total.cost_usd, total.estimated_cost_usd) == (7, 1, 19, pytest.approx(0.2))
    assert spread(total.cost_usd_per_call) == (5, 3.8, 1, 7)
    assert spread(total.tokens_per_call) == (6, 668_336.666667, 20, 2_200_000)
    assert spread(total.seconds) == spread(report.seconds) == (7, 4.285714, 1, 9)
    assert {
        group.name: (group.cost_usd, spread(group.cost_usd_per_call), spread(group.seconds))
        for group in (*report.by_service, *report.by_model)
    } == {
        "planogram": (6, (3, 2, 1, 3), (3, 2.333333, 1, 4)),
        "labels": (13, (2, 6.5, 6, 7), (4, 5.75, 3, 9)),
        "acme/m-1": (10, (3, 3.333333, 1, 6), (4, 4.25, 2, 6)),
        "acme/m-2": (9, (2, 4.5, 2, 7), (2, 5, 1, 9)),
        "acme/m-9": (None, None, (1, 3, 3, 3)),
    }
    assert {
        day: [(group.name, group.calls, group.cost_usd) for group in groups]
        for day, groups in report.by_day_and_model.items()
    } == {
        "2026-11-10": [("acme/m-2", 1, 7), ("acme/m-1", 2, 4)],
        "2026-11-11": [("acme/m-1", 2, 6), ("acme/m-2", 1, 2), ("acme/m-9", 1, None)],
    }
    assert [line.split() for line in report.render().splitlines() if line.startswith(("cost by day", "acme/m"))][
        -4:
    ] == [
        ["cost", "by", "day", "11-10", "11-11"],
        ["acme/m-1", "$4.00", "$6.00", "+", "~$0.200"],
        ["acme/m-2", "$7.00", "$2.00"],
        ["acme/m-9", "-", "?"],
    ]
    assert "$3.80 a call, from $1.00 to $7.00" in report.render()
    assert "4.29 s a call, from 1.00 s to 9.00 s" in report.render()


def test_every_group_adds_up(call, clock):
    """
    Sums are means times counts, extremes hold the quantiles, and the groups of each kind add up to the total, models
    that are not listed included.
    """
    for number in range(60):
        call(f"s{number % 7}", model=f"m-{1 + number % 2}", input=100 * number, seconds=1 + number % 13)
        call(provider=f"p{number % 25}", model="m-1", input=number)
        clock.advance(HOUR)
    report = obskit.ai.report()
    parts = [report.by_service, report.by_model, report.by_route, report.by_feature, report.by_user, report.by_day]
    parts.append([group for groups in report.by_day_and_model.values() for group in groups])

    for groups in parts:
        assert sum(group.calls for group in groups) == report.total.calls
        for kind in ("seconds", "cost_usd_per_call", "tokens_per_call"):
            found = [getattr(group, kind) for group in groups if getattr(group, kind) is not None]
            whole = getattr(report.total, kind)
            assert sum(one.count for one in found) == whole.count
            assert sum(one.mean * one.count for one in found) == pytest.approx(whole.mean * whole.count)
            assert (min(one.min for one in found), max(one.max for one in found)) == (whole.min, whole.max)
            assert all(one.min <= one.p50 <= one.p95 <= one.p99 <= one.max for one in found)
    listed = {group.name for group in report.by_model}
    assert {group.name for groups in report.by_day_and_model.values() for group in groups} <= listed
    assert "(others)" in listed
    assert [*report.by_day_and_model] == [day.name for day in report.by_day]


def test_the_report_equals_the_bill(provider, prices):
    """
    Calls of real clients in every form, failures among them, are reported as the provider charged for them.
    """
    sdk = pytest.importorskip("openai")
    from . import forms
    from .bill import counted

    with isolated_runtime(prices=prices) as runtime:
        obskit.instrument_openai(providers={"127.0.0.1": "openai"})
        with sdk.OpenAI(api_key="none", base_url=f"{provider.url}/v1", max_retries=1) as client:
            for number, form in enumerate(forms.OPENAI):
                form(client, extra_headers=headers(input=100 + number, cache_read=number, cache_write=3, output=number))
            forms.chat_stream(client, extra_headers=headers(fail=(429,), end="truncate"))
            with pytest.raises(sdk.RateLimitError):
                forms.chat(client, extra_headers=headers(fail=(429, 429)))
        report = obskit.ai.report()
        tokens, usd = counted(runtime)
        obskit.uninstrument_openai()

    total = report.total
    assert (total.calls, total.errors, report.retries) == (len(forms.OPENAI) + 2, 2, 2)
    assert total.tokens == tokens == provider.tokens()
    assert total.cost_usd == pytest.approx(usd) == pytest.approx(float(provider.usd()))
    assert (total.estimated_tokens["output"], total.estimated_cost_usd > 0, total.unknown_cost_calls) == (8, True, 0)
    assert {error.error: error.status for error in report.recent_errors} == {"RateLimitError": 429, "truncated": 200}


def op_of(service="s", user="", tokens=None):
    op = AiOperation(service, "acme", "m-1")
    op.tokens, op.cost_usd = tokens or Usage(input=1), 1.0
    op.fields = {"user": user, "feature": user}
    return op


def test_the_ring_forgets_the_oldest(monkeypatch, clock, runtime):
    """
    A full ring keeps the latest calls, and then knows only since the oldest of them.
    """
    monkeypatch.setattr(ring, "MAX_CALLS", 10)
    for number in range(25):
        clock.advance(60)
        recent_calls.add(op_of(service=f"s{number}"))
    report = obskit.ai.report()

    assert {group.name for group in report.by_service} == {f"s{number}" for number in range(15, 25)}
    assert (report.known_since, report.is_complete) == ("2026-11-10T12:16:00Z", False)
    assert obskit.ai.report(0.15).is_complete


def test_names_are_bounded_and_come_free_again(monkeypatch, runtime):
    """
    Users beyond the bound share a name, those that no kept call has any more make room, and no call is lost.
    """
    monkeypatch.setattr(ring, "MAX_CALLS", 100)
    monkeypatch.setattr(ring, "MAX_NAMES", 20)
    kept = RecentCalls()
    for number in range(60):
        kept.add(op_of(user=f"u{number}"))
    crowded = [row.labels.user for row in kept.rows()]
    for _ in range(100):
        kept.add(op_of(user="regular"))
    kept.add(op_of(user="late"))
    later = [row.labels.user for row in kept.rows()]

    assert crowded == [f"u{number}" for number in range(20)] + ["_OTHER"] * 40
    assert (len(later), later.count("regular") + later.count("_OTHER"), later.count("late")) == (100, 99, 1)


def test_absurd_names_and_figures_are_kept_small(runtime):
    """
    Names that are too long, figures that no field holds, and names that are no text: each is one call.
    """
    kept = RecentCalls()
    kept.add(op_of(service="x" * 10_000, user=7, tokens=Usage(input=10**9, parts=(Usage(input=10**9, model="m"),) * 9)))
    odd = op_of()
    odd.attempts, odd.status_code = 10**6, 10**6
    kept.add(odd)
    first, _ = kept.rows()

    assert (first.labels.service, first.labels.user, first.tokens[0]) == ("x" * 100, "7", 10**10)


def test_the_store_is_bounded_in_bytes(runtime):
    """
    With more calls than it holds, each with names of its own as long as they may be, it takes less than 20 MB.
    """
    ops = [op_of(service=str(number).rjust(100), user=str(number).rjust(100)) for number in range(ring.MAX_NAMES * 2)]
    tracemalloc.start()
    kept = RecentCalls()
    for number in range(ring.MAX_CALLS + 10):
        kept.add(ops[number % len(ops)])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(list(kept.rows())) == ring.MAX_CALLS
    assert size < 20_000_000


def test_threads_lose_no_call(runtime):
    """
    Calls of eight threads, with reports made meanwhile, are all there.
    """

    def work(number):
        for _ in range(500):
            recent_calls.add(op_of(service=f"s{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    seen = [obskit.ai.report().total.calls for _ in range(5)]
    for thread in threads:
        thread.join()

    assert seen == sorted(seen)
    assert {group.name: group.calls for group in obskit.ai.report().by_service} == dict.fromkeys(
        (f"s{number}" for number in range(8)), 500
    )


def test_a_forked_child_knows_its_own_calls_alone(call, runtime):
    """
    What a parent did before a fork is not in the child's report.
    """
    call()
    found = in_child(lambda: obskit.ai.report().total.calls)

    assert (found, obskit.ai.report().total.calls) == ("0", 1)


def test_a_new_runtime_begins_anew(call, clock, runtime):
    """
    A report can be made after `shutdown()`; the next `configure()` begins a new one.
    """
    call()
    obskit.shutdown()
    after = obskit.ai.report(10**6).total.calls
    with isolated_runtime():
        anew = obskit.ai.report(10**6).total.calls

    assert (after, anew) == (1, 0)


@pytest.mark.parametrize("made", [4, 10, 13, 20])
@pytest.mark.parametrize("last", [1, 3, 7, 10, 99])
def test_the_latest_calls_come_in_their_order(made, last, monkeypatch, runtime):
    """
    However full the ring is, its latest calls are read the oldest first.
    """
    monkeypatch.setattr(ring, "MAX_CALLS", 10)
    kept = RecentCalls()
    for number in range(made):
        kept.add(op_of(service=str(number)))

    expected = [str(number) for number in range(made)][-10:][-last:]
    assert [row.labels.service for row in kept.rows(last)] == expected
