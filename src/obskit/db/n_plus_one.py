"""
Detect statements that one request repeats from one line: the N+1 queries of object-relational mappers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from obskit.catalogue import events
from obskit.db.callsite import calling_frame, format_call_site
from obskit.operation import Event

if TYPE_CHECKING:
    from obskit.db.statement import Statement

# Repeated statements that are counted in one request; more would let it grow without bound.
MAX_STATEMENTS = 1000
# The name of the event.
N_PLUS_ONE = events.N_PLUS_ONE.name
UNKNOWN_CALL_SITE = "<unknown>"


class RepeatCounter:
    """
    The statements of one request, counted by fingerprint, and the repeated ones also by the line that executes them.

    The line is found from the second execution on. The first is counted with the second: where it came from another
    line, a count is off by one.
    """

    __slots__ = ("counts", "sites")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.sites: dict[tuple[str, str, int], RepeatedQuery] = {}

    def count_repeat(self, statement: Statement, times: int) -> None:
        """
        Count a statement that the request has executed before, by its line.
        """
        if not could_be_batched(statement):
            return
        frame = calling_frame(4)  # above count_repeat(), attach_to_parent(), begin() and a hook
        filename, line = (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("", 0)
        key = statement.fingerprint, filename, line
        site = self.sites.get(key)
        if site is None:
            if len(self.sites) >= MAX_STATEMENTS:
                return
            where = format_call_site(filename, line, frame.f_code.co_name) if frame is not None else UNKNOWN_CALL_SITE
            site = self.sites[key] = RepeatedQuery(statement, where)
            site.count = 1 if times == 2 else 0
        site.count += 1

    def exceeding(self, limit: int, allowed: Sequence[str]) -> list[RepeatedQuery]:
        """
        Return the lines with more executions than `limit`, without those that are allowed.
        """
        return [site for site in self.sites.values() if site.count > limit and not is_allowed(site.where, allowed)]


def could_be_batched(statement: Statement) -> bool:
    """
    Return whether one query could replace many: not for a batch, nor for a statement that could not be read.
    """
    return bool(statement.operation) and not statement.is_batch


class RepeatedQuery:
    """
    A statement that one line repeats, and how often.
    """

    __slots__ = ("count", "statement", "where")

    def __init__(self, statement: Statement, where: str) -> None:
        self.statement = statement
        self.where = where
        self.count = 0


def is_allowed(where: str, allowed: Sequence[str]) -> bool:
    """
    Return whether a call site is on the list: by its file, by file and line, or by its function.
    """
    place, _, function = where.rpartition(" ")
    path = place.rpartition(":")[0]
    return any(entry == function or _is_same(entry, path) or _is_same(entry, place) for entry in allowed)


def _is_same(one: str, other: str) -> bool:
    """
    Return whether two paths are equal, or one ends with the other: `src/shop/views.py`, `shop/views.py`.
    """
    return one == other or one.endswith("/" + other) or other.endswith("/" + one)


def n_plus_one_event(site: RepeatedQuery, endpoint: str) -> Event:
    """
    Return the event of one repeated query.
    """
    fields = {
        "route": endpoint,
        "call_site": site.where,
        "count": site.count,
        "query_summary": site.statement.summary,
        "query_text": site.statement.text,
        "query_fingerprint": site.statement.fingerprint,
    }
    return events.N_PLUS_ONE.event("n+1 queries", fields)
