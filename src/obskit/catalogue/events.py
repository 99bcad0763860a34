"""
Every event: its name, its levels, its fields and what it means, written once.

    recorder.emit(events.UNKNOWN_SDK.event("this version of openai has no ...", {"sdk": "openai"}))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from obskit.operation import Event
from obskit.rows.queries import DATABASE

_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EventKind:
    """
    A kind of event. Whoever wants to be told of it names it to `Subscribers.subscribe()`.

    Attributes:
        name: Lower case with dots; its first word is the logger's, below `obskit`.
        levels: Of its lines, the lowest first. With several, whoever emits it decides by its figures.
        meaning: One sentence for the reference.
        fields: What it carries beside the message, by name, with what that is. Not every event has all of them.
    """

    name: str
    levels: tuple[str, ...]
    meaning: str
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)

    def event(self, message: str, fields: Mapping[str, Any] = _NO_FIELDS, *, level: str = "") -> Event:
        """
        Make an event of this kind.

        Args:
            message: One line for people.
            fields: Figures and names, of those that the kind has.
            level: Where the kind has several.
        """
        return Event(self.name, level or self.levels[0], message, fields)


_BUDGET = {
    "budget": "The budget's name.",
    "limit_usd": "What it allows in a period, in dollars.",
    "per": "Its period: `hour`, `day`, `week` or `month`.",
    "resets_at": "When the period ends; UTC.",
    "spent_usd": "Dollars spent in it.",
}
_QUERY = {DATABASE[name].line: DATABASE[name].meaning for name in ("summary", "text", "fingerprint")}

STARTED = EventKind(
    "runtime.started",
    ("INFO",),
    "obskit is on.",
    {
        "routes": "The paths that obskit answers itself.",
        "hooks": "What `auto` has instrumented.",
        "not_timed": "Installed database libraries whose calls are not timed.",
        "metrics_access": "Who may read the metrics page.",
    },
)
NO_THREADS = EventKind(
    "runtime.no_threads", ("WARNING",), "This is a sub-interpreter, in which obskit starts no thread."
)
UNKNOWN_METRIC = EventKind(
    "metrics.unknown_name",
    ("WARNING",),
    "`metric_names` or `metric_labels` names a metric that there is not, so far.",
    {"metric": "The name."},
)
DEGRADED = EventKind(
    "metrics.degraded",
    ("WARNING",),
    "The workers' figures cannot be added up: each answers for itself.",
    {"reason": "What failed."},
)
ALONE = EventKind(
    "metrics.alone", ("WARNING",), "A server with several processes was not recognised: each counts for itself."
)
ROUTE_TAKEN = EventKind("obskit.route_taken", ("WARNING",), "The application has a route where one of obskit's is.")
STATE_FOLDER = EventKind(
    "state.folder",
    ("INFO", "WARNING"),
    "The folder for state cannot be used as it is.",
    {"problem": "Which, in a word."},
)
HISTORY_STATE = EventKind(
    "history.state",
    ("INFO", "WARNING"),
    "The folder or a file of the history cannot be used as it is.",
    {"problem": "Which, in a word."},
)
DEPLOY = EventKind(
    "service.deploy",
    ("INFO",),
    "Another version of the service serves than was seen last; with `history=True` and `version`.",
    {"version": "The one that serves.", "version_before": "The one that was seen last."},
)
HISTORY_CLOCK = EventKind(
    "history.clock",
    ("WARNING",),
    "The machine's clock was set, which the history shows as a gap, or as a longer step.",
    {"seconds": "By how much; below 0 where it was set back."},
)
NO_LEADER = EventKind(
    "workers.no_leader",
    ("WARNING",),
    "This process cannot lead its service: the folder for state cannot be written to, or is another application's.",
)
NETWORK_FOLDER = EventKind(
    "workers.network_folder",
    ("WARNING",),
    "The folder for state is on a file system of a network, where the leader's lock holds for all machines or none.",
)
HEALTH_TRANSITION = EventKind(
    "health.transition",
    ("INFO", "WARNING", "ERROR"),
    "A check has another result than before.",
    {
        "component": "The check's name.",
        "health": "What it says now: `pass`, `warn`, `fail` or `skipped`.",
        "health_before": "What it said before.",
        "reason": "Why.",
        "error": "What it raised.",
    },
)
BLOCKED_LOOP = EventKind(
    "health.blocked_loop",
    ("WARNING",),
    "A check held the server's event loop; it runs in a thread from then on.",
    {"component": "The check's name."},
)
SLOW_QUERY = EventKind(
    "performance.slow_query",
    ("WARNING", "ERROR"),
    "A query took longer than `slow_query_warning_ms` or `slow_query_ms`.",
    {field.line: field.meaning for field in DATABASE.on_lines()},
)
QUERY_PLAN = EventKind(
    "performance.query_plan",
    ("WARNING",),
    "The plan of a slow query, where it came after the query's own event.",
    {"query_summary": _QUERY["query_summary"], "query_fingerprint": _QUERY["query_fingerprint"], "plan": "The plan."},
)
N_PLUS_ONE = EventKind(
    "performance.n_plus_one",
    ("WARNING",),
    "One request made the same statement from the same line more often than `n_plus_one`.",
    {"route": "The request's route.", "call_site": "The line that asked.", "count": "How often.", **_QUERY},
)
BUDGET = EventKind(
    "ai.budget",
    ("INFO", "WARNING", "ERROR"),
    "A budget has passed 50, 80 or 100 %.",
    {**_BUDGET, "percent": "Which of the three."},
)
BUDGET_BLOCKED = EventKind(
    "ai.budget.blocked",
    ("ERROR",),
    "A budget refused a call; said once a period.",
    {**_BUDGET, "reserved_usd": "Dollars reserved for calls that are under way."},
)
BUDGET_STATE = EventKind(
    "ai.budget.state",
    ("WARNING", "ERROR"),
    "The budgets' file cannot be used as it is.",
    {"problem": "Which, in a word."},
)
OLD_PRICES = EventKind(
    "ai.old_prices",
    ("WARNING",),
    "The prices of `genai-prices` are more than 60 days old.",
    {"version": "The package's version.", "of": "The date of its prices."},
)
UNKNOWN_SDK = EventKind(
    "ai.unknown_sdk",
    ("WARNING",),
    "The installed version of an SDK lacks what its hooks need: its calls are not observed.",
    {"sdk": "`anthropic` or `openai`."},
)

EVENTS: Mapping[str, EventKind] = MappingProxyType(
    {kind.name: kind for kind in list(globals().values()) if isinstance(kind, EventKind)}
)
