"""
`observe_ai`: what is counted, once, under which labels, and where its usage comes from.
"""

import asyncio
import inspect
from types import SimpleNamespace

import pytest

import obskit
from obskit.ai.usage import Usage
from obskit.context import current
from obskit.operation import HttpOperation
from obskit.testing import FakeClock, isolated_runtime

PRICES = {"m-1": {"input": 2, "output": 10}, "claude-test": {"input": 3, "output": 15}}
MESSAGE = {"type": "message", "model": "claude-test", "usage": {"input_tokens": 1000, "output_tokens": 200}}
CHAT = {"model": "m-1", "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}}


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture
def runtime(clock, sink):
    with isolated_runtime(sinks=[sink], clock=clock, prices=PRICES) as runtime:
        yield runtime


def as_object(reply):
    return SimpleNamespace(**{**reply, "usage": SimpleNamespace(**reply["usage"])})


@pytest.mark.parametrize("reply", [MESSAGE, CHAT, as_object(MESSAGE), as_object(CHAT)], ids=["m", "c", "M", "C"])
@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_usage_is_read_from_what_a_function_returns(kind, reply, clock, runtime, sink):
    """
    A reply of either form, as JSON or as an object, gives its tokens, its model and its price.
    """

    @obskit.observe_ai(service="planogram", provider="acme")
    def ask():
        clock.advance(1.5)
        return reply

    @obskit.observe_ai(service="planogram", provider="acme")
    async def ask_later():
        clock.advance(1.5)
        return reply

    given = ask() if kind == "function" else asyncio.run(ask_later())

    [op] = sink.operations
    assert given is reply
    assert inspect.iscoroutinefunction(ask_later)
    assert (op.service, op.provider, op.duration_seconds, op.tokens.input) == ("planogram", "acme", 1.5, 1000)
    expected = ("claude-test", 0.006) if op.tokens.output == 200 else ("m-1", 0.0025)
    assert (op.model, op.cost_usd) == (expected[0], pytest.approx(expected[1]))


def test_usage_is_told_where_no_client_is_hooked(runtime, sink):
    """
    `call.usage(...)` counts and prices; its kinds are disjoint, and the last word stands.
    """
    with obskit.observe_ai(service="planogram", provider="acme", model="m-1") as call:
        call.usage(input_tokens=1, output_tokens=1)
        call.usage(input_tokens=900, output_tokens=120, cache_read_tokens=50, cache_write_tokens=7, reasoning_tokens=20)

    [op] = sink.operations
    assert op.tokens == Usage(input=900, output=120, cache_read=50, cache_write=7, reasoning=20)
    labels = {"service": "planogram", "provider": "acme", "model": "m-1"}
    found = {k: runtime.value("ai_tokens_used_total", kind=k, **labels) for k in ("input", "cache_read", "output")}
    assert found == {"input": 900, "cache_read": 50, "output": 120}
    assert runtime.value("ai_cost_usd_total", endpoint="", **labels) == pytest.approx((957 * 2 + 120 * 10) / 1e6)


def test_a_block_that_nobody_told_has_no_known_cost(runtime, sink):
    """
    Without usage a call is counted, and its cost is unknown, with the reason.
    """
    with obskit.observe_ai(service="planogram", model="m-1"):
        pass

    assert runtime.value("ai_cost_unknown_total", service="planogram", model="m-1", reason="no_usage") == 1


def test_a_failure_is_an_error(runtime, sink):
    """
    An exception, and `fail()`, give the status `error`.
    """
    with pytest.raises(KeyError), obskit.observe_ai(service="planogram"):
        raise KeyError("plate")
    with obskit.observe_ai(service="planogram") as call:
        call.fail("nothing came back")

    labels = {"service": "planogram", "provider": "unknown", "model": "unknown"}
    assert [op.error for op in sink.operations] == ["KeyError", "failed"]
    assert runtime.value("ai_api_requests_total", status="error", **labels) == 2


def test_nested_blocks_are_one_call(runtime, sink):
    """
    The innermost block is the call; it takes from the outer one what it was not given itself.
    """
    with obskit.observe_ai(service="planogram"), obskit.observe_ai(provider="acme", model="m-1") as call:
        call.usage(input_tokens=10)

    [op] = sink.operations
    assert (op.service, op.provider, op.model) == ("planogram", "acme", "m-1")


def test_a_generator_is_observed_to_its_end(clock, runtime, sink):
    """
    A generator's time goes from the first value asked for to the last.
    """

    @obskit.observe_ai(service="planogram", model="m-1")
    def words():
        yield "plate"
        clock.advance(2)
        yield "plates"

    assert list(words()) == ["plate", "plates"]

    [op] = sink.operations
    assert op.duration_seconds == 2


def test_cost_reaches_the_route_and_the_line_of_the_request(runtime, sink):
    """
    A request's calls add up on its totals, and their dollars are counted under its route.
    """
    request = HttpOperation("GET", "/plates/7")
    request.endpoint = "/plates/{plate}"
    token = current.set(request)
    for _ in range(2):
        with obskit.observe_ai(service="planogram", provider="acme", model="m-1") as call:
            call.usage(input_tokens=1000)
    current.reset(token)

    labels = {"service": "planogram", "provider": "acme", "model": "m-1"}
    assert (request.totals.ai_calls, request.totals.ai_cost_usd) == (2, pytest.approx(0.004))
    assert runtime.value("ai_cost_usd_total", endpoint="/plates/{plate}", **labels) == pytest.approx(0.004)


GEMINI = {
    "model_version": "gemini-2.5-flash",
    "usage_metadata": {
        **{"prompt_token_count": 20, "candidates_token_count": 9, "thoughts_token_count": 5, "total_token_count": 34},
        **{"cached_content_token_count": None, "prompt_tokens_details": [{"modality": "TEXT", "token_count": 20}]},
    },
}


@pytest.mark.parametrize("kind", ["json", "object"])
def test_usage_of_google_genai_and_boto3_is_read(kind, runtime, sink):
    """
    A reply of google-genai, as an object or as JSON, and one of boto3's Converse, tell their usage, and whose they are.
    """
    usage = GEMINI["usage_metadata"]
    objects = SimpleNamespace(
        model_version="gemini-2.5-flash",
        usage_metadata=SimpleNamespace(
            **{**usage, "prompt_tokens_details": [SimpleNamespace(**usage["prompt_tokens_details"][0])]}
        ),
    )
    with obskit.observe_ai(service="a") as call:
        call.reply(GEMINI if kind == "json" else objects)
    with obskit.observe_ai(service="b", model="amazon.nova-lite-v1:0") as call:
        call.reply({"usage": {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9}, "output": {"message": {}}})

    found = [(op.provider, op.model, op.tokens.tokens()) for op in sink.operations]
    assert found == [
        ("gcp.gen_ai", "gemini-2.5-flash", (20, 0, 0, 14)),
        ("aws.bedrock", "amazon.nova-lite-v1:0", (7, 0, 0, 2)),
    ]
