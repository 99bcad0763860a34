"""
Explain slow queries: which, when, and how their plans are written.

Only statements that read are explained, each once in ten minutes. SQLite explains at once, on the same connection: it
only prepares. PostgreSQL explains in a thread, on a read-only connection of its own: an EXPLAIN that fails would end
the application's transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from obskit.background import Queue
from obskit.db.statement import Statement, summarize
from obskit.recorder import recorder

EVERY_SECONDS = 600.0
MAX_QUEUED = 10
MAX_KEPT = 1000
MAX_PLAN_LENGTH = 4096

# In a statement without its literals; a writing CTE, a locking SELECT and a SELECT INTO have one of these.
_writes = re.compile(
    r"\b(?:alter|call|copy|create|delete|do|drop|grant|insert|into|lock|merge|replace|truncate|update|vacuum)\b|;\s*\S",
    re.IGNORECASE,
).search
_explained_at: dict[str, float] = {}


def forget() -> None:
    """
    Allow every statement to be explained again.
    """
    _explained_at.clear()


def may_explain(statement: Statement) -> bool:
    """
    Return whether a statement only reads and was not explained in the last ten minutes; if so, count it as explained.
    """
    if statement.operation not in ("select", "values") or statement.text.endswith("...") or _writes(statement.text):
        return False
    now = recorder.clock()
    before = _explained_at.get(statement.fingerprint)
    if before is not None and 0 <= now - before < EVERY_SECONDS:
        return False
    if len(_explained_at) >= MAX_KEPT:
        _explained_at.clear()
    _explained_at[statement.fingerprint] = now
    return True


def sqlite_plan(rows: list[tuple[Any, ...]]) -> str:
    """
    Render the rows of EXPLAIN QUERY PLAN, one line for each step.
    """
    details = [row[3] for row in rows]  # bytes, where the connection's text factory says so
    return "\n".join(text.decode() if isinstance(text, bytes) else str(text) for text in details)


def postgresql_plan(answer: str | list[Any]) -> str:
    """
    Render the answer of EXPLAIN (FORMAT JSON) as an indented tree, with `?` for each literal.
    """
    plans = json.loads(answer) if isinstance(answer, str) else answer
    lines: list[str] = []
    _add_lines(plans[0]["Plan"], 0, lines)
    return "\n".join(lines)[:MAX_PLAN_LENGTH]


def _add_lines(node: dict[str, Any], depth: int, lines: list[str]) -> None:
    on = " on " + node["Relation Name"] if "Relation Name" in node else ""
    using = " using " + node["Index Name"] if "Index Name" in node else ""
    figures = f"(cost {node.get('Total Cost', 0):.0f}, rows {node.get('Plan Rows', 0):.0f})"
    conditions = [f"{key}: {_masked(node[key])}" for key in node if key.endswith(("Cond", "Filter"))]
    lines.append("  " * depth + " ".join([node["Node Type"] + using + on, figures, *conditions]))
    for inner in node.get("Plans", ()):
        _add_lines(inner, depth + 1, lines)


def _masked(condition: object) -> str:
    return summarize(f"SELECT {condition}", "postgresql").text.removeprefix("SELECT ")


def _too_many() -> None:
    recorder.dropped.inc(("explain", "too_many"))


# Questions to databases; one that hangs delays the others, never a request.
explainer: Queue[Callable[[], None]] = Queue(
    name="obskit-explain",
    handle=lambda question: question(),
    failed=recorder.failed,
    part="explain",
    size=MAX_QUEUED,
    dropped=_too_many,
    drained=False,
)
