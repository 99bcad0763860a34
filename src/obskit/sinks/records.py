"""
The sink of records: keeps the few requests, queries and jobs that are worth reading later, every AI call, and events.

An ordinary request costs a comparison, which the sink of metrics makes. What is kept is a row, which leads to no
operation; the thread that writes makes records of them, without secrets.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappush, heappushpop
from itertools import count
from typing import Any, NamedTuple

from obskit.ai.ai_operation import AiOperation
from obskit.catalogue import events
from obskit.context import current
from obskit.db.db_operation import DbOperation
from obskit.db.query_watch import NEVER, thresholds
from obskit.history.record_tables import ErrorRecord, Record
from obskit.history.record_writer import RecordWriter, Row
from obskit.jobs import JobOperation
from obskit.logs.server_access import loggable_path
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Sink, Step, no_op
from obskit.redaction.redactor import Redactor
from obskit.rows.ai_calls import AI
from obskit.rows.compiled import row_maker
from obskit.rows.field import Rows
from obskit.rows.functions import JOB
from obskit.rows.requests import HTTP

SLOW_SECONDS = 1.0  # where `slow_request_ms` is None
MAX_WAY, LATEST = 20, 5  # queries of one request
_WAY_SHARE = 1 / 20  # of a slow request: faster queries are no part of its way
MAX_TEXT = 2048
_LABELS = ("feature", "tenant")  # bound fields that are told; others may be personal
# What says little once the request is over, or who the client was.
_LEFT_OUT = frozenset({"bound", "extra", "client", "agent", "query", "raw_method", "scheme"})
_KINDS: dict[type[Operation], Rows] = {HttpOperation: HTTP, AiOperation: AI, JobOperation: JOB}
_COLUMNS = {
    kind: tuple(field for field in rows.in_rows() if field.name not in _LEFT_OUT) for kind, rows in _KINDS.items()
}


class _Told(NamedTuple):
    """
    The fields of a row by name, those of its user apart.
    """

    fields: dict[str, Any]
    bound: Mapping[str, str]
    correlation_id: str | None


class RecordsSink(Sink):
    """
    Puts what is kept on the writer's queue.

    Args:
        writer: Writes it.
        redactor: Takes secrets out.
        slow_seconds: From how long on a request is slow.
        hash_user: Returns what stands for a user.
    """

    name = "records"
    wants = frozenset[str]()

    def __init__(
        self,
        writer: RecordWriter,
        redactor: Redactor,
        slow_seconds: float = SLOW_SECONDS,
        hash_user: Callable[[str], str] = lambda user: user,
    ) -> None:
        self._writer, self._redactor, self._hash_user = writer, redactor, hash_user
        self.slow_seconds = slow_seconds
        self._numbers = count()  # of queries, so that equal ones are never compared any further
        self._row_of = {kind: _row_of(kind) for kind in _COLUMNS}

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        """
        Return the steps of AI calls and jobs, and ask for queries; requests come by `look()`, events by `emit()`.
        """
        if kind is DbOperation:
            thresholds.watch_way(self.slow_seconds * _WAY_SHARE, self.note_way)
        if kind is AiOperation:
            return None, self._ai_call
        if kind is JobOperation:
            return None, self._job
        return None, None

    # Requests

    def look(self, op: HttpOperation) -> None:
        """
        Queue a request, and its error where it has one.
        """
        row = self._row_of[HttpOperation](op)
        went_wrong = op.status >= 500 or op.exception is not None or op.aborted
        is_ordinary = not went_wrong and op.duration_seconds <= self.slow_seconds
        self._writer.put("ordinary" if is_ordinary else "request", self._request_record, row)
        if op.exception is not None:
            self._writer.put("error", self._error_record, row)

    def note_way(self, op: DbOperation) -> None:
        """
        Note a query that took long, or failed, with its request.
        """
        totals, seconds = op.totals, op.duration_seconds
        if totals is None:
            return
        name = op.statement.summary or f"{op.operation} {op.table}".strip() or op.system
        found = seconds, next(self._numbers), name, op.error
        if totals.way is None:
            totals.latest, totals.way = deque(maxlen=LATEST), []
        totals.latest.append(found)
        # A heap, since a request's threads may both be here, and each of these is one step.
        (heappush if len(totals.way) < MAX_WAY else heappushpop)(totals.way, found)

    def _told(self, kind: type[Operation], row: Row) -> _Told:
        fields = {
            field.name: value
            for field, value in zip(_COLUMNS[kind], row[:-1], strict=True)
            if value is not None and value != field.unset
        }
        bound, identity = row[-1], fields.pop("correlation_id", None)
        fields.update((name, bound[name]) for name in _LABELS if name in bound)
        return _Told(fields, bound, identity)

    def _shown(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value[:MAX_TEXT] if isinstance(value, str) else value
            for name, value in self._redactor.fields(fields).items()
        }

    def _user(self, bound: Mapping[str, str]) -> str | None:
        user = bound.get("user")
        return self._hash_user(user) if user else None

    def _request_record(self, at: float, row: Row) -> Record:
        fields, bound, identity = self._told(HttpOperation, row)
        way, latest = fields.pop("way", []), fields.pop("latest", ())
        failed = fields["status"] >= 500 or "exception" in fields or "aborted" in fields
        fields["path"] = loggable_path(fields["path"], "", self._redactor)
        endpoint, seconds = self._redactor.text(fields.pop("endpoint")), fields.pop("duration_seconds")
        shown = self._shown(fields)
        if way:
            shown["queries"] = [_query(took, name, error) for took, _, name, error in sorted(way, reverse=True)]
        if failed and latest:
            shown["latest_queries"] = [_query(took, name, error) for took, _, name, error in latest]
        return Record("request", at, endpoint, seconds, failed, self._user(bound), identity, shown)

    def _error_record(self, at: float, row: Row) -> ErrorRecord:
        told = self._told(HttpOperation, row)
        fields = told.fields
        route = self._redactor.text(fields["endpoint"])
        example = {
            "path": loggable_path(fields["path"], "", self._redactor),
            "method": fields["method"],
            "status": fields["status"],
            "correlation_id": told.correlation_id,
        }
        return _error(fields["exception"], fields.get("raised_at", ""), at, route, example)

    # AI calls and jobs

    def _ai_call(self, op: AiOperation) -> None:
        self._writer.put("ai", self._ai_record, self._row_of[AiOperation](op))

    def _ai_record(self, at: float, row: Row) -> Record:
        fields, bound, identity = self._told(AiOperation, row)
        failed = "error" in fields or "aborted" in fields
        model, seconds = self._redactor.text(fields.get("model", "")), fields.pop("duration_seconds")
        return Record("ai", at, model, seconds, failed, self._user(bound), identity, self._shown(fields))

    def _job(self, op: JobOperation) -> None:
        row = self._row_of[JobOperation](op)
        self._writer.put("job", self._job_record, row)
        if op.error is not None:
            self._writer.put("error", self._job_error, row)

    def _job_record(self, at: float, row: Row) -> Record:
        fields, bound, identity = self._told(JobOperation, row)
        name, seconds = self._redactor.text(fields.pop("job")), fields.pop("duration_seconds")
        return Record("job", at, name, seconds, "error" in fields, self._user(bound), identity, self._shown(fields))

    def _job_error(self, at: float, row: Row) -> ErrorRecord:
        told = self._told(JobOperation, row)
        name = self._redactor.text(told.fields["job"])
        return _error(told.fields["error"], f"job {name}", at, name, {"correlation_id": told.correlation_id})

    def close(self) -> None:
        """
        Ask for no more queries.
        """
        thresholds.watch_way(NEVER, no_op)

    # Events

    def emit(self, event: Event) -> None:
        """
        Queue an event; a slow query is a record of its own kind.
        """
        op = current.get()
        identity = None if op is None else op.root.correlation_id
        row = event.name, event.severity, event.message, dict(event.fields), identity
        is_query = event.name == events.SLOW_QUERY.name
        self._writer.put("query" if is_query else "event", self._query_record if is_query else self._event_record, row)

    def _event_record(self, at: float, row: Row) -> Record:
        name, severity, message, fields, identity = row
        told = {"severity": severity, "message": self._redactor.text(message), **self._redactor.fields(fields)}
        return Record("event", at, name, None, severity in ("ERROR", "CRITICAL"), None, identity, self._shown(told))

    def _query_record(self, at: float, row: Row) -> Record:
        fields, identity = dict(row[3]), row[4]
        seconds = fields.pop("query_ms", 0.0) / 1000
        key = fields.pop("query_fingerprint", "") or fields.get("query_summary", "")
        return Record("query", at, key, seconds, "error" in fields, None, identity, self._shown(fields))


def _row_of(kind: type[Operation]) -> Callable[[Any], Row]:
    """
    Return a function that makes a row of an operation, the last of which is what was bound, as text: an object of the
    application's may lead to a request, or ask a database when it is read.
    """
    make = row_maker(kind, _COLUMNS[kind])

    def row_of(op: Operation) -> Row:
        bound = op.root.fields
        return (*make(op), _texts_of(bound) if bound else {})

    return row_of


def _texts_of(bound: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name in ("user", *_LABELS):
        value = bound.get(name)
        if value is not None:
            try:
                found[name] = str(value)
            except Exception:
                continue  # the record is worth keeping without it
    return found


def _query(seconds: float, name: str, error: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"seconds": round(seconds, 6), "summary": name}
    return found if error is None else {**found, "error": error}


def _error(kind: str, place: str, at: float, route: str, example: dict[str, Any]) -> ErrorRecord:
    fingerprint = hashlib.sha256(f"{kind}|{place}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return ErrorRecord(fingerprint, kind, place, at, at, 1, {route: 1}, example)
