"""
Health checks of the process and of what it depends on, for probes, people, metrics and the log.

    obskit.health.add("database", obskit.health.sqlite("app.db"))

    @obskit.health.check("queue", timeout=1.0, every=15, critical=False)
    def queue_depth():
        return {"waiting": len(queue)}
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obskit.health.api import add, check, heartbeat, remove
    from obskit.health.database_checks import django, django_cache, psycopg, redis, sqlalchemy, sqlite
    from obskit.health.event_loop_lag import event_loop
    from obskit.health.heartbeats import Heartbeat
    from obskit.health.outcome import Outcome, failed, passed, skipped, warned
    from obskit.health.provider_checks import ai_provider
    from obskit.health.remote_checks import certificate, http
    from obskit.health.system_checks import cpu, disk, file_descriptors, load, memory, storage, system, threads

# Imported when they are first used: whoever reads the settings of this folder imports no check.
_HOME = {
    "Heartbeat": "heartbeats",
    "Outcome": "outcome",
    "add": "api",
    "ai_provider": "provider_checks",
    "certificate": "remote_checks",
    "check": "api",
    "cpu": "system_checks",
    "disk": "system_checks",
    "django": "database_checks",
    "django_cache": "database_checks",
    "event_loop": "event_loop_lag",
    "failed": "outcome",
    "file_descriptors": "system_checks",
    "heartbeat": "api",
    "http": "remote_checks",
    "load": "system_checks",
    "memory": "system_checks",
    "passed": "outcome",
    "psycopg": "database_checks",
    "redis": "database_checks",
    "remove": "api",
    "skipped": "outcome",
    "sqlalchemy": "database_checks",
    "sqlite": "database_checks",
    "storage": "system_checks",
    "system": "system_checks",
    "threads": "system_checks",
    "warned": "outcome",
}

__all__ = [
    "Heartbeat",
    "Outcome",
    "add",
    "ai_provider",
    "certificate",
    "check",
    "cpu",
    "disk",
    "django",
    "django_cache",
    "event_loop",
    "failed",
    "file_descriptors",
    "heartbeat",
    "http",
    "load",
    "memory",
    "passed",
    "psycopg",
    "redis",
    "remove",
    "skipped",
    "sqlalchemy",
    "sqlite",
    "storage",
    "system",
    "threads",
    "warned",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'obskit.health' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.health.{_HOME[name]}"), name)
    globals()[name] = value
    return value
