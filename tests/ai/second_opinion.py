"""
Make the replies of every provider that `genai-prices` knows, from the paths by which it reads them, and ask it.

A reply has every path of its extractor or lacks any one or two of them, or has none but one or two (all subsets, where
there are few); and each path in turn tells every odd thing of `ODD`, or as much as its whole.
"""

import copy
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import combinations
from typing import Any

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FEW = 6  # paths that may be left out: their subsets are at most 64
# Parts that are less than their wholes, and add up where both are told.
FIGURES = {
    **{"input_tokens": 12_000, "prompt_tokens": 12_000, "inputTokens": 12_000, "promptTokenCount": 12_000},
    **{"output_tokens": 7_000, "completion_tokens": 7_000, "outputTokens": 7_000, "candidatesTokenCount": 7_000},
    **{"cache_creation_input_tokens": 500, "cacheWriteInputTokens": 500, "cacheWriteTokens": 500},
    **{"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
    **{"cached_tokens": 600, "cachedContentTokenCount": 600, "reasoning_tokens": 900, "thoughtsTokenCount": 900},
    **{"toolUsePromptTokenCount": 400, "web_search_requests": 3, "num_search_queries": 4, "invocation": 5},
    **{"citation_tokens": 700, "seconds": 90, "billable_audio_seconds": 90, "pages_processed": 8},
}
ODD = {
    **{"null": None, "zero": 0, "text": "12", "negative": -5, "a fraction": 10.5, "true": True, "huge": 10**12},
    **{"as much as the input": 12_000, "more than the input": 12_001},
    **{"as much as the output": 7_000, "more than the output": 7_001},
}
LONG = 40  # times the usual: beyond each threshold of a context
# OpenTelemetry's names, by which the same fields mean other things with some.
NAMES = {"x-ai": "x_ai", "mistral": "mistral_ai", "aws": "aws.bedrock", "azure": "azure.ai.openai"}


@dataclass(frozen=True)
class Reply:
    """
    A reply: who gives it, in what form, what is odd about it and where.
    """

    provider: str
    flavour: str
    odd: str
    steps: tuple[Any, ...]
    body: dict[str, Any]

    @property
    def name(self) -> str:
        return NAMES.get(self.provider, self.provider)

    @property
    def path(self) -> str:
        return _name(self.steps)

    def has(self, name: str) -> bool:
        return json.dumps(name) in json.dumps(self.body)

    def tells(self, name: str, value: Any = ...) -> bool:
        """
        Return whether the JSON gives a name a value: any number, or this one.
        """
        told = re.search(rf'"{name}": ([^,}}]*)', json.dumps(self.body))
        return told is not None and (told[1].isdecimal() if value is ... else told[1] == json.dumps(value))

    def saying(self, value: Any) -> "Reply":
        """
        Return the same with another value at the odd path.
        """
        body = copy.deepcopy(self.body)
        _put(body, self.steps, value)
        return replace(self, body=body)


def _put(body: Any, path: Any, value: Any) -> None:
    *steps, last = _steps(path)
    for step, after in zip(steps, (*steps, last)[1:], strict=True):
        if isinstance(step, str):
            body = body.setdefault(step, [] if not isinstance(after, str) else {})
        else:
            found = next((item for item in body if item[step.field] == step.match.equals), None)
            if found is None:
                found = {step.field: step.match.equals}
                body.append(found)
            body = found
    body[last] = value


def _name(path: Any) -> str:
    return ".".join(step if isinstance(step, str) else step.match.equals for step in _steps(path))


def _figure(path: Any) -> int:
    last = path if isinstance(path, str) else path[-1]
    if "cached_tokens_details" in path:
        return 20 + len(last)  # less than that of the whole input
    if "cacheTokensDetails" in path:
        return 20
    if last == "inputTokens" and not isinstance(path, str):
        return 300 if path[-2].match.equals == "5m" else 200
    if last == "tokenCount":
        return {"TEXT": 40, "AUDIO": 50, "IMAGE": 60, "DOCUMENT": 70, "VIDEO": 80}[path[-2].match.equals]
    return FIGURES.get(last, 100 + len(_name(path)))


def _steps(path: Any) -> list[Any]:
    return [path] if isinstance(path, str) else list(path)


def _subsets(names: set[str]) -> Iterator[set[str]]:
    """
    Yield all subsets of few names; of many, those that have, or lack, two at most.
    """
    told = set()
    for number in range(len(names) + 1 if len(names) <= FEW else 3):
        for chosen in combinations(sorted(names), number):
            for subset in ({*chosen}, names - {*chosen}):
                if frozenset(subset) not in told:
                    told.add(frozenset(subset))
                    yield subset


def _bodies(extractor: Any) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """
    Yield what is odd about a body, at which of its paths, and the body.
    """
    paths = {_name(mapping.path): mapping.path for mapping in extractor.mappings}
    needed = {_name(mapping.path) for mapping in extractor.mappings if mapping.required}
    wholes = {_name(m.path) for m in extractor.mappings if m.dest in ("input_tokens", "output_tokens")}

    def steps(name: str) -> tuple[Any, ...]:
        return (*_steps(extractor.root), *_steps(paths[name]))

    def body(chosen: set[str], odd: dict[str, Any], times: int = 1) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name in sorted(chosen):
            _put(made, steps(name), odd.get(name, _figure(paths[name]) * times))
        return made

    for subset in _subsets(set(paths) - needed):
        if needed | subset:
            yield "", (), body(needed | subset, {})
    yield "long", (), body(set(paths), {}, LONG)
    yield "long", (), body(needed | wholes, {}, LONG)
    yield "nothing", (), body(set(paths), {}, 0)
    for name in sorted(paths):
        if name in needed and len(paths) > 1:
            yield "left out", steps(name), body(set(paths) - {name}, {})
        for odd, value in ODD.items():
            if name in wholes and " the " in odd:
                continue  # it is none of the parts
            yield odd, steps(name), body(set(paths), {name: value})
            yield odd, steps(name), body(needed | wholes | {name}, {name: value})


def replies() -> Iterator[Reply]:
    from genai_prices.data import providers

    for provider in providers:
        for extractor in provider.extractors or ():
            for odd, steps, body in _bodies(extractor):
                yield Reply(provider.id, extractor.api_flavor, odd, steps, body)


def read_by_them(reply: Reply) -> dict[str, float] | None:
    """
    Return what the package reads, by its units; None is its refusal.
    """
    try:
        _, usage = _provider(reply.provider).extract_usage(reply.body, api_flavor=reply.flavour)
    except ValueError:
        return None
    return dict(vars(usage))


@lru_cache
def _provider(name: str) -> Any:
    from genai_prices.data import providers

    return next(provider for provider in providers if provider.id == name)


@lru_cache
def models(provider: str) -> list[str]:
    """
    Return one model for each set of prices that a provider has.
    """
    found: dict[tuple[str, ...], str] = {}
    for model in _provider(provider).models:
        if _provider(provider).find_model(model.id) is model:  # else it is known by other names alone
            price = model.get_prices(AT)
            found.setdefault(tuple(sorted(key for key, rate in vars(price).items() if rate is not None)), model.id)
    return list(found.values())


def every_model() -> Iterator[tuple[str, Any]]:
    """
    Yield every model of the list, with its provider.
    """
    from genai_prices.data import providers

    for provider in providers:
        for model in provider.models:
            if provider.find_model(model.id) is model:
                yield provider.id, model


@dataclass(frozen=True)
class Bill:
    """
    What the package asks for usage; None is its refusal.

    Attributes:
        prices: Those that the model has, by the package's names.
    """

    usd: float | None
    prices: dict[str, Any]

    @property
    def is_free(self) -> bool:
        return not any(self.prices.values())


def price_by_them(
    provider: str, model: str, used: dict[str, float], at: datetime = AT, context: dict[str, str] | None = None
) -> Bill:
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    try:
        found = snapshot.calc(genai_prices.Usage(**used), model, provider, None, at, context or None)
    except ValueError:
        free = snapshot.calc(genai_prices.Usage(), model, provider, None, at, context or None)
        return Bill(None, _prices(free))
    return Bill(float(found.total_price), _prices(found))


def _prices(found: Any) -> dict[str, Any]:
    return {name: rate for name, rate in vars(found.model_price).items() if rate is not None}


# The package's units of what is in ours by itself; the rest of its input is ours without caches.
OURS = {
    **{
        "cache_read_tokens": "cache_read",
        "cache_write_tokens": "cache_write",
        "cache_write_1h_tokens": "cache_write_1h",
    },
    **{"output_tokens": "output", "output_reasoning_tokens": "reasoning", "output_citation_tokens": "citations"},
    **{f"{way}_{kind}_tokens": f"{kind}_{way}" for way in ("input", "output") for kind in ("audio", "image", "video")},
    **{f"cache_{kind}_read_tokens": f"{kind}_read" for kind in ("audio", "image", "video")},
    **{"web_searches": "web_searches", "audio_seconds": "audio_seconds", "input_text_messages": "messages"},
    **{"input_document_pages": "pages", "input_annotated_document_pages": "annotated_pages"},
}

# The parts that are left when the others are told, and have no price of their own with any model.
LEFT = ("cache_text_read_tokens", "input_text_tokens", "input_tool_tokens", "output_text_tokens")
LEFT += tuple(f"input_{kind}_tool_tokens" for kind in ("text", "audio", "image", "video"))


def in_their_units(usage: Any) -> dict[str, float]:
    """
    Return what we read by the package's units.
    """
    units = {"input_tokens": usage.input + usage.cache_read + usage.cache_write}
    units |= {unit: getattr(usage, name) for unit, name in OURS.items()}
    return {unit: value for unit, value in units.items() if value}


def is_impossible(used: dict[str, float]) -> bool:
    """
    Return whether parts are more than their whole.
    """
    get = defaultdict(float, used).__getitem__
    kinds = ("audio", "image", "video")
    parts = {
        "input_tokens": [["cache_read_tokens", "cache_write_tokens"], [f"input_{kind}_tokens" for kind in kinds]],
        "output_tokens": [["output_reasoning_tokens"], [f"output_{kind}_tokens" for kind in kinds]],
        "cache_read_tokens": [[f"cache_{kind}_read_tokens" for kind in kinds]],
        "cache_write_tokens": [["cache_write_5m_tokens", "cache_write_1h_tokens"]],
        **{f"input_{kind}_tokens": [[f"cache_{kind}_read_tokens"]] for kind in kinds},
    }
    if any(sum(map(get, some)) > get(whole) for whole, every in parts.items() for some in every):
        return True
    text_read = get("cache_read_tokens") - sum(get(f"cache_{kind}_read_tokens") for kind in kinds)
    text = get("input_tokens") - sum(get(f"input_{kind}_tokens") for kind in kinds)
    return text_read > text and any(f"cache_{kind}_read_tokens" in used for kind in kinds)


def comparable(used: dict[str, float]) -> dict[str, float]:
    """
    Leave out zeros, and what is in no figure of ours: the parts of text, of tools, and of what is kept for minutes.
    """
    return {unit: value for unit, value in used.items() if value and (unit in OURS or unit == "input_tokens")}
