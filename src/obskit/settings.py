"""
Read every setting once, at `configure()`: arguments beat `OBSKIT_*` variables beat defaults.

Each setting is written once, here: its default, what it accepts and what it means. The reference page is generated
from these fields.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, cast

from obskit.errors import ConfigurationError, UnknownSettingError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Check: TypeAlias = Callable[[Any], Any]

# The usual thresholds (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15 s) fall on a bound, and 15 s is covered.
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0)
# OpenTelemetry GenAI conventions (2026-11), gen_ai.client.operation.duration.
AI_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
# OpenTelemetry semantic conventions 1.44, db.client.operation.duration.
DB_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _text(value: Any) -> str:
    _expect(isinstance(value, str) and value != "", "a non-empty string")
    return str(value)


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        _expect(value.lower() in _FLAGS, "true or false (1/0, yes/no, on/off)")
        return _FLAGS[value.lower()]
    _expect(isinstance(value, bool), "True or False")
    return bool(value)


_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _number(low: float, high: float, what: str, kind: type = float) -> Check:
    def check(value: Any) -> Any:
        if isinstance(value, str):
            value = kind(value)
        _expect(isinstance(value, (int, float)) and not isinstance(value, bool), what)
        _expect(kind is float or value == int(value), what)
        _expect(low <= value <= high, what)
        return kind(value)

    return _described(check, what)


def _described(check: Check, what: str) -> Check:
    def described(value: Any) -> Any:
        try:
            return check(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(what) from error

    return described


def _namespace(value: Any) -> str:
    _expect(
        isinstance(value, str) and re.fullmatch(r"|[a-zA-Z_][a-zA-Z0-9_]*", value) is not None,
        "a Prometheus name prefix such as 'shop' (letters, digits and underscores)",
    )
    return str(value)


def _path(value: Any) -> str:
    what = "a URL path with a leading slash and no trailing one, such as '/metrics', or None not to mount it"
    _expect(isinstance(value, str) and re.fullmatch(r"(/[^/?#\s]+)+", value) is not None, what)
    return str(value)


def _directory(value: Any) -> str:
    what = "an absolute path of a directory, such as '/run/shop/metrics', or None to find the workers by itself"
    _expect(isinstance(value, (str, os.PathLike)) and os.path.isabs(value), what)
    return str(value)


def _state_directory(value: Any) -> str:
    what = "an absolute path of a directory that stays, such as '/var/lib/shop', or None for the user's state folder"
    _expect(isinstance(value, (str, os.PathLike)) and os.path.isabs(value), what)
    return str(os.fspath(value))


def _networks(value: Any) -> tuple[Network, ...]:
    what = "networks such as ('10.0.0.0/8', '127.0.0.1')"
    _expect(isinstance(value, (list, tuple)), what)
    read = _described(lambda networks: tuple(ipaddress.ip_network(n, strict=False) for n in networks), what)
    return cast(tuple[Network, ...], read(value))


def _buckets(value: Any) -> tuple[float, ...]:
    what = "at least one bucket bound in seconds, rising, such as (0.1, 0.5, 1)"
    _expect(isinstance(value, (list, tuple)) and len(value) > 0, what)
    bounds = tuple(_described(float, what)(v) for v in value)
    if bounds[-1] == float("inf"):
        bounds = bounds[:-1]
    _expect(bounds != () and bounds[0] == bounds[0] and all(a < b for a, b in pairwise(bounds)), what)
    return bounds


def _names(value: Any) -> dict[str, str | None]:
    what = "a mapping of names to new names (or None to leave one out), such as {'duration_ms': 'response_time'}"
    _expect(isinstance(value, Mapping), what)
    _expect(all(isinstance(k, str) and (v is None or (isinstance(v, str) and v)) for k, v in value.items()), what)
    return dict(value)


def _metric_names(value: Any) -> dict[str, str | None]:
    names = _names(value)
    what = "new names of letters, digits and underscores, such as {'http_requests_total': 'requests_total'}, or None"
    _expect(all(v is None or re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", v) for v in names.values()), what)
    return names


def _metric_labels(value: Any) -> dict[str, dict[str, str]]:
    what = (
        "a mapping of metrics, or '*' for all, to new names of their labels, such as "
        "{'database_query_duration_seconds': {'operation': 'query_type'}}"
    )
    _expect(isinstance(value, Mapping) and all(isinstance(names, Mapping) for names in value.values()), what)
    pairs = [*value, *(text for names in value.values() for pair in names.items() for text in pair)]
    _expect(all(isinstance(text, str) and text for text in pairs), what)
    return {metric: dict(names) for metric, names in value.items()}


def _metric_buckets(value: Any) -> dict[str, tuple[float, ...]]:
    what = "a mapping of histograms to rising bounds, such as {'function_duration_seconds': (0.1, 0.5, 1)}"
    _expect(isinstance(value, Mapping) and all(isinstance(name, str) and name for name in value), what)
    return {name: _described(_buckets, what)(bounds) for name, bounds in value.items()}


def _prices(value: Any) -> dict[str, Any]:
    what = "a mapping of models to prices in dollars per million tokens, such as {'my-model': Price(input=1, output=4)}"
    _expect(isinstance(value, Mapping), what)
    kinds = (
        *("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "audio_input", "audio_output"),
        *("image_input", "image_output", "web_search", "file_search", "request"),
    )
    found = {}
    for model, price in value.items():
        rates = price if isinstance(price, Mapping) else {kind: getattr(price, kind, None) for kind in kinds}
        known = {kind: rate for kind, rate in rates.items() if rate is not None}
        _expect(isinstance(model, str) and {"input", "output"} <= known.keys() <= set(kinds), what)
        _expect(all(type(rate) in (int, float) and 0 <= rate < float("inf") for rate in known.values()), what)
        found[model] = known
    return found


def _call_sites(value: Any) -> tuple[str, ...]:
    what = "files, lines or functions, such as ('shop/reports.py', 'shop/views.py:88', 'export')"
    _expect(isinstance(value, (list, tuple)) and all(isinstance(item, str) and item for item in value), what)
    return tuple(value)


def _level(value: Any) -> str:
    what = "one of " + ", ".join(repr(name) for name in LEVELS)
    _expect(isinstance(value, str) and value.upper() in LEVELS, what)
    return str(value).upper()


def _levels(value: Any) -> dict[str, str]:
    what = "a mapping of logger names to levels, such as {'sqlalchemy.engine': 'WARNING'}"
    _expect(isinstance(value, Mapping) and all(isinstance(name, str) and name for name in value), what)
    return {name: _described(_level, what)(level) for name, level in value.items()}


def _channels(value: Any) -> dict[str, dict[str, Any]]:
    what = (
        "a mapping of logger names to files, such as {'security': {'file': 'logs/security.jsonl', 'keep_days': 365}}; "
        f"beside the file: {_OF_FILES}"
    )
    _expect(isinstance(value, Mapping) and all(isinstance(name, str) and name for name in value), what)
    _expect(all(isinstance(given, Mapping) and "file" in given for given in value.values()), what)
    return {name: {key: _of_file(key, v, what) for key, v in given.items()} for name, given in value.items()}


def _of_file(key: str, value: Any, what: str, checks: Mapping[str, Check] | None = None) -> Any:
    checks = _FILE_CHECKS if checks is None else checks
    _expect(key in checks, what)
    return None if value is None and key in _NONE_OF_FILES else _described(checks[key], what)(value)


def _outputs(value: Any) -> tuple[dict[str, Any], ...]:
    what = (
        "a list of further outputs, such as [{'format': 'console', 'stream': 'stderr'}, {'format': 'json', 'file': "
        f"'logs/app.jsonl'}}]; each takes a file or a stream, and format, schema, level, queue, {_OF_FILES}"
    )
    _expect(isinstance(value, (list, tuple)) and all(isinstance(given, Mapping) for given in value), what)
    _expect(not any({"file", "stream"} <= given.keys() for given in value), what)
    return tuple({key: _of_file(key, v, what, _OUTPUT_CHECKS) for key, v in given.items()} for given in value)


def _folder(value: Any) -> str:
    _expect(isinstance(value, (str, os.PathLike)) and os.fspath(value) != "", "a path of a folder")
    return str(os.fspath(value))


def _age(value: Any) -> timedelta:
    bare = isinstance(value, (int, float)) and not isinstance(value, bool)
    said = f", since {value} may be '{value}s' or '{value}d'" if bare else ""
    what = f"an age such as '30d', '12h', '15m' or '90s', or a timedelta{said}"
    if isinstance(value, str):
        found = _length_of_time(value)
        _expect(found is not None, what)
        number, unit = cast(re.Match[str], found).groups()
        value = timedelta(seconds=float(number) * _SECONDS[unit])
    _expect(isinstance(value, timedelta), what)
    _expect(timedelta(0) < value <= timedelta(days=36_500), what)
    return cast(timedelta, value)


_length_of_time = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])").fullmatch
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _gzip(value: Any) -> bool | timedelta:
    if isinstance(value, timedelta) or (isinstance(value, str) and _length_of_time(value)):
        return _age(value)
    return _described(_flag, "True or False, or from which age on, such as '7d'")(value)  # type: ignore[no-any-return]


def _sampled(value: Any) -> dict[str, int]:
    what = "a mapping of route templates to how many lines one stands for, such as {'/poll/{device_id}': 100}"
    _expect(isinstance(value, Mapping) and all(isinstance(route, str) for route in value), what)
    every = _number(1, 1_000_000, what, int)
    return {route: every(count) for route, count in value.items()}


def _hosts(value: Any) -> tuple[str, ...]:
    what = "host names such as ('stock.internal', '*.shop.example', 'localhost:8080'), without a scheme or a path"
    _expect(isinstance(value, (list, tuple)) and all(isinstance(host, str) for host in value), what)
    _expect(all(re.fullmatch(r"(\*\.)?([^\s/:*@?#]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", host) for host in value), what)
    return tuple(host.lower() for host in value)


def _key_names(value: Any) -> tuple[str, ...]:
    what = "names of fields such as ('iban', 'birth_date')"
    _expect(isinstance(value, (list, tuple)) and all(isinstance(name, str) and name for name in value), what)
    return tuple(value)


def _exclude(value: Any) -> tuple[str | re.Pattern[str], ...]:
    what = "path prefixes with a leading slash, or compiled patterns, such as ('/static', re.compile('^/probe'))"
    _expect(isinstance(value, (list, tuple)), what)
    for item in value:
        good = item.startswith("/") if isinstance(item, str) else isinstance(getattr(item, "pattern", None), str)
        _expect(good, what)
    return tuple(value)


def _choice(*names: str) -> Check:
    def check(value: Any) -> Any:
        _expect(value in names, "one of " + ", ".join(repr(name) for name in names))
        return value

    return check


def _tracing(value: Any) -> Any:
    what = "'otlp', 'console', a tracer provider, or None to use the one that OpenTelemetry was given"
    _expect(value in ("otlp", "console") or hasattr(value, "get_tracer"), what)
    return value


def _registry(value: Any) -> Any:
    _expect(hasattr(value, "register") and hasattr(value, "collect"), "a prometheus_client CollectorRegistry")
    return value


def _stream(value: Any) -> Any:
    _expect(hasattr(value, "write"), "a stream with a write() method, or None for standard output")
    return value


def _hook(value: Any) -> Any:
    _expect(callable(value), "a function that takes the finished HttpOperation")
    return value


LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_rotate_bytes = _number(1024, 2**40, "a size in bytes from 1 KiB to 1 TiB, or None for no limit", int)
_keep = _number(1, 100_000, "a whole number from 1 to 100,000, or None for no limit", int)
_waiting = _number(1, 10_000_000, "a whole number of lines from 1 to 10,000,000, or None for no queue", int)
_log_format, _log_schema = _choice("json", "console"), _choice("obskit", "ecs", "otel")
_OF_FILES = "rotate_bytes, rotate_daily, keep_files, keep_days, gzip, archive_dir, archive_after"
_NONE_OF_FILES = frozenset(["keep_files", "keep_days", "archive_dir", "archive_after", "queue"])
_FILE_CHECKS: dict[str, Check] = {
    "file": _text,
    "rotate_bytes": _rotate_bytes,
    "rotate_daily": _flag,
    "keep_files": _keep,
    "keep_days": _keep,
    "gzip": _gzip,
    "archive_dir": _folder,
    "archive_after": _age,
}


def _output_stream(value: Any) -> Any:
    return value if value in ("stdout", "stderr") else _stream(value)


_OUTPUT_CHECKS: dict[str, Check] = {
    **_FILE_CHECKS,
    "stream": _output_stream,
    "format": _log_format,
    "schema": _log_schema,
    "level": _level,
    "queue": _waiting,
}


def _expose(value: Any) -> Any:
    what = "'never', 'authorised', 'always', or a function that takes the request and answers True for who may see"
    _expect(value in ("never", "authorised", "always") or callable(value), what)
    return value


def _groups(value: Any) -> tuple[str, ...]:
    what = "names of further groups of checks, such as ('deep',): letters, digits, '_', '.' and '-'"
    _expect(isinstance(value, (list, tuple)), what)
    _expect(all(isinstance(n, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", n) for n in value), what)
    return tuple(value)


def _disk_paths(value: Any) -> dict[str, str]:
    what = "a mapping of labels to paths, such as {'/': '/', 'database': 'app.db'}"
    _expect(isinstance(value, Mapping), what)
    _expect(all(isinstance(k, str) and k and isinstance(v, (str, os.PathLike)) for k, v in value.items()), what)
    return {label: os.fspath(path) for label, path in value.items()}


def _setting(
    default: Any,
    check: Check,
    doc: str,
    *,
    env: Literal["text", "list", "json"] | None = "text",
    secret: bool = False,
) -> Any:
    """
    Declare a setting; `env` says how its variable is read, None that it has none. No message shows a secret one.
    """
    metadata = {"check": check, "doc": doc, "env": env}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    Every setting of one runtime; built by `configure()`, never changed afterwards.
    """

    service: str = _setting(
        "",
        _text,
        "Name of the service: in every line, in `obskit_build_info`, in spans. Default: "
        "`OTEL_SERVICE_NAME`, else the program's name.",
    )
    version: str | None = _setting(None, _text, "Version of the service, in `obskit_build_info` and in spans.")
    environment: str | None = _setting(
        None, _text, "Deployment environment, such as `production`, in `obskit_build_info` and in spans."
    )
    namespace: str = _setting(
        "",
        _namespace,
        "Prefix of the application's metrics: `shop` makes `shop_http_requests_total`. Default: no prefix.",
    )
    enabled: bool = _setting(
        True, _flag, "False makes everything a no-op: `instrument()` returns the application as it was."
    )
    auto: bool = _setting(
        False,
        _flag,
        "Instrument whatever supported library is installed, with no further call: `psycopg`, `sqlalchemy`, `sqlite3`, "
        "Django's databases, "
        "`anthropic`, `openai`, the standard library's loggers, `httpx`, `requests` and Celery; none of them is "
        "imported for it.",
    )
    metrics: bool = _setting(True, _flag, "Record metrics.")
    access_log: bool = _setting(True, _flag, "Write one JSON line a request.")
    correlation: bool = _setting(True, _flag, "Take, make and answer with correlation ids.")
    tracing: Any = _setting(
        None,
        _tracing,
        "Record spans: `otlp` or `console` builds an exporter, a tracer provider is used as it is. None: "
        "spans where OpenTelemetry has been given a provider, none elsewhere.",
    )
    trace_ratio: float = _setting(
        1.0,
        _number(0, 1, "a ratio from 0 to 1"),
        "Share of new traces to record with `otlp` and `console`; a sampled parent's children are always recorded.",
    )
    metrics_path: str | None = _setting("/metrics", _path, "Where the metrics page is mounted. None: nowhere.")
    health_path: str | None = _setting("/health", _path, "Prefix of the health routes. None: nowhere.")
    metrics_token: str | None = _setting(
        None, _text, "Bearer token that `/metrics` asks for; the page shows routes and dollars.", secret=True
    )
    metrics_networks: tuple[Network, ...] = _setting(
        (),
        _networks,
        "Networks that may read `/metrics` without a token. "
        "With neither token nor network everyone may, and the start-up line says so.",
        env="list",
    )
    health_groups: tuple[str, ...] = _setting(
        (),
        _groups,
        "Groups of checks beside `live`, `ready` and `startup`; each has a route below `health_path`.",
        env="list",
    )
    health_fail_status: int = _setting(
        503,
        _number(400, 599, "a status from 400 to 599", int),
        "What a health route answers when something critical fails.",
    )
    health_schema: str = _setting(
        "obskit",
        _choice("obskit", "guides"),
        "What bodies of health routes say: `pass`, `warn` and `fail`, or with `guides`, for monitors that look for "
        "words, `healthy` and `unhealthy`, under `status` and `overall_status`; a warning is healthy there.",
    )
    expose_details: str | Callable[[Any], bool] = _setting(
        "authorised",
        _expose,
        "Who sees more of the health routes than one word: `never` nobody, `authorised` whom `details_token` or "
        "`details_networks` lets, `always` everyone; or a function that takes the request (`method`, `path`, `query`, "
        "`client`, `header(name)`) and answers True.",
    )
    details_token: str | None = _setting(
        None, _text, "Bearer token that shows health details; probes need none.", secret=True
    )
    details_networks: tuple[Network, ...] = _setting(
        (),
        _networks,
        "Networks that see health details without a token. With neither token nor network nobody does.",
        env="list",
    )
    disk_paths: Mapping[str, str] = _setting(
        {"/": "/"},
        _disk_paths,
        'Whose use is on the metrics page, by the label `path`: `{"data": "/var/lib/shop", "database": "app.db"}`. '
        "Of a directory it is its disk's, of a file its own size.",
        env="json",
    )
    metric_names: Mapping[str, str | None] = _setting(
        {},
        _metric_names,
        'New names for metrics, without the namespace: `{"http_requests_total": "requests_total"}`. '
        "None leaves a metric out.",
        env="json",
    )
    metric_labels: Mapping[str, Mapping[str, str]] = _setting(
        {},
        _metric_labels,
        "New names for labels on the page, by the metric's own name: "
        '`{"database_query_duration_seconds": {"operation": "query_type"}}`, or by `"*"` for every metric that has the '
        "label. A metric's own entry goes before that.",
        env="json",
    )
    metric_buckets: Mapping[str, tuple[float, ...]] = _setting(
        {},
        _metric_buckets,
        "Bucket bounds of single histograms of obskit's, by their own names, before `http_buckets`, `db_buckets` and "
        '`ai_buckets`: `{"function_duration_seconds": (0.1, 0.5, 1)}`.',
        env="json",
    )
    endpoint_style: str = _setting(
        "template",
        _choice("template", "name"),
        "What `endpoint` says of a Flask application's routes: the URL template (`/plants/<int:plant_id>`), or the "
        "`name` of the endpoint (`plants.show`). Other frameworks' are templates.",
    )
    log_names: Mapping[str, str | None] = _setting(
        {},
        _names,
        'New names for log fields: `{"duration_ms": "response_time"}`. None leaves a field out. A part of the '
        'exception becomes a field of its own: `{"exception.type": "error_type"}`.',
        env="json",
    )
    registry: Any = _setting(
        None, _registry, "The `prometheus_client` registry to join. Default: `prometheus_client.REGISTRY`.", env=None
    )
    metrics_dir: str | None = _setting(
        None,
        _directory,
        "Where the workers of one server add their figures up: a directory on this machine that only this user may "
        "write to. Default: found by itself under gunicorn, uvicorn, hypercorn and granian. Whoever is given the same "
        "one is a worker too; give each application its own.",
    )
    max_label_sets: int = _setting(
        1000,
        _number(1, 1_000_000, "a whole number from 1 to 1,000,000", int),
        "Label sets a metric may have; what is over is folded into `_OVERFLOW` and counted.",
    )
    http_buckets: tuple[float, ...] = _setting(
        HTTP_BUCKETS, _buckets, "Bucket bounds of the HTTP histograms, in seconds.", env="list"
    )
    db_buckets: tuple[float, ...] = _setting(
        DB_BUCKETS,
        _buckets,
        "Bucket bounds of the query histogram, in seconds; the default is OpenTelemetry's for databases.",
        env="list",
    )
    ai_buckets: tuple[float, ...] = _setting(
        AI_BUCKETS,
        _buckets,
        "Bucket bounds of the AI histograms, in seconds; the default is OpenTelemetry's for AI calls.",
        env="list",
    )
    prices: Mapping[str, Any] = _setting(
        {},
        _prices,
        'Prices of models, asked before any other: `{"my-model": obskit.ai.Price(input=1, output=4)}`, in '
        'dollars per million tokens; in the variable `{"my-model": {"input": 1, "output": 4}}`.',
        env="json",
    )
    state_dir: str | None = _setting(
        None,
        _state_directory,
        "Where state is kept, such as what AI budgets have spent, in one folder a service: a directory that stays when "
        "the process ends, shared by the processes of this machine. Default: the first of systemd's "
        "`$STATE_DIRECTORY`, else `obskit` under the user's state folder (`XDG_STATE_HOME`, `~/.local/state`); under "
        "pytest a temporary one.",
    )
    size_metrics: bool = _setting(False, _flag, "Record the histograms of request and response sizes.")
    exclude: tuple[str | re.Pattern[str], ...] = _setting(
        (),
        _exclude,
        "Path prefixes (`/static`), or compiled patterns that are searched in the path, that are not observed at all.",
        env="list",
    )
    trust_inbound_ids: bool = _setting(
        True, _flag, "Take a well-formed correlation id from the request. False: always make one."
    )
    trust_inbound_traces: bool = _setting(
        True,
        _flag,
        "Continue the trace of a request's `traceparent`, and take its `baggage`. False: each request begins a trace "
        "of its own, as a server may want that strangers call.",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        _networks,
        "Networks of proxies whose `X-Forwarded-For` is believed. Empty: the header is ignored.",
        env="list",
    )
    propagate_to: tuple[str, ...] = _setting(
        (),
        _hosts,
        "Hosts that outgoing calls carry the ids to, such as `stock.internal`, `*.shop.example` (what is below it) or "
        "`localhost:8080`. Empty: none.",
        env="list",
    )
    log_level: str = _setting(
        "INFO", _level, "Lines below this level are not written: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`."
    )
    log_levels: Mapping[str, str] = _setting(
        {},
        _levels,
        'Levels for single loggers and those below them: `{"sqlalchemy.engine": "WARNING"}`.',
        env="json",
    )
    log_format: str = _setting(
        "json", _log_format, "`json`, or `console` for the eyes of developers, coloured on a terminal."
    )
    log_schema: str = _setting(
        "obskit",
        _log_schema,
        "Names of the fields: obskit's own, those of the Elastic Common Schema, or OpenTelemetry's log data model.",
    )
    log_server: bool = _setting(
        True,
        _flag,
        "Write the server's own lines (uvicorn, gunicorn, hypercorn, granian) as obskit's, and leave its access lines "
        "out where obskit writes them. False: leave its loggers alone.",
    )
    log_callsite: bool = _setting(
        False, _flag, "Add `module`, `function`, `line`, `thread` and `process` to the lines of loggers."
    )
    log_through_logging: bool = _setting(
        False,
        _flag,
        "Send the lines of `obskit.get_logger()` through the standard library's loggers of their names too, for "
        "handlers of others: caplog's, Sentry's, files.",
    )
    log_stream: IO[Any] | None = _setting(None, _stream, "Where lines go. Default: standard output.", env=None)
    log_file: str | None = _setting(None, _text, "Write lines to this file in place of `log_stream`.")
    log_rotate_bytes: int | None = _setting(
        50_000_000, _rotate_bytes, "Start a new file when `log_file` has this size. None: no limit."
    )
    log_rotate_daily: bool = _setting(False, _flag, "Start a new file each day, in UTC.")
    log_keep_files: int | None = _setting(10, _keep, "Keep this many old files. None: all.")
    log_keep_days: int | None = _setting(
        None, _keep, "Delete rotated files after this many days, archived ones too. None: never."
    )
    log_gzip: bool | timedelta = _setting(
        False, _gzip, 'Compress old files: `True` at once, `"7d"` when they are so old.'
    )
    log_archive_after: timedelta | None = _setting(
        None,
        _age,
        'Put old files away when they are so old (`"30d"`, `"12h"`): compressed, into `log_archive_dir`. What '
        "`log_keep_files` has no place for goes there too, in place of being deleted; `log_keep_days` deletes there as "
        "well. None: with `log_archive_dir` at once, else never.",
    )
    log_archive_dir: str | None = _setting(
        None, _folder, "Where old files are put away. None: with `log_archive_after`, `archive` beside the log file."
    )
    log_queue: int | None = _setting(
        None,
        _waiting,
        "Queue up to this many lines for a slow output, such as a stream to another machine; `WARNING` and above "
        "are written at once. What finds no place is dropped and counted. None: each line is written when it is made.",
    )
    log_channels: Mapping[str, Mapping[str, Any]] = _setting(
        {},
        _channels,
        "Files of their own for single loggers and those below them: "
        '`{"security": {"file": "logs/security.jsonl", "keep_days": 365}}`. '
        "Beside `file` it takes `rotate_bytes`, `rotate_daily`, `keep_files`, `keep_days`, `gzip`, `archive_dir` and "
        "`archive_after`; what is not given is as for `log_file`.",
        env="json",
    )
    log_outputs: tuple[Mapping[str, Any], ...] = _setting(
        (),
        _outputs,
        "Write every line to these too, each in a form of its own: "
        '`[{"format": "console", "stream": "stderr"}, {"format": "json", "file": "logs/app.jsonl"}]`. '
        'An output has a `file`, or a `stream` (`"stdout"`, `"stderr"`, or an object with `write()`; default: standard '
        "output); beside it `format`, `schema`, `level` (below it no line), `queue`, and for a file what a channel "
        "takes. What is not given is as for the first output.",
        env="json",
    )
    log_category: bool = _setting(
        False,
        _flag,
        "Add `category` to each line, by its logger and level: `request`, `performance`, `security`, `audit`, "
        "`business`, the name of a channel (`log_channels`), `error`, `system` or `application`.",
    )
    error_file: str | None = _setting(
        None, _text, "Write lines of `ERROR` and `CRITICAL` to this file too; it is rotated as `log_file` is."
    )
    redact_keys: tuple[str, ...] = _setting(
        (), _key_names, "Names of fields whose values are secret, added to the default list.", env="list"
    )
    redact_values: bool = _setting(
        True,
        _flag,
        "Look for secrets in values too: bearer tokens, JWTs, card numbers, passwords in URLs, keys of clouds.",
    )
    log_sample_first: int | None = _setting(
        None,
        _number(1, 1_000_000, "a whole number from 1 to 1,000,000, or None for off", int),
        "Write at most this many lines per second of one logger, level and message, then every `log_sample_every`-th. "
        "None: all.",
    )
    log_sample_every: int = _setting(
        100,
        _number(1, 1_000_000, "a whole number from 1 to 1,000,000", int),
        "Of the lines beyond `log_sample_first`, write every so-many-th; it says how many were `left_out`.",
    )
    access_log_sample: Mapping[str, int] = _setting(
        {},
        _sampled,
        'Write every so-many-th line of a route: `{"/poll/{device_id}": 100}`; it says how many were `left_out`. '
        "Errors and slow requests are always written.",
        env="json",
    )
    log_client: str = _setting(
        "masked",
        _choice("masked", "full", "none"),
        "The client's address in the access line: `masked` keeps the network (/24, /48), `full` all of it, `none` "
        "nothing.",
    )
    log_query_string: bool = _setting(
        False, _flag, "Put the query string into the access line's `path`. It may hold secrets."
    )
    slow_request_ms: float | None = _setting(
        2000.0,
        _number(0, 86_400_000, "milliseconds from 0 to a day, or None for off"),
        "Requests slower than this are logged as WARNING. None: off.",
    )
    slow_query_ms: float | None = _setting(
        500.0,
        _number(0, 86_400_000, "milliseconds from 0 to a day, or None for off"),
        "Queries that take this long are logged as ERROR. None: off.",
    )
    slow_query_warning_ms: float | None = _setting(
        100.0,
        _number(0, 86_400_000, "milliseconds from 0 to a day, or None for off"),
        "Queries that take this long are logged as WARNING. None: off.",
    )
    explain_slow_queries: bool = _setting(
        False, _flag, "Ask SQLite and PostgreSQL how they run a slow query that reads; never one that writes."
    )
    n_plus_one: int | None = _setting(
        5,
        _number(1, 1_000_000, "a whole number from 1 to 1,000,000, or None for off", int),
        "One request may make the same statement from the same line so often; more is told of. None: off.",
    )
    server_timing: bool = _setting(
        False,
        _flag,
        "Answer with a `Server-Timing` header: the milliseconds and the number of the request's queries and AI calls, "
        "for the browser's developer tools. Every client sees it.",
    )
    n_plus_one_allow: tuple[str, ...] = _setting(
        (),
        _call_sites,
        "Call sites that may: a file (`shop/reports.py`), a line of it (`shop/reports.py:88`), a function (`export`).",
        env="list",
    )
    request_hook: Callable[[Any], None] | None = _setting(
        None,
        _hook,
        "Called with each finished `HttpOperation` before the sinks; what it puts into `extra` reaches lines and "
        "spans.",
        env=None,
    )

    @classmethod
    def read(cls, given: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Settings:
        """
        Build the settings from arguments, variables and defaults.

        Raises:
            UnknownSettingError: An argument that is no setting.
            ConfigurationError: A value of the wrong type or range, from anywhere.
        """
        environ = os.environ if environ is None else environ
        known = {f.name: f for f in fields(cls)}
        values = _from_environment(known, environ)
        for name, value in given.items():
            if name not in known:
                raise UnknownSettingError(f"there is no setting {name!r}{_nearest(name, {n: n for n in known})}")
            values[name] = _checked(known[name], value, f"{name}={shown(known[name], value)}")
        if not values.get("service"):
            values["service"] = environ.get("OTEL_SERVICE_NAME") or _program()
        return cls(**values)


def _program() -> str:
    """
    Return the name of the program that runs; one that `python -m` runs by its package.
    """
    path = Path(sys.argv[0] or "python")
    return path.parent.name or path.stem if path.name == "__main__.py" else path.stem


def default_of(setting: Field[Any]) -> Any:
    """
    Read a setting's default, whichever way it is declared.
    """
    return setting.default_factory() if setting.default_factory is not MISSING else setting.default


def _from_environment(known: Mapping[str, Field[Any]], environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environ.items():
        if not variable.startswith("OBSKIT_"):
            continue
        name = variable.removeprefix("OBSKIT_").lower()
        setting = known.get(name)
        if text == "" and name in _EMPTY_IS_UNSET:
            continue
        if setting is None or setting.metadata["env"] is None:
            readable = {n: "OBSKIT_" + n.upper() for n, f in known.items() if f.metadata["env"]}
            warnings.warn(
                f"obskit: {variable} is set, but there is no such setting{_nearest(name, readable)}",
                stacklevel=4,
            )
        else:
            values[name] = _checked(setting, _parsed(setting, variable, text), f"{variable}={shown(setting, text)}")
    return values


# What a deployment fills from another variable, such as a commit, is empty where that one is not set. A token is
# not among them: to read an empty one as none would open the page.
_EMPTY_IS_UNSET = frozenset({"service", "version", "environment"})


def _parsed(setting: Field[Any], variable: str, text: str) -> Any:
    if text.lower() == "none" and setting.name in _OPTIONAL:
        return None
    if setting.metadata["env"] == "list":
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if setting.metadata["env"] == "json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{variable}={shown(setting, text)}: expected a JSON object: {error}") from None
    return text


_OPTIONAL = frozenset(
    [
        *("metrics_path", "health_path", "slow_request_ms", "log_rotate_bytes", "log_keep_files", "log_keep_days"),
        *("log_queue", "log_sample_first", "n_plus_one", "slow_query_ms", "slow_query_warning_ms"),
    ]
)


def _checked(setting: Field[Any], value: Any, asked: str) -> Any:
    if value is None and (default_of(setting) is None or setting.name in _OPTIONAL):
        return None
    try:
        return setting.metadata["check"](value)
    except RecursionError:
        raise ConfigurationError(f"{asked}: expected a value that is not nested so deep, or in itself") from None
    except ValueError as error:
        raise ConfigurationError(f"{asked}: expected {error}, found {type(value).__name__}") from error


def shown(setting: Field[Any], value: Any) -> str:
    """
    Show a value in a message: cut to 80 characters, a secret one not at all.
    """
    try:
        text = repr(value) if setting.repr else "<hidden>"
    except Exception:  # of a value's own, or one that is nested too deep
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(name: str, spelled: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, spelled, n=1, cutoff=0.6)
    return f"; did you mean {spelled[near[0]]!r}?" if near else "; docs/reference/settings.md lists them all"
