"""
Prices: the application's own first, then the package's, and unknown where neither knows.
"""

import json
import os
import sys
from datetime import UTC, datetime

import pytest

import obskit
from obskit.ai import pricing
from obskit.ai.pricing import Cost, Price, PriceData, cost
from obskit.ai.usage import Usage, read
from obskit.errors import ConfigurationError
from obskit.testing import FakeClock, RecordingSink, isolated_runtime

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
# Published prices on 2026-11-20, worked out by hand.
REFERENCE = [
    (
        "anthropic",
        "claude-sonnet-5-5",
        Usage(input=2000, cache_read=8000, cache_write=2000, cache_write_1h=500, output=700),
        0.01755,
    ),
    ("anthropic", "claude-haiku-5-5", Usage(input=50_000, cache_read=100_000, output=1000), 0.0325),
    ("openai", "gpt-5.6-sol", Usage(input=2000, cache_read=8000, cache_write=2000, output=700, reasoning=200), 0.0352),
    ("openai", "gpt-5.5", Usage(input=250_000, cache_read=50_000, output=2000, tier="flex"), 1.320),
    ("anthropic", "claude-sonnet-5-5", Usage(input=12_000, output=700, tier="batch"), 0.0155),
    ("anthropic", "claude-sonnet-5-5", Usage(input=12_000, output=700, web_searches=2), 0.051),
    ("openai", "gpt-5.6-sol", Usage(input=1000, output=10, tier="priority"), 0.0084),
]


@pytest.mark.parametrize(("provider", "model", "usage", "usd"), REFERENCE)
def test_reference_prices(provider, model, usage, usd):
    """
    Seven calls with caches, tiers of context and of service, a batch and searches cost what their price lists say.
    """
    pytest.importorskip("genai_prices")

    assert cost(provider, model, usage, AT).usd == pytest.approx(usd, abs=1e-12)


