"""
A page for whoever is woken by an alert: what it means, what to look at, what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from obskit.export.rule_files import HEAD
from obskit.export.written_rule import WrittenRule
from obskit.signals.page import Page
from obskit.time.durations import duration_text

FOLDER = "runbooks"
_COMMENT = f"<!-- {HEAD} -->"
_ERRORS = '.level == "ERROR" or .level == "CRITICAL"'
# By area: which lines of the log to read, and what mostly helps.
_ADVICE = {
    "ai": (
        '.logger == "obskit.ai" or .ai_calls > 0',
        "See whether the provider reports an outage. Ask less of it, or let calls fail early.",
    ),
    "audit": (_ERRORS, "See whether the disk of the audit log is full or read only. Delete nothing of it."),
    "business": (_ERRORS, "Ask whoever declared the rule what it means for the business."),
    "database": (
        f"({_ERRORS}) and .db_queries > 0",
        "See what the database waits for: locks, its disk, a query that a release has changed.",
    ),
    "health": (_ERRORS, "Ask the health page which check fails and why, and mend what the check is about."),
    "http": (
        '.logger == "obskit.access" and (.status >= 500 or .level == "WARNING")',
        "See whether it began with a release. If so go back to the one before, and read the tracebacks afterwards.",
    ),
    "jobs": (_ERRORS, "Run the job by hand, and read what it says."),
    "objectives": (
        '.logger == "obskit.access" and (.status >= 500 or .level == "WARNING")',
        "See which requests are bad, and since when. Put what can wait aside until the budget recovers.",
    ),
    "obskit": (
        '.logger | startswith("obskit")',
        "Read what obskit says of itself. The application goes on; what is missing is knowledge of it.",
    ),
    "security": (
        ".status == 401 or .status == 403 or .status == 429",
        "See where it comes from, block the address, and tell whoever answers for security.",
    ),
    "system": (_ERRORS, "See what uses it up, and what has grown in the days before. Free some, or add some."),
}


def runbooks(rules: Iterable[WrittenRule], left_out: Mapping[str, str], page: Page) -> dict[str, str]:
    """
    Return a page a rule, and one that lists them, by path.
    """
    ordered = sorted(rules, key=lambda rule: (rule.name, rule.severity))
    found = {f"{FOLDER}/README.md": _index(ordered, left_out, page)}
    for name, bands in groupby(ordered, lambda rule: rule.name):
        found[f"{FOLDER}/{name}.md"] = _runbook(list(bands), page)
    return found


def _index(rules: list[WrittenRule], left_out: Mapping[str, str], page: Page) -> str:
    lines = [_COMMENT, f"# Alerts of {page.service}", ""]
    for name, bands in groupby(rules, lambda rule: rule.name):
        first = next(bands)
        lines.append(f"- [{name}]({name}.md): {_sentence(first.summary)}")
    if left_out:
        lines += ["", "## Left out", "", *(f"- {name}: {reason}." for name, reason in sorted(left_out.items()))]
    return "\n".join(lines) + "\n"


def _runbook(bands: list[WrittenRule], page: Page) -> str:
    first = bands[0]
    lines = [_COMMENT, f"# {first.name}", "", _sentence(first.summary), "", "## What it means", ""]
    for band in bands:
        held = f" for {duration_text(band.for_seconds)}" if band.for_seconds else ""
        lines += [f"{band.severity.capitalize()}, where this holds{held}:", "", "```promql", band.expression, "```", ""]
    lines += ["## What to look at", "", "The figure itself:", "", "```promql", first.shown, "```", ""]
    query, what_to_do = _ADVICE.get(first.area, _ADVICE["business"])
    lines += ["Lines of the log, of the minutes before:", "", "```sh", f"jq 'select({query})' app.log", "```", ""]
    lines += ["## What to do", "", what_to_do]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
