"""
Rate limits: what a provider's headers say, as gauges and as data, whatever became of the call.
"""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

import obskit
import obskit.ai.observe  # what measures calls: without it nobody asks for the gauges
from obskit.ai.rate_limit_headers import MAX_KEPT, LatestRateLimits, latest_rate_limits, rate_limits
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime

from .provider import headers

NOW = 1_800_000_000.0
SOON = datetime.fromtimestamp(NOW + 30, UTC).isoformat().replace("+00:00", "Z")
CLAUDE = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "7",
    "anthropic-ratelimit-requests-reset": SOON,
    "anthropic-ratelimit-output-tokens-limit": "8000",
    "Anthropic-RateLimit-Output-Tokens-Remaining": "0",
}
GPT = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "1m30s",
    "x-ratelimit-limit-tokens": "90000",
    "x-ratelimit-remaining-tokens": "89000",
    "x-ratelimit-reset-tokens": "500ms",
}


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def runtime(sink, clock):
    with isolated_runtime(sinks=[sink], wall_clock=clock) as runtime:
        yield runtime


def sent(**scene):
    return {"extra_headers": headers(**scene)}


def gauges(runtime, provider, kind):
    names = ("limit", "remaining", "reset_seconds", "timestamp_seconds")
    return tuple(runtime.value(f"ai_ratelimit_{name}", provider=provider, kind=kind) for name in names)


CLAUDE_FORMS = ("create", "stream", "helper", "raw", "streaming_stream", "async_create", "async_stream")


@pytest.mark.parametrize("form", CLAUDE_FORMS)
def test_every_form_of_anthropics_tells(form, anthropic, provider, runtime, clock):
    """
    Requests and each sort of tokens are gauges by their kind; what the reply does not say has no gauge and is None.
    """
    pytest.importorskip("anthropic")
    from . import forms

    call = getattr(forms, form)
    if form.startswith("async_"):

        async def main():
            async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url) as client:
                await call(client, **sent(limits=CLAUDE))

        asyncio.run(main())
    else:
        with anthropic.Anthropic(api_key="none", base_url=provider.url) as client:
            call(client, **sent(limits=CLAUDE))
    clock.advance(12)

    assert gauges(runtime, "anthropic", "requests") == (50, 7, 30, NOW)
    assert gauges(runtime, "anthropic", "output_tokens") == (8000, 0, None, NOW)
    requests, output = rate_limits()
    assert (requests.limit, requests.remaining, requests.headroom) == (50, 7, 0.14)
    assert (requests.resets_at.timestamp(), requests.read_at.timestamp()) == (NOW + 30, NOW)
    assert (output.kind, output.remaining, output.resets_at, output.age_seconds) == ("output_tokens", 0, None, 12)
    assert {limit.model for limit in (requests, output)} == {"claude-test"}


@pytest.mark.parametrize("form", ["chat", "chat_stream", "responses_stream", "chat_raw"])
def test_every_form_of_openais_tells(form, gpt, runtime):
    """
    OpenAI's durations are read as such.
    """
    from . import forms

    getattr(forms, form)(gpt, **sent(limits=GPT))

    assert gauges(runtime, "openai", "requests") == (500, 499, 90, NOW)
    assert gauges(runtime, "openai", "tokens") == (90000, 89000, 0.5, NOW)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_refusal_tells(retries, gpt, openai, runtime):
    """
    A 429 says that nothing is left, whether it is the last answer or the SDK tries again.
    """
    from . import forms

    refused = {**GPT, "x-ratelimit-remaining-requests": "0"}
    fail = (429, "drop")
    with pytest.raises(openai.APIError):
        forms.chat(gpt.with_options(max_retries=retries), **sent(limits=refused, fail=fail))

    [requests, _] = rate_limits("openai")
    assert (requests.remaining, requests.headroom) == (0, 0.0)
    assert gauges(runtime, "openai", "requests")[1] == 0


def raw(**told):
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in told.items()]


@pytest.mark.parametrize("is_shared", [False, True])
def test_what_a_reply_does_not_say_stands(is_shared, tmp_path, clock):
    """
    A gauge keeps its figure over replies that leave it out, however many come between two pages.
    """
    with isolated_runtime(wall_clock=clock, metrics_dir=str(tmp_path / "workers") if is_shared else None) as runtime:
        latest_rate_limits.read("p", "m", raw(x_ratelimit_limit_tokens="9", x_ratelimit_reset_tokens="30s"))
        latest_rate_limits.read("p", "m", raw(x_ratelimit_remaining_tokens="7"))
        latest_rate_limits.read("p", "n", raw(x_ratelimit_remaining_tokens="6"))
        clock.advance(5)
        latest_rate_limits.read("p", "m", raw(x_ratelimit_limit_tokens="8"))

        assert gauges(runtime, "p", "tokens") == (8, 6, 30, NOW + 5)
    latest_rate_limits.clear()


TELLING = """
import sys
import obskit
import obskit.ai.observe
from obskit.ai.rate_limit_headers import latest_rate_limits

obskit.configure(service="telling", metrics_dir=sys.argv[1])
latest_rate_limits.read("p", "m", [(b"x-ratelimit-remaining-tokens", b"7")])
print("told", flush=True)
sys.stdin.read()
obskit.shutdown()
"""


