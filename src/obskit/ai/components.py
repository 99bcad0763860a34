"""
The components of AI calls: prices, budgets, and the providers' limits.
"""

from __future__ import annotations

from functools import partial

from obskit.ai import pricing
from obskit.ai.budget_book import budget_book
from obskit.ai.rate_limit_headers import latest_rate_limits
from obskit.ai.settings import AiSettings
from obskit.components import Assembly, Component, run_all
from obskit.deferred_endings import drain
from obskit.service_settings import ServiceSettings
from obskit.time.clock import Deadline


class Prices(Component):
    """
    The setting `prices`.
    """

    name = "ai"

    def __init__(self, assembly: Assembly) -> None:
        self._prices = assembly.settings.of(AiSettings).prices

    def start(self) -> None:
        """
        Use the prices of the setting from now on.
        """
        pricing.use(self._prices)

    def stop(self, deadline: Deadline) -> None:
        """
        Drop the prices, and the providers' limits that were read.
        """
        pricing.use({})
        latest_rate_limits.clear()


class Budgets(Component):
    """
    The budgets, which are counted in a file.
    """

    name = "ai"

    def __init__(self, assembly: Assembly) -> None:
        self._settings = assembly.settings.of(ServiceSettings)

    def start(self) -> None:
        """
        Count calls in the budgets from now on.
        """
        budget_book.bind(self._settings)

    def flush(self, deadline: Deadline) -> None:
        """
        Write pending settlements, also of calls that were dropped before their end.
        """
        run_all([("endings", drain), ("ai", partial(budget_book.flush, deadline))])

    def stop(self, deadline: Deadline) -> None:
        """
        Write pending settlements, while sinks still receive their events, and close the file.
        """
        run_all([("endings", drain), ("ai", partial(budget_book.unbind, deadline))])
