"""
Read what a reply used, whichever of the two SDKs' forms it has: raw JSON, or the SDK's object.

Sources: the API references of Anthropic (messages, `usage`) and OpenAI (chat completions, responses, embeddings,
images, audio), read 2026-11-20.
"""

from __future__ import annotations

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


def read(reply: Any) -> Usage | None:
    """
    Read a reply; None where it has no usage, or figures that cannot be right: negative, absurd, or no numbers.
    """
    usage = _get(reply, "usage")
    if usage is None:
        return None
    try:
        found = _read(reply, usage)
    except Unreadable:
        return None
    if found is not None:
        model = _get(reply, "model")
        found.model = model if isinstance(model, str) else None
        tier = _get(reply, "service_tier") or _get(usage, "service_tier")
        found.tier = tier if isinstance(tier, str) else None
        speed = _get(usage, "speed")
        found.speed = speed if isinstance(speed, str) else None
    return found


def _read(reply: Any, usage: Any) -> Usage | None:
    if _get(usage, "prompt_tokens") is not None:
        return _openai(usage, "prompt", "completion")
    if _get(usage, "input_tokens") is None:
        return None
    is_openai = _get(usage, "total_tokens") is not None or _get(usage, "input_tokens_details") is not None
    if is_openai:
        found = _openai(usage, "input", "output")
        tools = _get(reply, "tool_usage")
        found.web_searches = _count(_get(tools, "web_search"), "num_requests")
        return found
    return _anthropic(usage)


def _openai(usage: Any, taken: str, given: str) -> Usage:
    """
    Read OpenAI's form: caches are a part of the input.
    """
    ins, outs = _get(usage, f"{taken}_tokens_details"), _get(usage, f"{given}_tokens_details")
    read, write = _count(ins, "cached_tokens"), _count(ins, "cache_write_tokens")
    whole, output = _count(usage, f"{taken}_tokens"), _count(usage, f"{given}_tokens")
    if read + write > whole:
        raise Unreadable("more cached than there was")
    return Usage(
        input=whole - read - write,
        cache_read=read,
        cache_write=write,
        output=output,
        reasoning=_count(outs, "reasoning_tokens"),
        audio_input=_count(ins, "audio_tokens"),
        audio_output=_count(outs, "audio_tokens"),
    )


def _anthropic(usage: Any) -> Usage:
    """
    Read Anthropic's form: caches stand beside the input, and some iterations beside all of it.
    """
    found = _anthropic_figures(usage)
    parts = []
    for step in _get(usage, "iterations") or ():
        kind, model = _get(step, "type"), _get(step, "model")
        if kind in ("compaction", "advisor_message"):
            part = _anthropic_figures(step)
            part.model = model if isinstance(model, str) else None
            parts.append(part)
    found.parts = tuple(parts)
    return found


def _anthropic_figures(usage: Any) -> Usage:
    return Usage(
        input=_count(usage, "input_tokens"),
        cache_read=_count(usage, "cache_read_input_tokens"),
        cache_write=_count(usage, "cache_creation_input_tokens"),
        cache_write_1h=_count(_get(usage, "cache_creation"), "ephemeral_1h_input_tokens"),
        output=_count(usage, "output_tokens"),
        reasoning=_count(_get(usage, "output_tokens_details"), "thinking_tokens"),
        web_searches=_count(_get(usage, "server_tool_use"), "web_search_requests"),
    )


def _get(thing: Any, name: str) -> Any:
    if thing is None:
        return None
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _count(thing: Any, name: str) -> int:
    value = _get(thing, name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= MAX_TOKENS:
        raise Unreadable(name)
    return value
