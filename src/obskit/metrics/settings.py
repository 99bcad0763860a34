"""
Which metrics there are, under which names, and who may read their page.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from obskit.fields import (
    Network,
    Section,
    checked,
    count,
    flag,
    having,
    items,
    mapping,
    matching,
    networks,
    new_names,
    path,
    section,
    setting,
    text,
    url_path,
    when,
)

# The usual thresholds (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15 s) fall on a bound, and 15 s is covered.
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0)
# OpenTelemetry GenAI conventions (2026-11), gen_ai.client.operation.duration.
AI_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
# OpenTelemetry semantic conventions 1.44, db.client.operation.duration.
DB_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)

_METRIC_NAMES = (
    "new names of letters, digits and underscores, such as {'http_requests_total': 'requests_total'}, or None"
)
_METRIC_LABELS = (
    "a mapping of metrics, or '*' for all, to new names of their labels, such as "
    "{'database_query_duration_seconds': {'operation': 'query_type'}}"
)
_DISK_PATHS = "a mapping of labels to paths, such as {'/': '/', 'database': 'app.db'}"
_BUCKETS = "at least one bucket bound in seconds, rising, such as (0.1, 0.5, 1)"


def _finite(bounds: tuple[float, ...]) -> tuple[float, ...]:
    bounds = bounds[:-1] if bounds[-1:] == (float("inf"),) else bounds
    if not (bounds and bounds[0] == bounds[0] and all(a < b for a, b in pairwise(bounds))):
        raise ValueError
    return bounds


_namespace = matching(
    r"|[a-zA-Z_][a-zA-Z0-9_]*", "a Prometheus name prefix such as 'shop' (letters, digits and underscores)"
)
_directory = path(
    "an absolute path of a directory, such as '/run/shop/metrics', or None to find the workers by itself", absolute=True
)
_buckets = checked(_BUCKETS, items(float, _BUCKETS), _finite)
_metric_buckets = mapping(
    _buckets, "a mapping of histograms to rising bounds, such as {'function_duration_seconds': (0.1, 0.5, 1)}"
)
_metric_labels = mapping(mapping(text, _METRIC_LABELS), _METRIC_LABELS)
_is_new_name = matching(r"[a-zA-Z_:][a-zA-Z0-9_:]*", _METRIC_NAMES)
_disk_paths = mapping(
    checked(_DISK_PATHS, when(lambda path: isinstance(path, (str, os.PathLike)), _DISK_PATHS), os.fspath), _DISK_PATHS
)
_registry = having("register", "collect", what="a prometheus_client CollectorRegistry")


def _metric_names(value: Any) -> Any:
    names = new_names(value)
    for name in names.values():
        if name is not None:
            _is_new_name(name)
    return names


@section
class MetricsSettings(Section, subject="Metrics"):
    """
    Which metrics there are, under which names, and who may read their page.
    """

    metrics: bool = setting(True, flag, "Record metrics.")
    namespace: str = setting(
        "",
        _namespace,
        "Prefix of the application's metrics: `shop` makes `shop_http_requests_total`. Default: no prefix.",
    )
    metrics_path: str | None = setting(
        "/metrics", url_path, "Where the metrics page is mounted. None: nowhere.", optional=True
    )
    metrics_token: str | None = setting(
        None, text, "Bearer token that `/metrics` asks for; the page shows routes and dollars.", secret=True
    )
    metrics_networks: tuple[Network, ...] = setting(
        (),
        networks,
        "Networks that may read `/metrics` without a token. "
        "With neither token nor network everyone may, and the start-up line says so.",
    )
    metric_names: Mapping[str, str | None] = setting(
        {},
        _metric_names,
        'New names for metrics, without the namespace: `{"http_requests_total": "requests_total"}`. '
        "None leaves a metric off the page.",
    )
    metric_labels: Mapping[str, Mapping[str, str]] = setting(
        {},
        _metric_labels,
        "New names for labels on the page, by the metric's own name: "
        '`{"database_query_duration_seconds": {"operation": "query_type"}}`, or by `"*"` for every metric that has the '
        "label. A metric's own entry goes before that.",
    )
    metric_buckets: Mapping[str, tuple[float, ...]] = setting(
        {},
        _metric_buckets,
        "Bucket bounds of single histograms of obskit's, by their own names, before `http_buckets`, `db_buckets` and "
        '`ai_buckets`: `{"function_duration_seconds": (0.1, 0.5, 1)}`.',
    )
    http_buckets: tuple[float, ...] = setting(
        HTTP_BUCKETS, _buckets, "Bucket bounds of the HTTP histograms, in seconds."
    )
    db_buckets: tuple[float, ...] = setting(
        DB_BUCKETS,
        _buckets,
        "Bucket bounds of the query histogram, in seconds; the default is OpenTelemetry's for databases.",
    )
    ai_buckets: tuple[float, ...] = setting(
        AI_BUCKETS,
        _buckets,
        "Bucket bounds of the AI histograms, in seconds; the default is OpenTelemetry's for AI calls.",
    )
    size_metrics: bool = setting(False, flag, "Record the histograms of request and response sizes.")
    max_label_sets: int = setting(
        1000, count(1_000_000), "Label sets a metric may have; what is over is folded into `_OVERFLOW` and counted."
    )
    metrics_dir: str | None = setting(
        None,
        _directory,
        "Where the workers of one server add their figures up: a directory on this machine that only this user may "
        "write to. Default: found by itself under gunicorn, uvicorn, hypercorn and granian. Whoever is given the same "
        "one is a worker too; give each application its own.",
    )
    registry: Any = setting(
        None, _registry, "The `prometheus_client` registry to join. Default: `prometheus_client.REGISTRY`.", env=None
    )
    disk_paths: Mapping[str, str] = setting(
        {"/": "/"},
        _disk_paths,
        'Whose use is on the metrics page, by the label `path`: `{"data": "/var/lib/shop", "database": "app.db"}`. '
        "Of a directory it is its disk's, of a file its own size.",
    )