def claude(model, input, read=0, write_5m=0, write_1h=0, output=0, **more):
    usage = {"input_tokens": input, "cache_read_input_tokens": read, "output_tokens": output, **more}
    split = {"ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h}
    return {
        "model": model,
        "usage": {**usage, "cache_creation_input_tokens": write_5m + write_1h, "cache_creation": split},
    }


def gpt(model, input, read=0, write=0, output=0, reasoning=0, **more):
    usage = {
        **{"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": write},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
    return {"model": model, "usage": usage, **more}


REPLIES = [
    ("anthropic", claude("claude-sonnet-5-5", 2000, 8000, 1500, 500, output=700), 0.01755),
    ("anthropic", claude("claude-haiku-5-5", 50_000, 100_000, output=1000), 0.0325),
    ("openai", gpt("gpt-5.6-sol", 12_000, 8000, 2000, output=700, reasoning=200), 0.0352),
    ("openai", gpt("gpt-5.5", 300_000, 50_000, output=2000, service_tier="flex"), 1.320),
    ("anthropic", claude("claude-sonnet-5-5", 12_000, output=700, service_tier="batch"), 0.0155),
    ("anthropic", claude("claude-sonnet-5-5", 12_000, output=700, server_tool_use={"web_search_requests": 2}), 0.051),
    ("openai", gpt("gpt-5.6-sol", 1000, output=10, service_tier="priority"), 0.0084),
]


KINDS = [
    # Worked out by hand from the list of 2026-11-20: (provider, model, usage, dollars)
    ("perplexity", "sonar", Usage(input=100, output=50), 0.012 + 150e-6),
    ("perplexity", "sonar", Usage(input=100_000, output=50, web_searches=3), 0.012 + 0.1 + 50e-6),
    (
        "perplexity",
        "sonar-deep-research",
        Usage(input=108, output=83_803, reasoning=73_248, citations=7_299, web_searches=74),
        108 * 2e-6 + 3_256 * 8e-6 + 73_248 * 3e-6 + 7_299 * 2e-6 + 74 * 0.005,
    ),
    ("openai", "gpt-image-1.5", Usage(input=1000, image_input=950, output=4000, image_output=4000), 0.13585),
    ("openai", "gpt-5", Usage(input=1000, output=1000, file_searches=2), 0.01125 + 0.005),
    ("openai", "gpt-5", Usage(input=1000, output=1000, containers=1), 0.01125 + 0.03),
    ("openai", "gpt-4o-audio-preview", Usage(input=1000, output=10, audio_output=8), None),
    ("openai", "gpt-4o-transcribe", Usage(input=1000, audio_input=900, output=10), 0.00025 + 0.0054 + 0.0001),
    *(("openai", "gpt-4o", Usage(input=10, tier=tier), None) for tier in ("flex", "scale", "provisioned", "ultra")),
    *(("openai", "gpt-4o", Usage(input=1000, tier=tier), 0.0025) for tier in ("default", "standard", "auto")),
    ("openai", "gpt-4o", Usage(input=1000, tier="priority"), 0.00425),
    ("azure.ai.openai", "gpt-4o", Usage(input=1000, tier="priority"), None),
    ("anthropic", "claude-sonnet-4-5", Usage(input=1000, speed="fast"), None),
    ("anthropic", "claude-sonnet-4-5", Usage(input=1000, tier="priority"), None),
    ("anthropic", "claude-opus-4-6", Usage(input=1_000_000, geo="us"), 5.5),
    ("anthropic", "claude-opus-4-6", Usage(input=1_000_000, geo="us", web_searches=100), 6.5),
    ("anthropic", "claude-opus-4-6", Usage(input=1_000_000, geo="mars"), None),
    ("gcp.vertex_ai", "claude-opus-4-6", Usage(input=1_000_000, geo="us-east5"), 5.5),
    ("gcp.vertex_ai", "google/gemini-2.5-flash", Usage(input=1000, geo="us-central1"), 0.0003),
    ("openai", "gpt-4o", Usage(input=1000, reported_usd=0.5), 0.5),
    ("unknown", "house", Usage(input=1000, reported_usd=0.5), 0.5),
    ("openai", "gpt-6.1-terra", Usage(input=1000, cache_write=500, cache_write_12h=500), None),
    ("gcp.gen_ai", "gemini-2.5-flash", Usage(input=1000), 0.0003),
    ("azure.ai.inference", "gpt-4o", Usage(input=1000), 0.0025),
]


@pytest.mark.parametrize(("provider", "model", "usage", "usd"), KINDS)
def test_what_has_a_rate_of_its_own_is_priced_by_it_or_unknown(provider, model, usage, usd):
    """
    Kinds, fees, tiers and places have their own prices, and where the list has none the cost is unknown.
    """
    pytest.importorskip("genai_prices")

    found = [cost(provider, model, usage, AT) for _ in range(2)]
    expected = Cost(None, "no_price") if usd is None else Cost(pytest.approx(usd, abs=1e-12))
    assert [(each.usd, each.reason) for each in found] == [expected[:2]] * 2


SPLITS = [
    # (provider, model, reply, dollars): what a cache gave is told by kinds, of which some are left out
    (
        "openai",
        "gpt-realtime",
        {
            "usage": {
                **{"input_tokens": 1000, "output_tokens": 100},
                "input_token_details": {
                    **{"audio_tokens": 300, "cached_tokens": 500},
                    "cached_tokens_details": {"text_tokens": 500, "audio_tokens": 0},
                },
                "output_token_details": {"audio_tokens": 80},
            }
        },
        (200 * 4 + 300 * 32 + 500 * 0.4 + 20 * 16 + 80 * 64) / 1e6,
    ),
    (
        "gcp.gemini",
        "gemini-2.5-flash",
        {
            "usageMetadata": {
                **{"promptTokenCount": 1000, "candidatesTokenCount": 100, "cachedContentTokenCount": 500},
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 300}],
                "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 500}],
            }
        },
        (200 * 0.3 + 300 * 1 + 500 * 0.03 + 100 * 2.5) / 1e6,
    ),
]


