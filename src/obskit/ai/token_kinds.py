"""
Say what a call used, by kinds that are disjoint.
"""

from __future__ import annotations

from typing import Any

from obskit.sparse import Rarely


class Usage:
    """
    Hold tokens by kind. The kinds are disjoint: input is without caches, and they add up.

    What few replies have lies out of the way in `rare`, and is given by its name: `Usage(input=9, web_searches=2)`.

    Attributes:
        input: Neither read from a cache nor written to one.
        cache_read: Input that was read from the provider's cache.
        cache_write: Input that was written to it.
        cache_write_1h: The part of `cache_write` that is kept for an hour.
        output: Reasoning and citations included.
        reasoning: The part of output that was reasoning.
        model: That answered; None where the reply does not say.
        tier: The service tier that answered, as the provider calls it; None is the standard.
        speed: Likewise.
        parts: What further models used within the same call, each with its model. It is not in the figures above.
    """

    __slots__ = (
        *("cache_read", "cache_write", "cache_write_1h", "input", "model", "output", "parts", "rare", "reasoning"),
        *("speed", "tier"),
    )

    rare: dict[str, Any] | None
    # Parts of the input that have rates of their own with some models, and parts of what was read from a cache.
    audio_input = Rarely(0)
    image_input = Rarely(0)
    video_input = Rarely(0)
    audio_read = Rarely(0)
    image_read = Rarely(0)
    video_read = Rarely(0)
    cache_write_12h = Rarely(0)  # the part of what was written to a cache that OpenAI keeps for so long
    # Parts of the output.
    audio_output = Rarely(0)
    image_output = Rarely(0)
    video_output = Rarely(0)
    citations = Rarely(0)
    # What the provider did, and bills each.
    web_searches = Rarely(0)
    file_searches = Rarely(0)
    containers = Rarely(0)  # in which it ran code
    # What is billed in place of tokens.
    audio_seconds = Rarely(0.0)
    pages = Rarely(0)
    annotated_pages = Rarely(0)
    messages = Rarely(0)
    # What the reply says of its price.
    told_usd = Rarely[float | None](None)
    geo = Rarely[str | None](None)  # where a provider computed it that asks more for that
    is_free = Rarely(False)  # True where the provider does not bill these tokens
    # True where a figure cannot be right, and another stands in its place: what comes of it is an estimate.
    is_doubtful = Rarely(False)

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
        parts: tuple[Usage, ...] = (),
        **rare: Any,
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
        self.parts = parts
        self.rare = None
        for name, value in rare.items():
            if name not in RARE:
                raise TypeError(f"Usage() has no {name!r}; it has {', '.join(RARE)}")
            setattr(self, name, value)

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

    def has_any(self) -> bool:
        """
        Tell whether anything was used that could be billed.
        """
        return any(self.tokens()) or any(getattr(self, name) for name in BILLED)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and all(getattr(self, n) == getattr(other, n) for n in (*_COMMON, *RARE))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = (f"{name}={value!r}" for name in (*_COMMON, *RARE) if (value := getattr(self, name)))
        return f"Usage({', '.join(said)})"


RARE = tuple(name for name, field in vars(Usage).items() if isinstance(field, Rarely))
_COMMON = tuple(name for name in Usage.__slots__ if name != "rare")
BILLED = ("web_searches", "file_searches", "containers", "audio_seconds", "pages", "messages")
