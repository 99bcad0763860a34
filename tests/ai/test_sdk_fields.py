"""
The replies that the two SDKs know, made from their own models: each figure is read, or it is known why it is not.
"""

import random
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from obskit.ai.pricing import cost
from obskit.ai.usage import Usage, read

pytest.importorskip("anthropic")
pytest.importorskip("openai")

from anthropic.types import Message
from anthropic.types.beta import BetaMessage
from openai.types import Completion, CreateEmbeddingResponse, Decision, ImagesResponse
from openai.types.audio import Transcription
from openai.types.beta.threads import Run
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.realtime import RealtimeResponse
from openai.types.responses import Response

from .second_opinion import AT

REPLIES = (
    *(Message, BetaMessage, ChatCompletion, ChatCompletionChunk, Completion, CreateEmbeddingResponse, Decision),
    *(ImagesResponse, RealtimeResponse, Response, Run, Transcription),
)
ROOTS = ("usage", "tool_usage", "svg_usage")
# Figures that change nothing of the bill, by the last of their names.
PASSED = {
    "text_tokens": "what is left of the whole",
    "cached_text_tokens": "what is left of the cache",
    "ttl_30m_tokens": "the price of what is written",
    "ephemeral_5m_input_tokens": "the price of what is written",
    "web_fetch_requests": "free (Anthropic's page on the tool, 2026-11)",
    "accepted_prediction_tokens": "a part of the output, at its price",
    "rejected_prediction_tokens": "a part of the output, at its price",
}
# What must be told as well, for a figure to be a part of it: how many names of the path lead there, and the rest.
WITHIN = {
    "ttl_12h_tokens": (-2, "cache_write_tokens"),
    "ephemeral_1h_input_tokens": (-2, "cache_creation_input_tokens"),
    "ephemeral_5m_input_tokens": (-2, "cache_creation_input_tokens"),
}
ODD: tuple[Any, ...] = (None, 0, 1, 7, 2.0, 2.5, -3, 10**12, float("nan"))
IN_JSON_ALONE = ("12", True, [], {}, "many")  # of which the SDKs make numbers, or nothing


def _models_in(annotation: Any) -> list[Any]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]


def leaves(model: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """
    Yield the paths of all figures below a model of an SDK; what is in lists is told in other tests.
    """
    for name, field in model.model_fields.items():
        if "List" in str(field.annotation):
            continue
        inner = _models_in(field.annotation)
        if not inner and ("int" in str(field.annotation) or "float" in str(field.annotation)):
            yield (*path, name)
        for one in inner:
            yield from leaves(one, *path, name)


FIGURES = [
    (reply, path)
    for reply in REPLIES
    for root in ROOTS
    if root in reply.model_fields
    for one in _models_in(reply.model_fields[root].annotation)
    for path in dict.fromkeys(leaves(one, root))
]


def put(body: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in path[:-1]:
        inner = body.setdefault(name, {})
        if not isinstance(inner, dict):
            return body
        body = inner
    body[path[-1]] = value
    return body


def value_at(body: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body


def whole(reply: Any) -> dict[str, Any]:
    """
    Make a reply with figures enough to take any part.
    """
    body: dict[str, Any] = {"model": "m"}
    told = {path[-1] for one, path in FIGURES if one is reply and len(path) == 2 and path[0] == "usage"}
    sizes = {"input_tokens": 9000, "prompt_tokens": 9000, "output_tokens": 800, "completion_tokens": 800}
    total = sum(size for name, size in sizes.items() if name in told)
    for name in told & {*sizes, "total_tokens"}:
        put(body, ("usage", name), sizes.get(name, total))
    if "tool_usage" in reply.model_fields:
        drawn = {"input_tokens": 500, "output_tokens": 50, "total_tokens": 550, "cached_tokens": 20}
        body["tool_usage"] = {"image_gen": drawn}
    if "svg_usage" in reply.model_fields:
        body["svg_usage"] = {"model": "v", "input_tokens": 40, "output_tokens": 30, "total_tokens": 70}
    return body


@pytest.mark.parametrize(
    ("reply", "path"), FIGURES, ids=lambda part: part.__name__ if hasattr(part, "__name__") else ".".join(part)
)
def test_each_figure_of_the_sdks_is_read_or_known_to_change_nothing(reply, path):
    """
    One more of a figure changes what was used; a figure that a new version of an SDK brings is named by its failure.
    """
    needed = WITHIN.get(path[-1])
    before, body = whole(reply), whole(reply)
    for told in (before, body) if needed else ():
        put(told, (*path[: needed[0]], *needed[1:]), 9)
    put(body, path, (value_at(body, path) or 0) + 9)
    before, after = read(before), read(body)

    assert (after != before) is (path[-1] not in PASSED)


def random_reply(reply: Any, chance: random.Random, values: tuple[Any, ...]) -> dict[str, Any]:
    body = whole(reply)
    for one, path in FIGURES:
        if one is reply and chance.random() < 0.5:
            put(body, path, chance.choice(values))
    return body


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.__name__)
def test_whatever_a_reply_tells_is_possible_and_read_alike_from_json_and_the_sdks_object(reply):
    """
    Of 200 replies with odd figures none raises, has less than nothing, parts above their whole, or a price below 0; and
    the object that the SDK makes of the JSON says the same.
    """
    chance = random.Random(reply.__name__)
    provider = "anthropic" if reply.__module__.startswith("anthropic") else "openai"
    model = "claude-sonnet-5-5" if provider == "anthropic" else "gpt-realtime"
    for turn in range(200):
        body = random_reply(reply, chance, ODD if turn % 2 else ODD + IN_JSON_ALONE)
        found = read(body, provider)
        if turn % 2:
            assert read(reply.construct(**body), provider) == found, body
        if found is None:
            continue
        assert is_possible(found), body
        for part in (found, *found.parts):
            part.model = model
        usd = cost(provider, model, found, AT.timestamp()).usd
        assert usd is None or usd >= 0, body


def is_possible(found: Usage) -> bool:
    taken = found.input + found.cache_read + found.cache_write
    return (
        min(found.tokens()) >= 0
        and 0 <= found.cache_write_1h <= found.cache_write
        and 0 <= found.reasoning <= found.output
        and 0 <= found.audio_input + found.image_input + found.video_input <= taken
        and 0 <= found.audio_output + found.image_output + found.video_output <= found.output
        and 0 <= found.audio_read + found.image_read + found.video_read <= found.cache_read
        and all(is_possible(part) for part in found.parts)
    )
