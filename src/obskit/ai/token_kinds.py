"""
What a call used, by disjoint kinds.
"""

from __future__ import annotations

from typing import Any

from obskit.sparse_field import SparseField


class Usage:
    """
    Tokens by kind. The kinds are disjoint, so that they add up: input excludes caches.

    Fields that few replies have are in `rare`, and are given by name: `Usage(input=9, web_searches=2)`.

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
        *("cache_read", "cache_write", "cache_write_1h", "input", "model", "output", "parts", "sparse", "reasoning"),
        *("speed", "tier"),
    )

    # Parts of the input that have rates of their own with some models, and parts of what was read from a cache.
    audio_input = SparseField(0)
    image_input = SparseField(0)
    video_input = SparseField(0)
    audio_read = SparseField(0)
    image_read = SparseField(0)
    video_read = SparseField(0)
    cache_write_12h = SparseField(0)  # the part of what was written to a cache that OpenAI keeps for so long
    # Parts of the output.
    audio_output = SparseField(0)
    image_output = SparseField(0)
    video_output = SparseField(0)
    citations = SparseField(0)
    # What the provider did, and bills each.
    web_searches = SparseField(0)
    file_searches = SparseField(0)
    containers = SparseField(0)  # in which it ran code
    # What is billed in place of tokens.
    audio_seconds = SparseField(0.0)
    pages = SparseField(0)
    annotated_pages = SparseField(0)
    messages = SparseField(0)
    # What the reply says of its price.
    reported_usd = SparseField[float | None](None)
    geo = SparseField[str | None](None)  # where a provider computed it that asks more for that
    is_free = SparseField(False)  # True where the provider does not bill these tokens
    # True where a figure cannot be right, and another stands in its place: what comes of it is an estimate.
    is_doubtful = SparseField(False)

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
        **sparse: Any,
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
        self.sparse: dict[str, Any] | None = None
        for name, value in sparse.items():
            if name not in SPARSE_FIELDS:
                raise TypeError(f"Usage() has no {name!r}; it has {', '.join(SPARSE_FIELDS)}")
            setattr(self, name, value)

    @property
    def rare(self) -> dict[str, Any] | None:
        """
        Fields that few replies have and this one has, by name; None where it has none of them.
        """
        return self.sparse

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
        Return whether anything was used that could be billed.
        """
        return any(self.tokens()) or any(getattr(self, name) for name in BILLED)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and all(
            getattr(self, n) == getattr(other, n) for n in (*_COMMON, *SPARSE_FIELDS)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = (f"{name}={value!r}" for name in (*_COMMON, *SPARSE_FIELDS) if (value := getattr(self, name)))
        return f"Usage({', '.join(said)})"


SPARSE_FIELDS = tuple(name for name, field in vars(Usage).items() if isinstance(field, SparseField))
_COMMON = tuple(name for name in Usage.__slots__ if name != "sparse")
BILLED = ("web_searches", "file_searches", "containers", "audio_seconds", "pages", "messages")
