"""
Know what AI calls took, used and cost, whatever the client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obskit.ai.limits import RateLimit, rate_limits
    from obskit.ai.pricing import Price
    from obskit.ai.usage import Usage

_HOME = {
    "Price": "pricing",
    "RateLimit": "limits",
    "Usage": "usage",
    "rate_limits": "limits",
}

__all__ = ["Price", "RateLimit", "Usage", "rate_limits"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'obskit.ai' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.ai.{_HOME[name]}"), name)
    globals()[name] = value
    return value