@pytest.mark.parametrize(("provider", "model", "reply", "usd"), SPLITS)
def test_kinds_that_a_split_does_not_name_are_none_of_a_cache(provider, model, reply, usd):
    """
    Sound beside a cache that held none is priced; where it is not told what the cache held, the cost is unknown.
    """
    pytest.importorskip("genai_prices")
    usage = read(reply, provider)
    unsplit = read(json.loads(json.dumps(reply).replace("cached_tokens_details", "").replace("cacheTokensDetails", "")))

    assert cost(provider, model, usage, AT) == Cost(pytest.approx(usd, abs=1e-12))
    assert cost(provider, model, unsplit, AT) == Cost(None, "not_by_token")


def test_an_answer_of_a_model_that_has_prices_for_none_is_not_free():
    """
    Output alone, of a model whose list has a price of input alone, is unknown; what costs nothing at all is free.
    """
    pytest.importorskip("genai_prices")
    found = [
        cost("openai", "text-embedding-3-small", Usage(output=10), AT),
        cost("openrouter", "poolside/laguna-xs-2.1:free", Usage(input=10, output=10), AT),
    ]

    assert found == [Cost(None, "not_by_token"), Cost(0.0)]


def test_prices_change_by_the_hour():
    """
    DeepSeek's rates of the night and of the day are each used in their hours, whichever was asked first.
    """
    package = pytest.importorskip("genai_prices")
    usage = package.Usage(input_tokens=1000, output_tokens=1000)
    for model in ("deepseek-v4-pro", "deepseek-chat"):
        for hour in (2, 5, 0, 3.99, 4, 7, 10, 16.49, 16.5, 23, 2):
            at = datetime(2026, 11, 20, tzinfo=UTC).timestamp() + hour * 3600
            expected = package.calc_price(
                usage, model, provider_id="deepseek", genai_request_timestamp=datetime.fromtimestamp(at, UTC)
            ).total_price
            found = cost("deepseek", model, Usage(input=1000, output=1000), at)
            assert found.usd == pytest.approx(float(expected), abs=1e-12), (model, hour)


@pytest.mark.parametrize(
    ("answered", "asked", "usd"),
    [
        ("claude-opus-4-8", "anthropic.claude-opus-4-8", 0.0055),
        ("claude-opus-4-8", "global.anthropic.claude-opus-4-8", 0.005),
        ("claude-opus-4-8", "global.anthropic.claude-opus-4-8-v1:0", 0.005),
        ("claude-mystery", "anthropic.claude-opus-4-8", None),
        ("opus", "anthropic.claude-opus-4-8", None),
    ],
)
def test_a_bare_name_is_priced_by_the_name_that_was_asked(answered, asked, usd):
    """
    Where a reply's name is the asked one without its region, the asked one tells the price; another model is unknown.
    """
    pytest.importorskip("genai_prices")

    assert cost("aws.bedrock", asked, Usage(input=1000, model=answered), AT).usd == (
        None if usd is None else pytest.approx(usd, abs=1e-12)
    )


