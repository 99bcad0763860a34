"""
Mark each public name as stable or provisional; `scripts/reference.py` writes the marks.

A name is stable unless `PROVISIONAL` has it, or has what it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

# Part of the listing -> pattern of names -> why they may change. A class' members are marked with it.
PROVISIONAL: dict[str, dict[str, str]] = {
    "names": {
        **dict.fromkeys(
            (
                *("obskit.ai.report", "obskit.ai.AiReport", "obskit.ai.CallGroup", "obskit.ai.FailedCall"),
                *("obskit.ai.PriceData", "obskit.ai.Projection", "obskit.ai.Recommendation", "obskit.ai.Spread"),
            ),
            "it knows the calls of one process; a report over all of them will have other fields",
        ),
        **dict.fromkeys(
            ("obskit.db.sqlite_doctor", "obskit.db.SqliteReport"),
            "the doctor may become a package of its own",
        ),
        **dict.fromkeys(
            ("obskit.db.slow_queries", "obskit.db.slow_statements", "obskit.db.SlowQuery", "obskit.db.SlowStatement"),
            "they know the queries of one process; a history over all of them will have other fields",
        ),
        **dict.fromkeys(
            (
                *("obskit.metrics.snapshot", "obskit.metrics.MetricsSnapshot"),
                *("obskit.metrics.FamilySnapshot", "obskit.metrics.Exemplar"),
            ),
            "what is built on it may ask for more fields",
        ),
        **dict.fromkeys(("obskit.Gate", "obskit.Reply"), "how requests are refused is new"),
        "obskit.testing.check_*": "what is asked of others' work grows with what is found in it",
        "obskit.system.snapshot": "its keys follow what the platforms can tell",
        **dict.fromkeys(("obskit.Request", "obskit.Visitor"), "routes with roles are still being built"),
        "obskit.alerts.*": "what is judged and sent in the process is still being built",
        **dict.fromkeys(("obskit.export.*", "obskit.objective"), "what is judged in the process is still being built"),
        "obskit.history.*": "records and the page that stand on it are still being built",
        "obskit.signals.*": "the rules and the history that stand on them are still being built",
        "obskit.ai.Usage": "providers add kinds of tokens, which become fields",
    },
    "settings": {
        "history*": "records and the page that stand on it are still being built",
        "gates": "how requests are refused is new",
        "log_archive_*": "how old files are archived is new",
        "serving": "what only a process that serves may do is still being built",
        "log_outputs": "how lines are divided among files is new",
    },
    "metrics": {
        "obskit_process_event_loop_lag_seconds": "how the lag is measured may change",
        "ai_budget_projected_usd": "how the end of a period is projected may change",
    },
    "events": {"state.*": "where state is kept, and what is said of it, is new"},
    "line fields": {"refused": "how requests are refused is new"},
}
TITLES = {
    "names": "Names",
    "settings": "Settings",
    "metrics": "Metrics",
    "events": "Events",
    "line fields": "Line fields",
}
INTRODUCTION = """\
# What is stable

What applications, dashboards and log searches build on is listed here, and each entry has a mark.

- **stable**: it keeps its name and its meaning.
  Where it must change, the old form works for at least one more minor version, with a `DeprecationWarning`.
- **provisional**: it may change or go with any minor version; the reason stands beside it.

The changelog names each change of either.

A class is marked with its members, and a function with its parameters.
Texts are not stable: messages of errors and events, help texts of metrics, and whatever a report prints.
What is not listed is internal, such as modules below `obskit` that no page names.
"""


def reason(part: str, name: str) -> str | None:
    """
    Return why a name is provisional; None where it is stable.
    """
    for pattern, why in PROVISIONAL[part].items():
        if fnmatchcase(name, pattern) or name.startswith(f"{pattern}."):
            return why
    return None


def entries(lines: list[str]) -> Iterator[str]:
    """
    Yield what the lines of one part of the listing are about, without the members of classes.
    """
    classes = {line.partition(":")[0] for line in lines if ": class(" in line}
    seen = set()
    for line in lines:
        name = re.split(r"[(:]", line)[0]
        if name.rpartition(".")[0] not in classes and name not in seen:
            seen.add(name)
            yield name


def page(listing: str) -> str:
    """
    Write the page, from the listing of what applications build on.
    """
    text = INTRODUCTION
    for part, title in TITLES.items():
        lines = listing.partition(f"\n[{part}]\n")[2].partition("\n\n")[0].splitlines()
        text += f"\n## {title}\n\n| name | mark | why |\n| --- | --- | --- |\n"
        for name in entries(lines):
            why = reason(part, name)
            text += f"| `{name}` | {'stable' if why is None else 'provisional'} | {why or ''} |\n"
    return text
