"""
How applications declare and list budgets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from obskit.ai import budget_periods
from obskit.ai.budget_book import budget_book
from obskit.ai.declared_budget import Budget
from obskit.ai.pricing import Price
from obskit.errors import BudgetError, ScheduleError
from obskit.time.local_time import zone_named

_ACTIONS = ("warn", "block")


def _check(good: bool, name: str, argument: str, value: object, what: str) -> None:
    if not good:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise BudgetError(f"budget({name!r}, {argument}={shown}): expected {what}, found {type(value).__name__}")


def _is_zone(name: Any) -> bool:
    try:
        zone_named(name)
    except ScheduleError:
        return False
    return True


def budget(
    name: str,
    *,
    usd: float,
    per: Literal["hour", "day", "week", "month"] = "day",
    timezone: str = "UTC",
    services: Iterable[str] | None = None,
    action: Literal["warn", "block"] = "warn",
    unknown_price: Literal["allow", "block"] | Price | None = None,
) -> Budget:
    """
    Declare a budget: what AI calls may cost in a period, for all processes of this service on this machine.

    It is declared once, before or after `configure()`; the same declaration again gives the same budget. Before a call
    of a hooked client is sent, what it may cost at most is reserved: a quarter of the bytes of the request's text as
    input, and what attached files are read as, and the `max_tokens` that it names, or 4096, as output. When the call
    has ended, what it did cost takes the place of
    that. A block of `observe_ai` reserves nothing, since what it will ask for is not known: it is refused once nothing
    is left, and what it cost counts when it has ended. At 50, 80 and 100 % there is an event.

    Args:
        name: The label `budget`; one of a bounded set, at most 100 characters.
        usd: Dollars a period, more than 0.
        per: `hour`, `day`, `week` (from Monday) or `month`.
        timezone: Whose midnights begin the periods, such as `Europe/Berlin`.
        services: Count only calls with one of these labels `service`; None is every call.
        action: `block` refuses a call that may pass the limit; `warn` only tells.
        unknown_price: What to do with a model that has no price: `allow` it and count nothing, `block` it, or count it
            by a `Price`. Default: `block` where the action is `block`, else `allow`.

    Raises:
        BudgetError: An argument cannot be used, another budget has the name, or the action is `block` and there is
            nothing that says what a model costs.
    """
    _check(isinstance(name, str) and 0 < len(name) <= 100, str(name)[:100], "name", name, "1 to 100 characters")
    is_number = isinstance(usd, (int, float)) and not isinstance(usd, bool)
    _check(is_number and 0 < usd < float("inf"), name, "usd", usd, "dollars a period, more than 0")
    _check(per in budget_periods.PERIODS, name, "per", per, "one of " + ", ".join(map(repr, budget_periods.PERIODS)))
    _check(_is_zone(timezone), name, "timezone", timezone, "the name of a time zone such as 'Europe/Berlin'")
    what = "names of services such as ['planogram'], or None for every call"
    good = services is None or (isinstance(services, (list, tuple, set, frozenset)) and len(services) > 0)
    _check(good, name, "services", services, what)
    named = None if services is None else frozenset(services)
    _check(named is None or all(isinstance(service, str) for service in named), name, "services", services, what)
    _check(action in _ACTIONS, name, "action", action, "'warn' or 'block'")
    unknown = unknown_price if unknown_price is not None else "block" if action == "block" else "allow"
    good = isinstance(unknown, Price) or unknown in ("allow", "block")
    _check(good, name, "unknown_price", unknown_price, "'allow', 'block' or a Price")
    return budget_book.add(Budget(name, float(usd), per, timezone, named, action, unknown))


def budgets() -> tuple[Budget, ...]:
    """
    List the declared budgets, in the order of their declaration; `status()` of each says how it stands.
    """
    return tuple(budget_book.declared.values())
