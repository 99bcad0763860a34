"""
Read what `obskit.ai.report()` and `obskit.db.slow_queries()` tell from the records of all workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from obskit.ai.recent_calls import MAX_CALLS, MAX_LENGTH, CallLabels, KnownCalls, RecentCall, recent_calls
from obskit.ai.recent_calls import read_from as read_calls_from
from obskit.catalogue import events
from obskit.db.slow_log import SlowQuery
from obskit.db.slow_log import read_from as read_queries_from
from obskit.db.statement import summarize
from obskit.history.record_reader import read_records
from obskit.history.record_tables import Record
from obskit.history.record_writer import RecordWriter
from obskit.recorder import recorder
from obskit.rows.queries import DATABASE
from obskit.storage.periods import PeriodFiles, Span
from obskit.time.durations import milliseconds

MAX_PLANS = 500
_KINDS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
_LINE = {name: DATABASE[name].line for name in ("system", "summary", "text")}


class KeptReports:
    """
    Reads the records of a history folder. Thread-safe.

    Args:
        writer: Of this process, which stores what waits before anything is read.
        open_folder: As for `RecordWriter`.
        make_files: As for `RecordWriter`.
    """

    def __init__(
        self,
        writer: RecordWriter,
        open_folder: Callable[[], Path | None],
        make_files: Callable[[Path], Mapping[str, PeriodFiles]],
    ) -> None:
        self._writer, self._open_folder, self._make_files = writer, open_folder, make_files

    def open(self) -> None:
        """
        Have the reports read from here.
        """
        read_calls_from(self.calls)
        read_queries_from(self.queries)

    def close(self) -> None:
        """
        Leave the reports to this process's memory.
        """
        read_calls_from(None)
        read_queries_from(None)

    def calls(self, begin: float) -> KnownCalls | None:
        """
        Return the AI calls since a moment; None where this process does not serve, and knows its own alone.
        """
        files = self._files()
        if files is None:
            return None
        errors: list[Exception] = []
        now, kept = recorder.wall_clock(), files["ai"].files()
        since = min(recent_calls.since, kept[0].span.start) if kept else recent_calls.since
        found = read_records(files, "ai", Span(begin, now + 1), on_error=errors.append, latest=MAX_CALLS)
        calls = [call_of(record) for record in reversed(found)]
        if len(found) == MAX_CALLS or (kept and calls and kept[0].span.start > begin):
            since = calls[0].at  # older ones are not read, or there was no history before the first
        for error in errors:
            recorder.failed("records", error)
            since = now  # whatever is missing may have been made just now
        return KnownCalls(calls, since, is_of_all=True)

    def queries(self, most: int, slowest: bool) -> list[SlowQuery] | None:
        """
        Return slow queries: the latest, the oldest of them first, or the slowest, these first.
        """
        files = self._files()
        if files is None:
            return None
        ever = Span(0.0, recorder.wall_clock() + 1)

        def read(kind: str, **asked: Any) -> list[Record]:
            return read_records(files, kind, ever, on_error=lambda error: recorder.failed("records", error), **asked)

        found = read("query", latest=most, slowest=most if slowest else None)
        plans = {
            plan.fields.get(DATABASE["fingerprint"].line): plan.fields.get(DATABASE["plan"].line)
            for plan in reversed(read("event", key=events.QUERY_PLAN.name, latest=MAX_PLANS))
        }
        queries = [_query_of(record, plans) for record in found]
        return queries if slowest else queries[::-1]

    def _files(self) -> Mapping[str, PeriodFiles] | None:
        self._writer.flush()
        try:
            folder = self._open_folder() if self._writer.takes else None
        except OSError as error:
            recorder.failed("records", error)
            return None
        return None if folder is None else self._make_files(folder)


def call_of(record: Record) -> RecentCall:
    """
    Return a call as the report has it.
    """
    told = record.fields
    error, aborted, usd = told.get("error", ""), told.get("aborted", ""), told.get("cost_usd")
    tokens: list[Any] = [told.get(kind) for kind in _KINDS]
    is_call, source = bool(told.get("is_call", True)), told.get("cost_source")
    names = (
        *(told.get("service", ""), told.get("provider", "unknown"), told.get("model", "unknown")),
        *(told.get("endpoint", ""), told.get("feature", ""), record.user or "", error, aborted),
    )
    reason = told.get("cost_reason", "unknown") if usd is None else ""
    return RecentCall(
        CallLabels._make([*(name[:MAX_LENGTH] for name in names), reason]),
        record.at,
        record.seconds or 0.0,
        usd,
        told.get("savings_usd") or 0.0,
        told.get("first_chunk_seconds"),
        told.get("retry_wait_seconds", 0.0),
        None if None in tokens else (tokens[0], tokens[1], tokens[2], tokens[3]),
        told.get("status_code", 0),
        told.get("attempts", 0),
        bool(error),
        bool(told.get("estimated", False)),
        bool(usd and (error or aborted)),
        None if usd is None else source if source in ("own", "told") else "list",
        is_call,
        not is_call and bool(told.get("is_known_call", False)),
        "error" in told.get("failed_attempts", ()),
    )


def _query_of(record: Record, plans: Mapping[Any, Any]) -> SlowQuery:
    told = record.fields
    system, summary, text = (told.get(line, "") for line in _LINE.values())
    fingerprint = "" if record.key == summary else record.key
    return SlowQuery(
        *(record.at, milliseconds(record.seconds or 0.0), system, summary, text, fingerprint),
        *(told.get("rows"), told.get("error"), told.get("route"), record.correlation_id, told.get("call_site")),
        plan=told.get("plan") or plans.get(fingerprint),
        database=told.get("database"),
        tables=summarize(text, system).tables,
    )