def test_an_own_price_has_fees_and_beats_what_is_told():
    """
    The setting `prices` comes before a told cost; its fees come from itself, else from the list, else they are unknown.
    """
    pytest.importorskip("genai_prices")
    table = {
        "claude-opus-4-8": Price(input=5, output=25),
        "house": Price(input=5, output=25, web_search=20, request=1, audio_input=50, image_output=100, reasoning=10),
        "bare": Price(input=5, output=25),
    }
    with isolated_runtime(prices=table):
        found = [
            cost("anthropic", "claude-opus-4-8", Usage(input=1000, output=500, web_searches=30), AT).usd,
            cost("unknown", "house", Usage(input=1000, web_searches=3), AT).usd,
            cost("unknown", "house", Usage(input=1000, audio_input=100, output=10, image_output=5), AT).usd,
            cost("unknown", "house", Usage(output=100, reasoning=50), AT).usd,
            cost("unknown", "bare", Usage(input=1000, reported_usd=9.0), AT).usd,
            cost("unknown", "bare", Usage(input=1000, file_searches=1), AT).usd,
        ]
        sources = [
            pricing.source(model, Usage(reported_usd=told)) for model, told in [("bare", 1), ("x", 1), ("x", None)]
        ]

    expected = [0.3175, 0.001 + 0.005 + 0.06, 0.001 + 0.005 + 0.0045 + 0.000625, 0.001 + 0.00125 + 0.0005, 0.005]
    assert found == [*(pytest.approx(usd, abs=1e-12) for usd in expected), None]
    assert sources == ["own", "told", "list"]


@pytest.mark.parametrize(("provider", "reply", "usd"), REPLIES)
def test_reference_prices_of_replies(provider, reply, usd):
    """
    The same seven, as the providers' replies tell them: what was asked for has no part in it, and repeating is cheap.
    """
    pytest.importorskip("genai_prices")
    usage = read(reply)

    assert [cost(provider, "an-alias", usage, AT).usd for _ in range(2)] == [pytest.approx(usd, abs=1e-12)] * 2


def test_rates_hold_on_both_sides_of_a_threshold():
    """
    Rates that were derived on one side of a model's context threshold are not used on the other.
    """
    package = pytest.importorskip("genai_prices")
    for total in (10, 99_999, 100_000, 100_001, 150_000, 50_000):
        usage = package.Usage(input_tokens=total, output_tokens=1000)
        moment = datetime.fromtimestamp(AT, UTC)
        expected = package.calc_price(
            usage, "claude-haiku-5-5", provider_id="anthropic", genai_request_timestamp=moment
        ).total_price
        found = cost("anthropic", "claude-haiku-5-5", Usage(input=total, output=1000), AT)
        assert found.usd == pytest.approx(float(expected), abs=1e-12)


def test_rates_of_the_last_call_hold_for_its_like_alone():
    """
    Calls of one model that take turns in tier, day and side of its threshold each cost what the package says.
    """
    package = pytest.importorskip("genai_prices")
    turns = [
        ("anthropic", "claude-haiku-5-5", None, 100_000, AT),
        ("anthropic", "claude-haiku-5-5", None, 100_001, AT),
        ("openai", "gpt-5.5", None, 1000, AT),
        ("openai", "gpt-5.5", "flex", 1000, AT),
        ("deepseek", "deepseek-chat", None, 1000, AT),
        ("deepseek", "deepseek-chat", None, 1000, datetime(2026, 1, 15, tzinfo=UTC).timestamp()),
    ]

    def told(provider, model, tier, total, at):
        return package.calc_price(
            package.Usage(input_tokens=total, output_tokens=1000),
            model,
            provider_id=provider,
            genai_request_timestamp=datetime.fromtimestamp(at, UTC),
            price_context={"service_tier": tier} if tier else None,
        ).total_price

    expected = [float(told(*turn)) for turn in turns]
    assert len(set(expected)) == len(turns)
    for _ in range(3):
        found = [
            cost(provider, model, Usage(input=total, output=1000, tier=tier), at).usd
            for provider, model, tier, total, at in turns
        ]
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("provider", "model", "reason"),
    [
        ("openai", "gpt-5-foo", "no_price"),
        ("anthropic", "claude-sonnet-5-9", "no_price"),
        ("openai", "tts-1", "not_by_token"),
        ("openai", "gpt-live-1", "not_by_token"),
        ("unknown", "gpt-5.5", "unknown_provider"),
        ("acme", "m-1", "no_price"),
    ],
)
def test_unknown_is_unknown(provider, model, reason):
    """
    What has no price, or none by tokens, has no cost, and a reason; never 0.
    """
    pytest.importorskip("genai_prices")

    assert cost(provider, model, Usage(input=1000, output=10), AT) == Cost(None, reason)


