"""
Field names of log schemas: Elastic Common Schema, and OpenTelemetry's log data model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from obskit.logs.line_settings import LineSettings

Line: TypeAlias = dict[str, Any]
SchemaMapper: TypeAlias = Callable[[Line], Line]

# What neither has a name for stays ours, in a namespace of its own.
_OBSKIT_FIELDS = {
    name: f"obskit.{name}"
    for name in ("first_byte_ms", "aborted", "refused", "db_queries", "db_ms", "ai_calls", "ai_cost_usd")
}
# Elastic Common Schema 8.17, https://www.elastic.co/guide/en/ecs/8.17/; the dots are part of the names.
ECS_VERSION = "8.17.0"
_ECS: dict[str, str | None] = {
    **_OBSKIT_FIELDS,
    "timestamp": "@timestamp",
    "level": "log.level",
    "logger": "log.logger",
    "service": "service.name",
    "version": "service.version",
    "environment": "service.environment",
    "correlation_id": "http.request.id",
    "trace_id": "trace.id",
    "span_id": "span.id",
    "exception": "error",
    "method": "http.request.method",
    "path": "url.path",
    "endpoint": "obskit.endpoint",
    "status": "http.response.status_code",
    "duration_ms": "event.duration",
    "bytes_sent": "http.response.body.bytes",
    "client": "client.address",
    "user_agent": "user_agent.original",
    "module": "log.origin.file.name",
    "function": "log.origin.function",
    "line": "log.origin.file.line",
    "thread": "process.thread.name",
    "process": "process.pid",
}
# OpenTelemetry's log data model, https://opentelemetry.io/docs/specs/otel/logs/data-model/, and the attributes of its
# semantic conventions 1.44.
_OTEL: dict[str, str | None] = {
    **_OBSKIT_FIELDS,
    "timestamp": "Timestamp",
    "level": "SeverityText",
    "message": "Body",
    "trace_id": "TraceId",
    "span_id": "SpanId",
    "logger": "Name",
    "service": "service.name",
    "version": "service.version",
    "environment": "deployment.environment.name",
    "correlation_id": "obskit.correlation_id",
    "exception": "exception",
    "method": "http.request.method",
    "path": "url.path",
    "endpoint": "http.route",
    "status": "http.response.status_code",
    "duration_ms": "obskit.duration_ms",
    "bytes_sent": "http.response.body.size",
    "client": "client.address",
    "user_agent": "user_agent.original",
    "module": "obskit.module",
    "function": "code.function.name",
    "line": "code.line.number",
    "thread": "thread.name",
    "process": "process.pid",
}
# With `log_category`; what ECS calls `event.category` has words of its own.
_CATEGORY = "obskit.category"
_SCHEMAS: dict[str, dict[str, str | None]] = {"obskit": {}, "ecs": _ECS, "otel": _OTEL}
# Where in the data model a field is; all others are attributes.
_TOP_LEVEL_FIELDS = ("timestamp", "level", "message", "trace_id", "span_id")
_RESOURCE_FIELDS = ("service", "version", "environment")
_SEVERITY = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
_EXCEPTION_PREFIX = "exception."  # with the name of a part, in `log_names`
_TRACEBACK_NAMES = {"ecs": "stack_trace", "otel": "stacktrace"}


def field_renames(settings: LineSettings) -> dict[str, str | None]:
    """
    Return the new names of fields: the schema's, overridden by `log_names`.
    """
    schema = _SCHEMAS[settings.log_schema]
    if settings.endpoint_style == "name" and "endpoint" in schema:
        schema = {**schema, "endpoint": "obskit.endpoint"}  # which is no `http.route`
    if settings.log_category and schema:
        schema = {**schema, "category": _CATEGORY}
    return {**schema, **settings.log_names}


def object_names(settings: LineSettings) -> frozenset[str]:
    """
    Return the names that are objects in Elasticsearch: it refuses a text called `url` where it has seen `url.path`.
    """
    schema = _ECS if settings.log_schema == "ecs" else {}
    names = (name for name in schema.values() if name is not None and (name == "error" or "." in name))
    return frozenset(name.partition(".")[0] for name in names)


def schema_mapper(settings: LineSettings) -> SchemaMapper | None:
    """
    Return the function that renames a line's fields; None where the contract's names stay.
    """
    names = field_renames(settings)
    if not names:
        return None
    if settings.log_schema == "obskit":
        prefix = _EXCEPTION_PREFIX
        parts = {name.removeprefix(prefix): new for name, new in names.items() if name.startswith(prefix)}
        if parts:
            return lambda line: _rename_fields(_lift_exception_parts(line, parts), names)
        return lambda line: _rename_fields(line, names)
    return _ecs_mapper(names) if settings.log_schema == "ecs" else _otel_mapper(names)


def _rename_fields(line: Line, names: Mapping[str, str | None]) -> Line:
    return {new: value for name, value in line.items() if (new := names.get(name, name)) is not None}


def _lift_exception_parts(line: Line, parts: Mapping[str, str | None]) -> Line:
    """
    Move parts of a line's exception to fields of their own, or drop them.
    """
    exception = line.get("exception")
    if not isinstance(exception, Mapping):
        return line
    rest = {part: value for part, value in exception.items() if part not in parts}
    named = {new: exception[part] for part, new in parts.items() if new is not None and part in exception}
    kept = {name: value for name, value in line.items() if name != "exception"}
    return {**kept, **({"exception": rest} if rest else {}), **named}


def _flatten_exception(line: Line, names: Mapping[str, str | None], schema: str) -> None:
    """
    Replace a line's exception by one field for each of its parts.
    """
    name, parts = names["exception"], line.pop("exception", None)
    if name is not None and isinstance(parts, Mapping):
        for part, value in parts.items():
            usual = f"{name}.{_TRACEBACK_NAMES[schema] if part == 'traceback' else part}"
            if (new := names.get(_EXCEPTION_PREFIX + part, usual)) is not None:
                line[new] = value


def _ecs_mapper(names: Mapping[str, str | None]) -> SchemaMapper:
    def map_fields(line: Line) -> Line:
        _flatten_exception(line, names, "ecs")
        if "duration_ms" in line:
            line["duration_ms"] = round(line["duration_ms"] * 1e6)  # the schema's unit is the nanosecond
        return {**_rename_fields(line, names), "ecs.version": ECS_VERSION}

    return map_fields


def _otel_mapper(names: Mapping[str, str | None]) -> SchemaMapper:
    def map_fields(line: Line) -> Line:
        _flatten_exception(line, names, "otel")
        severity = _SEVERITY[line["level"]]
        top = {name: line.pop(name) for name in _TOP_LEVEL_FIELDS if name in line}
        resource = {name: line.pop(name) for name in _RESOURCE_FIELDS if name in line}
        scope = {"logger": line.pop("logger")}
        return {
            **_rename_fields(top, names),
            "SeverityNumber": severity,
            "Resource": _rename_fields(resource, names),
            "InstrumentationScope": _rename_fields(scope, names),
            "Attributes": _rename_fields(line, names),
        }

    return map_fields
