"""
The tables of a file of records: single requests, queries, AI calls, errors, events and runs of jobs.

What is asked for is in columns, the rest is JSON. Errors are one row for each fingerprint. People read the views.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from obskit.storage.own_sqlite import Schema

# The kinds of records, what the key of one is called in its view, and the files that have them.
KINDS = {
    "request": ("endpoint", "records"),
    "query": ("fingerprint", "records"),
    "job": ("job", "records"),
    "ai": ("model", "ai"),
    "event": ("name", "events"),
}
FILES = ("records", "ai", "events")

_VIEW = """
CREATE VIEW {view} AS
SELECT datetime(at, 'unixepoch') AS moment, at, key AS {key}, seconds, failed, user, correlation_id, fields
FROM record WHERE kind = '{kind}';
"""
_TABLES = """
CREATE TABLE record (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, seconds REAL,
    failed INTEGER NOT NULL, user TEXT, correlation_id TEXT, fields TEXT NOT NULL);
CREATE INDEX record_at ON record (kind, at);
CREATE INDEX record_seconds ON record (kind, seconds);
CREATE TABLE error (
    fingerprint TEXT PRIMARY KEY, type TEXT NOT NULL, place TEXT NOT NULL, first_at REAL NOT NULL,
    last_at REAL NOT NULL, times INTEGER NOT NULL, routes TEXT NOT NULL, example TEXT NOT NULL) WITHOUT ROWID;
CREATE VIEW errors AS
SELECT datetime(first_at, 'unixepoch') AS first, datetime(last_at, 'unixepoch') AS last, type, place, times, routes,
    example, fingerprint FROM error;
""" + "".join(
    _VIEW.format(view="queries" if kind == "query" else f"{kind}s", key=key, kind=kind)
    for kind, (key, _) in KINDS.items()
)
RECORDS = Schema((_TABLES,))


class Record(NamedTuple):
    """
    One record.

    Attributes:
        kind: One of `KINDS`.
        at: When it ended, in seconds since the epoch.
        key: What records of its kind are told apart by, such as a request's route.
        seconds: That it took; None for events.
        failed: Whether it went wrong.
        user: As the setting has it; None where nobody is bound.
        correlation_id: Of the request or job.
        fields: The rest, ready for JSON, without secrets.
    """

    kind: str
    at: float
    key: str
    seconds: float | None
    failed: bool
    user: str | None
    correlation_id: str | None
    fields: dict[str, Any]


class ErrorRecord(NamedTuple):
    """
    The errors of one fingerprint: class and innermost line of the application's, which no message tells apart.

    Attributes:
        type: The class.
        place: File and function, without the line, which moves with each change; empty where it is not known.
        first_at, last_at: In seconds since the epoch.
        times: How many.
        routes: Where they happened, with how often.
        example: One of them, without secrets.
    """

    fingerprint: str
    type: str
    place: str
    first_at: float
    last_at: float
    times: int
    routes: dict[str, int]
    example: dict[str, Any]

    def plus(self, other: ErrorRecord) -> ErrorRecord:
        """
        Return both, added up; the example is the latest.
        """
        last = max(self, other, key=lambda one: one.last_at)
        routes = dict(self.routes)
        for route, count in other.routes.items():
            if route in routes or len(routes) < MAX_ROUTES:
                routes[route] = routes.get(route, 0) + count
        return last._replace(first_at=min(self.first_at, other.first_at), times=self.times + other.times, routes=routes)


MAX_ROUTES = 50  # of one fingerprint
