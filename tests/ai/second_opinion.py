"""
Make the replies of every provider that `genai-prices` knows, from the paths by which it reads them, and ask it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
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
# OpenTelemetry's names, by which the same fields mean other things with some.
NAMES = {"x-ai": "x_ai", "mistral": "mistral_ai", "aws": "aws.bedrock", "azure": "azure.ai.openai"}


@dataclass(frozen=True)
class Reply:
    """
    Be a reply: who gives it, in what form, with which of the form's paths.
    """

    provider: str
    flavour: str
    model: str
    left_out: str
    body: dict[str, Any]

    @property
    def name(self) -> str:
        return NAMES.get(self.provider, self.provider)


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
    if last == "inputTokens" and not isinstance(path, str):
        return 300 if path[-2].match.equals == "5m" else 200
    if last == "tokenCount":
        return {"TEXT": 40, "AUDIO": 50, "IMAGE": 60, "DOCUMENT": 70, "VIDEO": 80}[path[-2].match.equals]
    return FIGURES.get(last, 100 + len(_name(path)))


def _models(provider: Any) -> list[str]:
    """
    Give one model for each set of prices that a provider has.
    """
    found: dict[tuple[str, ...], str] = {}
    for model in provider.models:
        if provider.find_model(model.id) is not model:
            continue  # known by other names alone
        price = model.get_prices(AT)
        found.setdefault(tuple(sorted(key for key, rate in vars(price).items() if rate is not None)), model.id)
    return list(found.values())


def _steps(path: Any) -> list[Any]:
    return [path] if isinstance(path, str) else list(path)


def _bodies(extractor: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Give a body with every path, each without one, and each with one of those that may be left out.
    """
    paths = {_name(mapping.path): mapping.path for mapping in extractor.mappings}
    needed = {_name(mapping.path) for mapping in extractor.mappings if mapping.required}
    optional = set(paths) - needed
    choices = {"": set(paths)} | {name: set(paths) - {name} for name in sorted(optional)}
    choices |= {f"all but {name}": needed | {name} for name in sorted(optional)}
    for left_out, chosen in choices.items():
        body: dict[str, Any] = {}
        for name in sorted(chosen):
            _put(body, [*_steps(extractor.root), *_steps(paths[name])], _figure(paths[name]))
        if chosen:
            yield left_out, body


def replies() -> Iterator[Reply]:
    from genai_prices.data import providers

    for provider in providers:
        for extractor in provider.extractors or ():
            for model in _models(provider):
                for left_out, body in _bodies(extractor):
                    _put(body, extractor.model_path, model)
                    yield Reply(provider.id, extractor.api_flavor, model, left_out, body)


@dataclass(frozen=True)
class Opinion:
    """
    Say what the package makes of a reply; None is its refusal.
    """

    flavour: str
    tokens: tuple[int, int, int, int]
    usd: float | None


def opinion(reply: Reply) -> Opinion:
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    provider = next(found for found in snapshot.providers if found.id == reply.provider)
    _, usage = provider.extract_usage(reply.body, api_flavor=reply.flavour)
    whole, read, written, output = (
        int(usage.reported_value(key))
        for key in ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    )
    try:
        usd = float(snapshot.calc(usage, reply.model, reply.provider, None, AT, None).total_price)
    except ValueError:
        usd = None
    return Opinion(reply.flavour, (whole - read - written, read, written, output), usd)