def test_another_worker_shows_what_a_reply_said(tmp_path):
    """
    A worker's page has the figures of a reply to another one, which has not made a page since.
    """
    pytest.importorskip("fcntl")
    folder = str(tmp_path / "workers")
    with (
        isolated_runtime(metrics_dir=folder) as runtime,
        subprocess.Popen(
            [sys.executable, "-c", TELLING, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other,
    ):
        try:
            assert other.stdout.readline() == "told\n"
            assert runtime.value("ai_ratelimit_remaining", provider="p", kind="tokens") == 7
        finally:
            other.communicate()


@pytest.mark.parametrize(
    "value",
    ["-1", "1e3", "", "many", "99999999999999", "1.5", "9" * 5000],
)
def test_absurd_figures_are_left_out_and_counted(value, runtime):
    """
    A limit that is no sensible number is unknown, its neighbours are kept, and it is counted as dropped.
    """
    latest_rate_limits.read("p", "m", raw(x_ratelimit_limit_requests=value, x_ratelimit_remaining_requests="3"))

    [limit] = rate_limits()
    assert (limit.limit, limit.remaining, limit.headroom) == (None, 3, None)
    assert runtime.value("obskit_dropped_total", sink="ai", reason="rate_limit_header") == 1
    assert gauges(runtime, "p", "requests")[:3] == (None, 3, None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("2d", 172_800),
        ("0s", 0),
        ("17", 17),
        ("0.25", 0.25),
        (SOON, 30),
        ("2027-01-15T09:00:30+01:00", 30),
        *((bad, None) for bad in ("", "soon", "-5s", "5x", "99999h", "9" * 400, "2027-01-15T08:00:30", "s", "nan")),
        *((bad, None) for bad in ("2999-01-01T00:00:00Z", "1999-01-01T00:00:00Z", "T", "\xff", "inf")),
    ],
)
def test_when_a_limit_is_reset(value, seconds, runtime):
    """
    Moments and durations are read, in every unit; one that cannot be is unknown, and counted.
    """
    latest_rate_limits.read(
        "p", "m", [(b"x-ratelimit-reset-tokens", value.encode("latin-1")), *raw(x_ratelimit_limit_tokens="9")]
    )

    [limit] = rate_limits()
    found = None if limit.resets_at is None else limit.resets_at.timestamp() - NOW
    assert found == seconds
    assert recorder.dropped["ai", "rate_limit_header"] == (seconds is None)


def test_a_limit_that_was_reset_since_says_nothing_of_now(runtime, clock):
    """
    Once the reset has passed, or a minute where none was told, how much is left is not known any more.
    """
    latest_rate_limits.read("p", "m", raw(x_ratelimit_limit_tokens="9", x_ratelimit_remaining_tokens="3"))
    latest_rate_limits.read(
        "q", "m", raw(x_ratelimit_limit_tokens="9", x_ratelimit_remaining_tokens="3", x_ratelimit_reset_tokens="2m")
    )
    found = []
    for seconds in (59, 60, 1):
        clock.advance(seconds)
        found.append([limit.is_current for limit in rate_limits()])

    assert found == [[True, True], [False, True], [False, False]]
    assert [limit.headroom for limit in rate_limits()] == [None, None]


def test_replies_without_such_headers_change_nothing(runtime):
    """
    A provider that says nothing is not in the list, and one that said something keeps it.
    """
    latest_rate_limits.read("p", "m", raw(x_ratelimit_limit_tokens="9"))
    latest_rate_limits.read("p", "m", raw(content_type="application/json"))
    latest_rate_limits.read("q", "m", [])

    assert [(limit.provider, limit.limit) for limit in rate_limits()] == [("p", 9)]
    assert rate_limits("q") == ()


def test_what_is_kept_is_bounded(runtime):
    """
    The pairs of provider and model that were asked last are kept.
    """
    kept = LatestRateLimits()
    for number in (*range(MAX_KEPT), 0, MAX_KEPT):
        kept.read("p", f"m{number:03}", raw(x_ratelimit_limit_tokens="9"))

    models = {limit.model for limit in kept.known()}
    assert len(models) == MAX_KEPT
    assert models == {f"m{number:03}" for number in range(MAX_KEPT + 1)} - {"m001"}


def test_they_are_json(runtime):
    """
    A limit is a dictionary that is ready for JSON; nothing outlives the runtime.
    """
    latest_rate_limits.read("p", "m", raw(x_ratelimit_limit_tokens="9", x_ratelimit_reset_tokens="30s"))
    [told] = json.loads(json.dumps([limit.to_dict() for limit in rate_limits()]))
    obskit.shutdown()

    assert (told["limit"], told["remaining"], told["headroom"]) == (9, None, None)
    assert datetime.fromisoformat(told["resets_at"]).timestamp() == NOW + 30
    assert rate_limits() == ()


def test_headers_that_cannot_be_read_break_nothing(gpt, openai, sink, monkeypatch):
    """
    A reader that fails is counted, and the application gets its reply.
    """
    from . import forms

    recorder.strict = False
    monkeypatch.setattr(latest_rate_limits, "read", lambda *told: 1 / 0)
    forms.chat(gpt)

    assert (len(sink.operations), sink.operations[0].outcome) == (1, "success")
    assert recorder.errors["ai"] == 1
