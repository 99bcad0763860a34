"""
Watch providers of AI models without a paid call.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

from obskit.errors import HealthCheckError
from obskit.health.outcome import Outcome, failed, passed

# Provider -> the variable its SDK reads, and what its keys look like: as their consoles hand them out, November 2026.
_KEYS = {
    "anthropic": ("ANTHROPIC_API_KEY", r"sk-ant-[\w-]{20,}"),
    "openai": ("OPENAI_API_KEY", r"sk-[\w-]{20,}"),
}


def ai_provider(provider: str, *, key: str | None = None, key_variable: str | None = None) -> AiProvider:
    """
    Check that there is a key for a provider, and that it looks like one. No call is made, and nothing is paid.

    Args:
        provider: `anthropic` or `openai`; any other with `key` or `key_variable`, whose key need only be there.
        key: The key itself, where the application does not keep it in a variable. It is never shown.
        key_variable: The variable that holds it. Default: the one that the provider's SDK reads.
    """
    if provider not in _KEYS and key is None and key_variable is None:
        raise HealthCheckError(
            f"ai_provider({provider!r}): known are {', '.join(sorted(_KEYS))}; for others give key_variable='...'"
        )
    variable, pattern = _KEYS.get(provider, ("", r"\S+"))
    return AiProvider(provider, key_variable or variable, pattern, key)


@dataclass(frozen=True)
class AiProvider:
    """
    Be the check of one provider's key.
    """

    provider: str
    variable: str
    pattern: str
    key: str | None = field(repr=False)
    is_dependency = True

    def __call__(self) -> Outcome:
        key = self.key if self.key is not None else os.environ.get(self.variable, "")
        details: dict[str, Any] = {"provider": self.provider}
        if not key:
            return failed("no key", **details)
        if not re.fullmatch(self.pattern, key):
            return failed("the key is not well formed", **details)
        return passed(**details)
