"""
The components of AI calls: prices, budgets, and the providers' limits.

An application that calls no model has none of them imported; they are told of the runtime once they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from obskit.ai.settings import AiSettings
from obskit.components import Assembly, Component, run_all
from obskit.deferred_endings import drain
from obskit.late_imports import Awaited
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Deadline


class Prices(Component):
    """
    The setting `prices`.
    """

    name = "ai"

    def __init__(self, assembly: Assembly) -> None:
        self._prices = assembly.settings.of(AiSettings).prices
        self._awaited: Awaited | None = None

    def start(self) -> None:
        """
        Use the prices of the setting from now on.
        """
        self._awaited = Awaited("obskit.ai.pricing", self._use)

    def _use(self) -> None:
        from obskit.ai.pricing import use

        use(self._prices)

    def stop(self, deadline: Deadline) -> None:
        """
        Drop the prices, and the providers' limits that were read.
        """
        if self._awaited is not None:
            self._awaited.cancel()
        if pricing := sys.modules.get("obskit.ai.pricing"):
            pricing.use({})
        if rate_limit_headers := sys.modules.get("obskit.ai.rate_limit_headers"):
            rate_limit_headers.latest_rate_limits.clear()


class Budgets(Component):
    """
    The budgets, which are counted in a file.
    """

    name = "ai"

    def __init__(self, assembly: Assembly) -> None:
        self._settings = assembly.settings.of(ServiceSettings)
        self._awaited: Awaited | None = None
        self._budget_book: Any = None  # once it is imported

    def start(self) -> None:
        """
        Count calls in the budgets from now on.
        """
        self._awaited = Awaited("obskit.ai.budget_book", self._bind)

    def _bind(self) -> None:
        from obskit.ai.budget_book import budget_book

        budget_book.bind(self._settings)
        self._budget_book = budget_book

    def flush(self, deadline: Deadline) -> None:
        """
        Write pending settlements, also of calls that were dropped before their end.
        """
        steps: list[tuple[str, Callable[[], object]]] = [("endings", drain)]
        if self._budget_book is not None:
            steps.append(("ai", partial(self._budget_book.flush, deadline)))
        run_all(steps)

    def stop(self, deadline: Deadline) -> None:
        """
        Write pending settlements, while sinks still receive their events, and close the file.
        """
        if self._awaited is not None:
            self._awaited.cancel()
        steps: list[tuple[str, Callable[[], object]]] = [("endings", drain)]
        if self._budget_book is not None:
            steps.append(("ai", partial(self._budget_book.unbind, deadline)))
        run_all(steps)