def test_the_own_table_is_asked_first_and_needs_no_package(monkeypatch):
    """
    A price of the application's own holds whoever is paid, for the model that answered or the one that was asked.
    """
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    pricing._package.cache_clear()
    usage = Usage(input=1000, cache_read=1000, cache_write=1000, output=1000, model="house-2026")
    with isolated_runtime(
        prices={"house": Price(input=1, output=4, cache_read=0.5), "gpt-5.5": Price(input=0, output=0)}
    ):
        found = cost("unknown", "house", usage, AT)
        free = cost("openai", "gpt-5.5", Usage(input=9), AT)
        other = cost("openai", "gpt-6", Usage(input=9), AT)
    pricing._package.cache_clear()
    pricing._rates.clear()

    assert (found.usd, found.savings_usd) == (pytest.approx(0.0065), pytest.approx(0.0005))
    assert (free, other) == (Cost(0.0), Cost(None, "no_price_data"))


def test_parts_are_priced_by_their_own_model():
    """
    One part without a price makes the whole unknown; else the parts add up.
    """
    table = {"a": Price(input=1, output=1), "b": Price(input=10, output=10)}
    with isolated_runtime(prices=table):
        both = cost("unknown", "a", Usage(input=1000, parts=(Usage(input=1000, model="b"),)), AT)
        half = cost("unknown", "a", Usage(input=1000, parts=(Usage(input=1000, model="c"),)), AT)

    assert (both.usd, half) == (pytest.approx(0.011), Cost(None, "unknown_provider"))


@pytest.mark.parametrize(
    "rates", [{"input": -1, "output": 1}, {"input": 1, "output": float("nan")}, {"input": "1", "output": 1}]
)
def test_a_price_that_cannot_be_is_refused(rates):
    """
    A negative rate, or one that is no number, is refused when the price is made, and in the setting.
    """
    with pytest.raises(ConfigurationError, match="dollars per million tokens"):
        Price(**rates)
    with (
        pytest.raises(ConfigurationError, match="expected a mapping of models to prices"),
        isolated_runtime(prices={"m": rates}),
    ):
        pass


@pytest.mark.parametrize(("days", "warned"), [(59, 0), (61, 1)])
def test_prices_that_are_too_old_are_told_once(days, warned):
    """
    Sixty days after the package was installed its prices are old: one event a runtime, and a line of the report.
    """
    package = pytest.importorskip("genai_prices")
    installed = os.stat(package.__file__).st_mtime
    clock, sink = FakeClock(installed + days * 86_400), RecordingSink()
    pricing._rates.clear()
    with isolated_runtime(sinks=[sink], wall_clock=clock):
        for model in ("claude-sonnet-5-5", "claude-haiku-5-5"):
            cost("anthropic", model, Usage(input=10), clock())
        report = obskit.ai.report()

    assert [event.name for event in sink.events] == ["ai.old_prices"] * warned
    assert report.price_data.version == package.__version__
    assert report.price_data.age_days == pytest.approx(days)
    assert [advice.code for advice in report.recommendations] == ["old-prices"] * warned


def test_an_age_that_cannot_be_told_is_unknown(monkeypatch, tmp_path):
    """
    A file from the year 1980 is what a repeatable build makes: no age, and no warning.
    """
    package = pytest.importorskip("genai_prices")
    old = tmp_path / "genai_prices.py"
    old.touch()
    os.utime(old, (315_532_800, 315_532_800))
    monkeypatch.setattr(package, "__file__", str(old))

    assert pricing.price_data(AT) == PriceData(package.__version__, None, None)


def test_without_the_package_there_is_no_age(monkeypatch):
    """
    Where no call needed the package's prices, the report says nothing of them.
    """
    monkeypatch.delitem(sys.modules, "genai_prices", raising=False)

    assert pricing.price_data(AT) is None
