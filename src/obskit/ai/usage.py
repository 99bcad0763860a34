"""
Read what a reply used, whichever of the two SDKs' forms it has: raw JSON, or the SDK's object.

Sources: the API references of Anthropic (messages, `usage`) and OpenAI (chat completions, responses, embeddings,
images, audio), read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# More than any model's context; what is above was not read from a provider.
MAX_TOKENS = 1_000_000_000


class Usage:
    """
    Hold tokens by kind. The kinds are disjoint: input is without caches, and they add up.

    Attributes:
        input: Neither read from a cache nor written to one.
        cache_read: Input that was read from the provider's cache.
        cache_write: Input that was written to it.
        cache_write_1h: The part of `cache_write` that is kept for an hour.
        output: Reasoning included.
        reasoning: The part of output that was reasoning.
        model: That answered; None where the reply does not say.
        tier: The service tier that answered, as the provider calls it; None is the standard.
        speed: Likewise.
        web_searches: That the provider ran; they are billed each.
        audio_input: The part of `input` that was sound.
        audio_output: The part of `output` that was.
        parts: What further models used within the same call, each with its model. It is not in the figures above.
    """

    __slots__ = (
        *("audio_input", "audio_output", "cache_read", "cache_write", "cache_write_1h", "input", "model", "output"),
        *("parts", "reasoning", "speed", "tier", "web_searches"),
    )

    def __init__(
        self,
        *,
        input: int = 0,
        cache_read: int = 0,
        cache_write: int = 0,
        cache_write_1h: int = 0,
        output: int = 0,
        reasoning: int = 0,
        model: str | None = None,
        tier: str | None = None,
        speed: str | None = None,
        web_searches: int = 0,
        audio_input: int = 0,
        audio_output: int = 0,
        parts: tuple[Usage, ...] = (),
    ) -> None:
        self.input = input
        self.cache_read = cache_read
        self.cache_write = cache_write
        self.cache_write_1h = cache_write_1h
        self.output = output
        self.reasoning = reasoning
        self.model = model
        self.tier = tier
        self.speed = speed
        self.web_searches = web_searches
        self.audio_input = audio_input
        self.audio_output = audio_output
        self.parts = parts

    def tokens(self) -> tuple[int, int, int, int]:
        """
        Add up input, cache_read, cache_write and output, those of the parts included.
        """
        if not self.parts:
            return self.input, self.cache_read, self.cache_write, self.output
        every = (self, *self.parts)
        return (
            sum(part.input for part in every),
            sum(part.cache_read for part in every),
            sum(part.cache_write for part in every),
            sum(part.output for part in every),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = (f"{name}={value!r}" for name in self.__slots__ if (value := getattr(self, name)))
        return f"Usage({', '.join(said)})"


class Unreadable(ValueError):
    """
    Report figures that no provider can have meant.
    """


class _Fields:
    """
    Read an SDK's object as the JSON that it was made from.
    """

    __slots__ = ("_thing",)

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def get(self, name: str) -> Any:
        value = getattr(self._thing, name, None)
        return value if value is None or isinstance(value, (str, int, float, list, dict)) else _Fields(value)


_Mapping = dict[str, Any] | _Fields


def read(reply: Any) -> Usage | None:
    """
    Read a reply; None where it has no usage, or figures that cannot be right: negative, absurd, or no numbers.
    """
    whole = reply if isinstance(reply, dict) else _Fields(reply)
    usage = whole.get("usage")
    if not isinstance(usage, (dict, _Fields)):
        return None
    try:
        found = _read(whole, usage)
    except Unreadable:
        return None
    if found is not None:
        model = whole.get("model")
        if isinstance(model, str):
            found.model = model
        tier = whole.get("service_tier") or usage.get("service_tier")
        if isinstance(tier, str):
            found.tier = tier
    return found


def _read(whole: _Mapping, usage: _Mapping) -> Usage | None:
    if usage.get("prompt_tokens") is not None:
        return _openai(usage, "prompt_tokens", "completion_tokens")
    if usage.get("input_tokens") is None:
        return None
    if usage.get("total_tokens") is None and usage.get("input_tokens_details") is None:
        return _anthropic(usage)
    found = _openai(usage, "input_tokens", "output_tokens")
    tools = whole.get("tool_usage")
    searches = tools.get("web_search") if isinstance(tools, (dict, _Fields)) else None
    if searches:
        found.web_searches = _count(searches.get("num_requests"))
    return found


def _openai(usage: _Mapping, taken: str, given: str) -> Usage:
    """
    Read OpenAI's form: caches are a part of the input.
    """
    found = Usage(input=_count(usage.get(taken)), output=_count(usage.get(given)))
    details = usage.get(f"{taken}_details")
    if details:
        found.cache_read, found.cache_write = (
            _count(details.get("cached_tokens")),
            _count(details.get("cache_write_tokens")),
        )
        found.audio_input = _count(details.get("audio_tokens"))
        found.input -= found.cache_read + found.cache_write
        if found.input < 0:
            raise Unreadable("more cached than there was")
    details = usage.get(f"{given}_details")
    if details:
        found.reasoning = _count(details.get("reasoning_tokens"))
        found.audio_output = _count(details.get("audio_tokens"))
    return found


def _anthropic(usage: _Mapping) -> Usage:
    """
    Read Anthropic's form: caches stand beside the input, and some iterations beside all of it.
    """
    found = _anthropic_figures(usage)
    speed = usage.get("speed")
    if isinstance(speed, str):
        found.speed = speed
    steps = usage.get("iterations")
    if isinstance(steps, list):
        found.parts = tuple(_parts(steps))
    return found


def _parts(steps: list[Any]) -> Iterator[Usage]:
    for step in steps:
        read = step if isinstance(step, dict) else _Fields(step)
        if read.get("type") in ("compaction", "advisor_message"):
            part = _anthropic_figures(read)
            model = read.get("model")
            part.model = model if isinstance(model, str) else None
            yield part


def _anthropic_figures(usage: _Mapping) -> Usage:
    found = Usage(
        input=_count(usage.get("input_tokens")),
        cache_read=_count(usage.get("cache_read_input_tokens")),
        cache_write=_count(usage.get("cache_creation_input_tokens")),
        output=_count(usage.get("output_tokens")),
    )
    if found.cache_write and (split := usage.get("cache_creation")):
        found.cache_write_1h = _count(split.get("ephemeral_1h_input_tokens"))
    if details := usage.get("output_tokens_details"):
        found.reasoning = _count(details.get("thinking_tokens"))
    if tools := usage.get("server_tool_use"):
        found.web_searches = _count(tools.get("web_search_requests"))
    return found


def _count(value: Any) -> int:
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    if value is None:
        return 0
    raise Unreadable(value)
