"""
What AI calls cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obskit.fields import Section, mapping, section, setting

_PRICES = "a mapping of models to prices in dollars per million tokens, such as {'my-model': Price(input=1, output=4)}"
_KINDS = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_input", "audio_output"),
    *("image_input", "image_output", "web_search", "file_search", "request"),
)


def _price(value: Any) -> dict[str, Any]:
    given = value if isinstance(value, Mapping) else {kind: getattr(value, kind, None) for kind in _KINDS}
    rates = {kind: rate for kind, rate in given.items() if rate is not None}
    is_known = {"input", "output"} <= rates.keys() <= set(_KINDS)
    if not (is_known and all(type(rate) in (int, float) and 0 <= rate < float("inf") for rate in rates.values())):
        raise ValueError(_PRICES)
    return rates


_prices = mapping(_price, _PRICES)


@section
class AiSettings(Section, subject="AI calls"):
    """
    What AI calls cost.
    """

    prices: Mapping[str, Any] = setting(
        {},
        _prices,
        'Prices of models, asked before any other: `{"my-model": obskit.ai.Price(input=1, output=4)}`, in '
        'dollars per million tokens; in the variable `{"my-model": {"input": 1, "output": 4}}`.',
    )
