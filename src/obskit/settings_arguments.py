"""
The types of what `configure()` and `instrument()` take: `Settings` is what is read from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from os import PathLike
from typing import Any, Protocol, TypeAlias, TypedDict

Texts: TypeAlias = list[str] | tuple[str, ...]  # a bare text is not a list of one
Networks: TypeAlias = Sequence[str | IPv4Network | IPv6Network]
Folder: TypeAlias = str | PathLike[str]
Age: TypeAlias = str | timedelta  # such as "30d"


class Writable(Protocol):
    """
    A stream, as far as lines need one.
    """

    def write(self, text: Any, /) -> object: ...


class SettingsArguments(TypedDict, total=False):
    """
    The keyword arguments; `docs/reference/settings.md` says what each means.
    """

    # Service
    service: str
    version: str | None
    environment: str | None
    enabled: bool
    auto: bool
    state_dir: Folder | None
    serving: bool | None
    # Requests
    correlation: bool
    trust_inbound_ids: bool
    trust_inbound_traces: bool
    trusted_proxies: Networks
    propagate_to: Texts
    exclude: Sequence[str | re.Pattern[str]]
    endpoint_style: str
    request_hook: Callable[[Any], object] | None
    gates: Sequence[Any]
    server_timing: bool
    # Metrics
    metrics: bool
    namespace: str
    metrics_path: str | None
    metrics_token: str | None
    metrics_networks: Networks
    metric_names: Mapping[str, str | None]
    metric_labels: Mapping[str, Mapping[str, str]]
    metric_buckets: Mapping[str, Sequence[float]]
    http_buckets: Sequence[float]
    db_buckets: Sequence[float]
    ai_buckets: Sequence[float]
    size_metrics: bool
    max_label_sets: int
    metrics_dir: Folder | None
    registry: Any
    disk_paths: Mapping[str, Folder]
    # Lines
    access_log: bool
    slow_request_ms: float | None
    log_level: str
    log_levels: Mapping[str, str]
    log_format: str
    log_schema: str
    log_names: Mapping[str, str | None]
    log_stream: Writable | None
    log_file: str | None
    log_rotate_bytes: int | None
    log_rotate_daily: bool
    log_keep_files: int | None
    log_keep_days: int | None
    log_gzip: bool | Age
    log_archive_after: Age | None
    log_archive_dir: Folder | None
    log_queue: int | None
    log_channels: Mapping[str, Mapping[str, Any]]
    log_outputs: Sequence[Mapping[str, Any]]
    error_file: str | None
    log_category: bool
    log_server: bool
    log_callsite: bool
    log_through_logging: bool
    log_sample_first: int | None
    log_sample_every: int
    access_log_sample: Mapping[str, int]
    log_client: str
    log_query_string: bool
    # Secrets
    redact_keys: Texts
    redact_values: bool
    # Traces
    tracing: Any
    trace_ratio: float
    # Health
    health_path: str | None
    health_groups: Texts
    health_fail_status: int
    health_schema: str
    expose_details: str | Callable[[Any], bool]
    details_token: str | None
    details_networks: Networks
    # Databases
    slow_query_ms: float | None
    slow_query_warning_ms: float | None
    explain_slow_queries: bool
    n_plus_one: int | None
    n_plus_one_allow: Texts
    # AI calls
    prices: Mapping[str, Any]
    # History
    history: bool
    history_dir: Folder | None
    history_every: Age
    history_keep: Mapping[str, Age]
    history_keep_ordinary: str
    history_users: str
    history_max_bytes: int
    # Alerts
    alerts: str | Texts
    alert_labels: str
